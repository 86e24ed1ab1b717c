//! Two hosts in network namespaces of their own, and a link between them.
//!
//! ```text
//!   client 10.0.0.1                  the wire's namespace                  server 10.0.0.2
//!             eth0 ───veth─── client ──[ the link ]── server ───veth─── eth0
//! ```
//!
//! With `--ipv6` they are fd00::1 and fd00::2 as well.
//!
//! Descriptors alone hold the namespaces. When this process ends, however it ends, the kernel
//! takes everything down: at once, or some 3 s later where a connection was still open.

pub(crate) mod netns;
mod offload;
mod route;
mod user;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;

use anyhow::{Context, Result};
use netlink_packet_route::link::LinkFlags;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use crate::link::packet::PacketSocket;
use crate::link::{Link, LinkConfig, Macs};
use crate::record::Host;
use crate::{NotPossible, Usage, reason};
use route::Route;
pub use user::{become_able, move_into_user_namespace};

/// Two hosts and the link between them. Dropping it takes them down.
pub struct World {
    /// The host of the server: 10.0.0.2.
    pub server: Node,
    /// The host of the client: 10.0.0.1.
    pub client: Node,
    /// What is between them.
    pub link: Link,
}

impl World {
    /// Builds the hosts, the interfaces and the link, and starts the link.
    ///
    /// # Errors
    /// [`NotPossible`] where namespaces cannot be had; else what is wrong with the link's settings:
    /// a sysctl or a congestion control that is not there.
    pub fn new(config: &LinkConfig) -> Result<World> {
        // The caller stays where it is: this thread alone moves through the namespaces.
        on_a_thread("world", || World::build(config))
    }

    /// The host of that name.
    pub fn node(&self, host: Host) -> &Node {
        match host {
            Host::Server => &self.server,
            Host::Client => &self.client,
        }
    }

    fn build(config: &LinkConfig) -> Result<World> {
        let wire = netns::make().map_err(|error| {
            NotPossible(format!("a network namespace cannot be made: {error}; try `lab doctor`"))
        })?;
        // A child has a table of connections of its own, a small one: who asks for the state of a
        // connection has less to search. Where it cannot be had, the answer only takes longer.
        let _ = netns::sysctl("net.ipv4.tcp_child_ehash_entries", "64");
        let node = |host, last| -> Result<Node> {
            netns::enter(&wire)?;
            let address = Ipv4Addr::new(10, 0, 0, last);
            let ipv6 = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last));
            let ipv6 = config.ipv6.then_some(ipv6);
            let node = Node { host, address, ipv6, netns: netns::make()? };
            node.set_up(&wire, config)?;
            Ok(node)
        };
        let client = node(Host::Client, 1)?;
        let server = node(Host::Server, 2)?;
        let macs = Macs { client: mac(&client)?, server: mac(&server)? };
        netns::enter(&wire)?;
        PacketSocket::possible().map_err(|error| NotPossible(reason::no_packet_sockets(&error)))?;
        let link = Link::start(config, wire, macs).context("starting the link")?;
        Ok(World { server, client, link })
    }
}

/// A host: a network namespace with `lo`, and `eth0` towards the link.
pub struct Node {
    /// Which.
    pub host: Host,
    /// Its address on `eth0`.
    pub address: Ipv4Addr,
    /// Its IPv6 address there, if that was asked for.
    pub ipv6: Option<Ipv6Addr>,
    netns: OwnedFd,
}

impl Node {
    /// Moves this thread to the host: sockets that it makes from now on are the host's. What it
    /// starts is there, too. See setns(2).
    pub fn enter(&self) -> io::Result<()> {
        netns::enter(&self.netns)
    }

    /// Runs `f` on the host, on a thread of its own, and gives what it gives.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        on_a_thread(self.name(), || {
            self.enter().expect("a namespace of our own lets us in");
            f()
        })
    }

    /// The namespace's descriptor, for setns(2).
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    /// The address that its peer is to use: the IPv6 one, if it has one.
    pub fn ip(&self) -> IpAddr {
        self.ipv6.map_or(self.address.into(), IpAddr::from)
    }

    /// "client" or "server".
    pub fn name(&self) -> &'static str {
        match self.host {
            Host::Server => "server",
            Host::Client => "client",
        }
    }

    /// Gives the host, in which this thread is, its interfaces and settings.
    fn set_up(&self, wire: &OwnedFd, config: &LinkConfig) -> Result<()> {
        let mtu = config.mtu();
        let name = self.name();
        netns::enter(wire)?;
        Route::new()?
            .add_veth(name, "eth0", self.netns(), mtu)
            .with_context(|| format!("making {name}'s eth0 with an mtu of {mtu}"))?;
        self.quiet(name, false)?;
        netns::enter(&self.netns)?;
        self.quiet("eth0", self.ipv6.is_some())?;

        let route = Route::new()?;
        route.set_up(if_nametoindex("lo")?, LinkFlags::empty())?;
        let eth0 = if_nametoindex("eth0")?;
        route.add_address(eth0, self.address.into(), 24)?;
        if let Some(address) = self.ipv6 {
            route.add_address(eth0, address.into(), 64)?;
        }
        // What TCP has learned from one connection must not change the next.
        netns::sysctl("net.ipv4.tcp_no_metrics_save", "1")?;
        // As many as a host usually may have; the small table of connections would allow 32.
        let _ = netns::sysctl("net.ipv4.tcp_max_tw_buckets", "65536");
        // A connection that nobody answers any more keeps its namespace for as long as it is tried:
        // 3 s, not the usual 100. Else a killed world would outlive us by that.
        netns::sysctl("net.ipv4.tcp_orphan_retries", "3")?;
        // A link that is late makes a host send a FIN again that was not lost. The second answer to it
        // meets a port that is closed by then, whose RST would end the peer's TIME_WAIT: RFC 1337.
        netns::sysctl("net.ipv4.tcp_rfc1337", "1")?;
        if let Some(cc) = &config.cc {
            netns::sysctl("net.ipv4.tcp_congestion_control", cc).map_err(|_| {
                Usage(format!("--cc {cc}: not available; {}", available_congestion_controls()))
            })?;
        }
        for (key, value) in &config.sysctl {
            netns::sysctl(key, value).map_err(|error| {
                Usage(match error.kind() {
                    io::ErrorKind::NotFound => format!("--sysctl {key}: this kernel has none"),
                    _ => format!("--sysctl {key}={value}: the kernel refuses it: {error}"),
                })
            })?;
        }
        Ok(())
    }

    /// Up, with no offloads, and with no packets of its own: no ARP, and either no IPv6 or none of
    /// what it asks its neighbours and routers.
    fn quiet(&self, interface: &str, ipv6: bool) -> Result<()> {
        offload::turn_off(interface).with_context(|| format!("{interface}: offloads"))?;
        let set = |name, value| {
            netns::sysctl(&format!("net/ipv6/conf/{interface}/{name}"), value).map_err(|error| {
                NotPossible(format!("this kernel gives {interface} no IPv6: {name}: {error}"))
            })
        };
        if ipv6 {
            set("disable_ipv6", "0")?;
            set("addr_gen_mode", "1")?; // no link-local address
            set("router_solicitations", "0")?;
            set("accept_ra", "0")?;
        } else {
            // Not there where the kernel has no IPv6.
            let _ = set("disable_ipv6", "1");
        }
        Route::new()?.set_up(if_nametoindex(interface)?, LinkFlags::Noarp)?;
        Ok(())
    }
}

/// The hardware address of a host's `eth0`.
fn mac(node: &Node) -> Result<[u8; 6]> {
    node.enter()?;
    getifaddrs()?
        .filter(|interface| interface.interface_name == "eth0")
        .find_map(|interface| interface.address?.as_link_addr()?.addr())
        .context("eth0 has no hardware address")
}

fn available_congestion_controls() -> String {
    match std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control") {
        Ok(list) => format!("this kernel has: {}", list.trim()),
        Err(error) => error.to_string(),
    }
}

/// Makes a pair of interfaces between this thread's namespace and another.
pub(crate) fn add_veth(here: &str, there: &str, netns: &OwnedFd) -> io::Result<()> {
    Route::new()?.add_veth(here, there, netns.as_fd(), 1500)
}

/// Runs `f` on a thread of that name, and gives what it gives. A panic goes on here.
pub(crate) fn on_a_thread<T: Send>(name: &str, f: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.into()).spawn_scoped(scope, f);
        match thread.expect("a thread can be had").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

//! Each thing that a trace needs, tried. What works says what was found.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork, geteuid};

use crate::link::LinkConfig;
use crate::link::packet::PacketSocket;
use crate::reason::setting;
use crate::world::{self, World, become_able, netns};

/// From here on, this process is where a world can be built.
pub fn namespaces() -> Result<String> {
    become_able()?;
    let user = geteuid();
    Ok(if user.is_root() { "as root".into() } else { format!("as user {user}, without root") })
}

/// A pair of interfaces.
pub fn veth() -> Result<String> {
    world::on_a_thread("doctor", || {
        let netns = netns::make().context("a network namespace")?;
        world::add_veth("one", "other", &netns).context("a pair of interfaces")?;
        Ok("".into())
    })
}

/// One, with a ring.
pub fn packet_sockets() -> Result<String> {
    world::on_a_thread("doctor", || {
        netns::make()?;
        PacketSocket::open("lo", 1500, true)?;
        Ok("".into())
    })
}

/// A connection over a link of 1 ms.
pub fn link() -> Result<String> {
    let delay = Duration::from_millis(1);
    let world = World::new(&LinkConfig { delay, ..LinkConfig::default() })?;
    let listener = world.server.run(|| TcpListener::bind((world.server.address, 0)))?;
    let address = listener.local_addr()?;
    let patience = Duration::from_secs(5);
    let begin = Instant::now();
    let mut client = world.client.run(|| TcpStream::connect_timeout(&address, patience))?;
    let took = begin.elapsed();
    let (mut server, _) = listener.accept()?;
    client.set_read_timeout(Some(patience))?;
    server.write_all(b"x")?;
    client.read_exact(&mut [0])?;
    ensure!(took >= 2 * delay, "the link is faster than its delay: {took:?}");
    Ok(format!("delay 1 ms each way: a connection after {:.1} ms", took.as_secs_f64() * 1e3))
}

/// A child that is traced, and told which system call it is in.
pub fn ptrace() -> Result<String> {
    // SAFETY: the child calls ptrace, raise and _exit only; each is async-signal-safe.
    match unsafe { fork()? } {
        ForkResult::Child => {
            let traced = ptrace::traceme().is_ok() && raise(Signal::SIGSTOP).is_ok();
            // SAFETY: ends the child at once; nothing of the parent's is run or written.
            unsafe { nix::libc::_exit(if traced { 0 } else { 1 }) }
        }
        ForkResult::Parent { child } => match waitpid(child, None)? {
            WaitStatus::Stopped(..) => {
                let info = ptrace::syscall_info(child);
                ptrace::kill(child)?;
                waitpid(child, None)?;
                info.context("PTRACE_GET_SYSCALL_INFO")?;
                let yama = setting("kernel.yama.ptrace_scope");
                Ok(yama.map_or(String::new(), |scope| format!("yama's ptrace_scope is {scope}")))
            }
            _ => bail!("a child may not ask to be traced"),
        },
    }
}

/// The kernel's list of TCP sockets. See sock_diag(7).
pub fn sock_diag() -> Result<String> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLMSG_ERROR: u16 = 2;
    // struct nlmsghdr, struct inet_diag_req_v2: IPv4, TCP, all states.
    let mut request = vec![0; 16 + 56];
    request[..4].copy_from_slice(&72u32.to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes()); // NLM_F_REQUEST | NLM_F_DUMP
    (request[16], request[17]) = (nix::libc::AF_INET as u8, nix::libc::IPPROTO_TCP as u8);
    request[20..24].fill(0xff);

    let socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&request, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let word = |at: usize| answer.get(at..at + 4).map(|word| word.try_into().unwrap_or_default());
    let kind = word(4).map(|[low, high, ..]: [u8; 4]| u16::from_ne_bytes([low, high]));
    match kind {
        Some(NLMSG_ERROR) => {
            let errno = word(16).map_or(0, i32::from_ne_bytes);
            Err(io::Error::from_raw_os_error(-errno).into())
        }
        Some(_) => Ok(String::new()),
        None => bail!("the kernel's answer is too short"),
    }
}

/// The three that the experiments compare.
pub fn congestion_control() -> Result<String> {
    let list = setting("net.ipv4.tcp_available_congestion_control")
        .context("the kernel does not list them")?;
    let missing: Vec<_> = ["reno", "cubic", "bbr"]
        .into_iter()
        .filter(|wanted| !list.split_whitespace().any(|name| name == *wanted))
        .collect();
    ensure!(missing.is_empty(), "there is {list}; there is no {}", missing.join(", no "));
    Ok(list)
}

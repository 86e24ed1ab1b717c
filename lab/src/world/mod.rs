//! Two hosts in network namespaces of their own, and a link between them.
//!
//! Descriptors alone hold the namespaces. When this process ends, however it ends, the kernel
//! takes everything down.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::link::{Link, LinkConfig};

/// Makes this process able to build a world: as root it is; else it moves into a user namespace
/// of its own, where its user keeps its number. Call it before the first thread begins: a process
/// with threads cannot move.
///
/// # Errors
/// [`crate::NotPossible`], with what would make it possible.
pub fn become_able() -> anyhow::Result<()> {
    todo!()
}

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
    pub fn new(_link: &LinkConfig) -> anyhow::Result<World> {
        todo!()
    }
}

/// A host: a network namespace with `lo`, and `eth0` towards the link.
pub struct Node {
    /// Its address on `eth0`.
    pub address: Ipv4Addr,
    netns: OwnedFd,
}

impl Node {
    /// Moves this thread to the host: sockets that it makes from now on are the host's. What it
    /// starts is there, too. See setns(2).
    pub fn enter(&self) -> io::Result<()> {
        todo!()
    }

    /// Runs `f` on the host, on a thread of its own, and gives what it gives.
    pub fn run<T: Send>(&self, _f: impl FnOnce() -> T + Send) -> T {
        todo!()
    }

    /// The namespace's descriptor, for setns(2).
    pub fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }
}

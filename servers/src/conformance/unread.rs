//! What the server has not read yet, as the kernel tells of the server's own socket.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use tcp_stream_io::sys;

/// The bytes that wait in the receive buffer of the socket with these two ends.
pub fn unread(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    ask_the_kernel(local, remote).or_else(|| look_it_up(local.port(), remote.port()))
}

/// sock_diag(7): one socket, without a walk through all of them.
pub fn ask_the_kernel(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let request = [
        // struct nlmsghdr: length, type, flags, sequence, port.
        &72u32.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: family, protocol, no extensions, every state, which socket.
        &[family as u8, libc::IPPROTO_TCP as u8, 0, 0],
        &[0xff; 4],
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &address(local),
        &address(remote),
        &[0; 4],    // any interface
        &[0xff; 8], // no cookie
    ]
    .concat();
    let netlink = sys::socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_SOCK_DIAG).ok()?;
    sys::send(&netlink, &request, 0).ok()?;
    let mut answer = [0; 1024];
    let n = sys::recv(&netlink, &mut answer, libc::MSG_DONTWAIT).ok()?;
    let found = answer[4..6] == SOCK_DIAG_BY_FAMILY.to_ne_bytes();
    // struct inet_diag_msg, behind the header: idiag_rqueue is its bytes 56 to 59.
    let queue = answer[..n].get(72..76)?.try_into().ok()?;
    found.then(|| u32::from_ne_bytes(queue))
}

/// `/proc/net/tcp`, proc(5): all sockets as text. Slow where there are many.
pub fn look_it_up(local: u16, remote: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables.iter().flatten().flat_map(|table| table.lines()).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| u16::from_str_radix(words.get(at)?.rsplit(':').next()?, 16).ok();
        let queue = words.get(4)?.split_once(':')?.1;
        let ours = port(1) == Some(local) && port(2) == Some(remote);
        ours.then(|| u32::from_str_radix(queue, 16).ok()).flatten()
    })
}

//! What is not IPv4 is taken for IPv6.

use std::ffi::CString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::process::ExitCode;
use std::{mem, ptr};

fn address(node: &libc::addrinfo) -> SocketAddr {
    if node.ai_family == libc::AF_INET {
        let sa = unsafe { &*node.ai_addr.cast::<libc::sockaddr_in>() };
        (Ipv4Addr::from(u32::from_be(sa.sin_addr.s_addr)), u16::from_be(sa.sin_port)).into()
    } else {
        let sa = unsafe { &*node.ai_addr.cast::<libc::sockaddr_in6>() };
        let ip = Ipv6Addr::from(sa.sin6_addr.s6_addr);
        SocketAddrV6::new(ip, u16::from_be(sa.sin6_port), 0, sa.sin6_scope_id).into()
    }
}

fn resolve(host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, i32> {
    let host = host.map(|h| CString::new(h).map_err(|_| libc::EAI_NONAME)).transpose()?;
    let service = CString::new(port.to_string()).unwrap();
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = libc::AF_UNSPEC;
    hints.ai_socktype = libc::SOCK_STREAM;
    hints.ai_flags = libc::AI_NUMERICHOST | libc::AI_NUMERICSERV | libc::AI_PASSIVE;
    let mut head = ptr::null_mut();
    let name = host.as_ref().map_or(ptr::null(), |h| h.as_ptr());
    let code = unsafe { libc::getaddrinfo(name, service.as_ptr(), &hints, &mut head) };
    if code != 0 {
        return Err(code);
    }
    let mut all = Vec::new();
    let mut node = head;
    while !node.is_null() {
        unsafe {
            all.push(address(&*node));
            node = (*node).ai_next;
        }
    }
    unsafe { libc::freeaddrinfo(head) };
    Ok(all)
}

fn main() -> ExitCode {
    grader::resolve::grade(resolve)
}

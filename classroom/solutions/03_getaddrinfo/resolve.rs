//! Every address that `getaddrinfo` finds, in its order, and the list freed.
//!
//! Numeric hosts only (AI_NUMERICHOST): `127.0.0.1`, `::1`, `fe80::1%1`; nothing is looked up. No
//! host: the addresses to listen on (AI_PASSIVE). Stream sockets only, IPv4 and IPv6. An error is
//! the code that `getaddrinfo` returned; a host with a NUL inside is EAI_NONAME.
//!
//! The list is freed once, by its head, on every path, and not read afterwards.
//!
//! Article 7.1 (addr_list, resolve). man: getaddrinfo(3).

//> use std::net::SocketAddr;
use std::ffi::CString;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
//<
use std::process::ExitCode;
//>
use std::{mem, ptr};
//<

/// The addresses of `host` and `port`, or getaddrinfo's code.
fn resolve(host: Option<&str>, port: u16) -> Result<Vec<SocketAddr>, i32> {
    //> // TODO: hints, `libc::getaddrinfo`, a walk along `ai_next`, `libc::freeaddrinfo`.
    //> grader::yours((host, port))
    let host = host.map(CString::new).transpose().map_err(|_| libc::EAI_NONAME)?;
    let service = CString::new(port.to_string()).expect("digits");
    // SAFETY: addrinfo is integers and pointers, for which zero is a valid value.
    let mut hints: libc::addrinfo = unsafe { mem::zeroed() };
    hints.ai_family = libc::AF_UNSPEC;
    hints.ai_socktype = libc::SOCK_STREAM; // or each address comes once for every kind of socket
    hints.ai_flags = libc::AI_NUMERICHOST | libc::AI_NUMERICSERV | libc::AI_PASSIVE;

    let mut head = ptr::null_mut();
    let name = host.as_ref().map_or(ptr::null(), |host| host.as_ptr());
    // SAFETY:
    // - `name` is null or a C string, `service` is one, both alive during the call;
    // - `hints` is readable and `head` writable.
    let code = unsafe { libc::getaddrinfo(name, service.as_ptr(), &hints, &mut head) };
    if code != 0 {
        return Err(code); // and there is no list to free
    }
    let mut addresses = Vec::new();
    let mut node = head;
    while !node.is_null() {
        // SAFETY: the node belongs to the list, which is freed below.
        let here = unsafe { &*node };
        addresses.extend(address(here));
        node = here.ai_next;
    }
    // SAFETY: `head` is what getaddrinfo gave, freed once; nothing points into the list any more.
    unsafe { libc::freeaddrinfo(head) };
    Ok(addresses)
}

/// The address of one node; `None` for a family other than IPv4 and IPv6.
fn address(node: &libc::addrinfo) -> Option<SocketAddr> {
    match node.ai_family {
        libc::AF_INET => {
            // SAFETY: with this family, `ai_addr` points to a sockaddr_in.
            let sa = unsafe { node.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            let ip = Ipv4Addr::from(u32::from_be(sa.sin_addr.s_addr));
            Some((ip, u16::from_be(sa.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: with this family, `ai_addr` points to a sockaddr_in6.
            let sa = unsafe { node.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            let (ip, port) = (Ipv6Addr::from(sa.sin6_addr.s6_addr), u16::from_be(sa.sin6_port));
            Some(SocketAddrV6::new(ip, port, sa.sin6_flowinfo, sa.sin6_scope_id).into())
        }
        _ => None,
    }
    //<
}

fn main() -> ExitCode {
    grader::resolve::grade(resolve)
}

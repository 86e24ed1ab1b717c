//! Names to addresses: what comes out, and what every failure looks like.

mod support;

use std::collections::BTreeSet;
use std::ffi::{CStr, c_int};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::{env, fs};

use errno::{Errno, set_errno};
use libc::{AF_INET, AF_INET6, AF_UNSPEC, AI_NUMERICHOST, AI_PASSIVE};
use libc::{EAI_AGAIN, EAI_BADFLAGS, EAI_FAMILY, EAI_NONAME};
use support::*;
use tcp_stream_io::addr::{AddrList, SockAddr};
use tcp_stream_io::{UniqueFd, accept, resolve, sys};

fn texts(list: &AddrList) -> Vec<String> {
    list.iter().map(|addr| addr.to_string()).collect()
}

fn lookup(host: Option<&str>, port: u16) -> io::Result<AddrList> {
    resolve(host, port, AF_UNSPEC, 0)
}

// ---- addresses that come out ----

#[test]
fn a_numeric_address_prints_so_that_it_can_be_read_back() {
    let table = [
        ("127.0.0.1", 9000, AF_INET, "127.0.0.1:9000"),
        ("::1", 9000, AF_INET6, "[::1]:9000"),
        ("::ffff:127.0.0.1", 1, AF_INET6, "[::ffff:127.0.0.1]:1"),
        ("0:0:0:0:0:0:0:1", 0, AF_INET6, "[::1]:0"),
        ("fe80::1%lo", 80, AF_INET6, "[fe80::1%lo]:80"),
        ("127.0.0.1", 65_535, AF_INET, "127.0.0.1:65535"), // no port wraps: the text "99999" would
    ];
    for (host, port, family, expected) in table {
        let list = lookup(Some(host), port).unwrap();
        assert_eq!(texts(&list), [expected]);
        assert_eq!(list.iter().next().unwrap().family(), family, "{host}");
    }
}

#[test]
fn no_host_is_this_machine() {
    // By family, because one of the two may not be there.
    let table = [
        (AF_INET, AI_PASSIVE, "0.0.0.0:80"),
        (AF_INET6, AI_PASSIVE, "[::]:80"),
        (AF_INET, 0, "127.0.0.1:80"),
        (AF_INET6, 0, "[::1]:80"),
    ];
    for (family, flags, expected) in table {
        assert_eq!(texts(&resolve(None, 80, family, flags).unwrap()), [expected]);
    }
}

#[test]
fn a_list_can_be_moved_and_walked_again() {
    let list = lookup(None, 80).unwrap();
    let before = texts(&list);
    let moved = Box::new(list);
    assert!(!before.is_empty());
    assert_eq!(texts(&moved), before);
    assert_eq!(texts(&moved), before);
}

// ---- addresses from the kernel ----

#[test]
fn an_address_from_the_kernel_prints_the_same() {
    let (client, server) = pair();
    let (here, there) = (sys::getsockname(&client).unwrap(), sys::getpeername(&server).unwrap());
    assert_eq!(here.to_string(), there.to_string());
    assert_eq!(here.to_string(), format!("127.0.0.1:{}", here.port()));
    assert_eq!(here.as_addr().family(), AF_INET);
    assert_ne!(here.port(), 0);
}

#[test]
fn an_ipv6_address_keeps_its_scope() {
    if !has_ipv6("an_ipv6_address_keeps_its_scope") {
        return;
    }
    let socket = sys::socket(AF_INET6, libc::SOCK_STREAM, 0).unwrap();
    // No interface need have the address that is bound: ip(7), IP_FREEBIND.
    sys::set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1).unwrap();
    let list = lookup(Some("fe80::1%lo"), 0).unwrap();
    sys::bind(&socket, list.iter().next().unwrap()).unwrap();
    let addr = sys::getsockname(&socket).unwrap();
    assert_ne!(addr.port(), 0);
    assert_eq!(addr.to_string(), format!("[fe80::1%lo]:{}", addr.port()));
    let read_back = lookup(Some("fe80::1%lo"), addr.port()).unwrap();
    assert_eq!(texts(&read_back), [addr.to_string()]);
}

/// That it is no host with a port, whatever its bytes look like.
#[track_caller]
fn assert_neither_host_nor_port(what: &str, addr: SockAddr, family: c_int) {
    let text = format!("(unknown: address family {family})");
    assert_eq!((addr.as_addr().family(), addr.port()), (family, 0), "{what}");
    assert_eq!(addr.to_string(), text, "{what}");
}

#[test]
fn a_unix_socket_has_neither_host_nor_port() {
    if let Some(output) = own_process("a_unix_socket_has_neither_host_nor_port") {
        return assert_passed(&output);
    }
    // A path is bound as it is written, and these look like ports: so from a directory of its own.
    let dir = format!("{}/unix-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    fs::create_dir(&dir).unwrap();
    env::set_current_dir(&dir).unwrap();
    let longest = "8".repeat(107); // and a NUL: unix(7)
    for name in ["8080", ":8080", "127.0.0.1:8080", "[::1]:8080", &longest] {
        let path = SocketAddr::from_pathname(name).unwrap();
        let in_no_directory = SocketAddr::from_abstract_name(name).unwrap();
        for at in [path, in_no_directory] {
            let listener = UniqueFd::from(OwnedFd::from(UnixListener::bind_addr(&at).unwrap()));
            let client = UniqueFd::from(OwnedFd::from(UnixStream::connect_addr(&at).unwrap()));
            let (server, peer) = accept(&listener).unwrap();
            let addrs = [
                ("the listener", sys::getsockname(&listener).unwrap()),
                ("its own, of a client that has no name", sys::getsockname(&client).unwrap()),
                ("the client's peer", sys::getpeername(&client).unwrap()),
                ("what accept said", peer),
                ("the server's peer", sys::getpeername(&server).unwrap()),
            ];
            for (what, addr) in addrs {
                assert_neither_host_nor_port(&format!("{at:?}: {what}"), addr, libc::AF_UNIX);
            }
        }
    }
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_socket_without_ports_has_neither_host_nor_port() {
    let netlink = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0).unwrap();
    let addr = sys::getsockname(&netlink).unwrap();
    assert_neither_host_nor_port("netlink", addr, libc::AF_NETLINK);
    match sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0) {
        Err(e) => skipped("a packet socket", e),
        Ok(packet) => {
            let addr = sys::getsockname(&packet).unwrap();
            assert_neither_host_nor_port("packet", addr, libc::AF_PACKET);
        }
    }
}

// ---- failures ----

/// The C library's own words for a code of getaddrinfo: glibc and musl do not have the same.
fn words(code: c_int) -> String {
    // SAFETY: gai_strerror returns a constant string that ends in NUL, whatever the code.
    let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) };
    text.to_str().unwrap().to_owned()
}

#[test]
fn a_name_with_a_nul_is_invalid_input() {
    for name in ["\0", "127.0.0.1\0", "local\0host"] {
        assert_eq!(lookup(Some(name), 80).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_name_that_is_not_numeric_is_not_found_where_only_numbers_are() {
    for name in ["localhost", "127.0.0.256", "[::1]", ""] {
        set_errno(Errno(libc::EMFILE)); // left over from an earlier call: not this one's
        let e = resolve(Some(name), 80, AF_UNSPEC, AI_NUMERICHOST).unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::NotFound, None));
        assert_eq!(e.to_string(), format!("{name}: {}", words(EAI_NONAME)));
    }
}

#[test]
fn an_unknown_name_says_its_name_and_why() {
    // No such name can exist, RFC 6761. But without a network, or with a name server that does not
    // answer, the resolver cannot know that: then it says "try again".
    let e = lookup(Some("nosuch.invalid"), 80).unwrap_err();
    let text = e.to_string();
    let why = text.strip_prefix("nosuch.invalid: ").expect("the name");
    if why == words(EAI_AGAIN) {
        assert_eq!(e.kind(), ErrorKind::Other);
    } else {
        assert_eq!((why, e.kind()), (words(EAI_NONAME).as_str(), ErrorKind::NotFound));
    }
}

#[test]
fn only_a_name_that_is_not_known_is_not_found() {
    let table = [
        (Some("127.0.0.1"), AF_UNSPEC, c_int::MIN, EAI_BADFLAGS),
        (None, AF_UNSPEC, c_int::MIN, EAI_BADFLAGS),
        (Some("127.0.0.1"), c_int::MAX, 0, EAI_FAMILY),
    ];
    let texts: BTreeSet<String> = [EAI_NONAME, EAI_BADFLAGS, EAI_FAMILY].map(words).into();
    assert_eq!(texts.len(), 3, "the words tell the codes apart");
    for (host, family, flags, code) in table {
        let e = resolve(host, 80, family, flags).unwrap_err();
        let text = format!("{}: {}", host.unwrap_or("this machine"), words(code));
        assert_eq!((e.to_string(), e.kind()), (text, ErrorKind::Other));
    }
}

#[test]
fn out_of_descriptors_shows_through_the_resolver() {
    let test = "out_of_descriptors_shows_through_the_resolver";
    // Other modules than these two, mdns4_minimal for one, say EBUSY where a descriptor is missing.
    match own_process_with_file(test, "/etc/nsswitch.conf", "hosts: files dns") {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    // At first the resolver has not read its own files; the second time it has. The EAI code then
    // is not the same, but errno is.
    for when in ["cold", "warm"] {
        let e = out_of_descriptors(|| lookup(Some("nosuch.invalid"), 80)).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EMFILE), "{when}: {e}");
        let _ = lookup(Some("localhost"), 80);
    }
}

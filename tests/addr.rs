//! Names to addresses: what comes out, and what every failure looks like.

mod support;

use std::io::{self, ErrorKind};

use errno::{Errno, set_errno};
use libc::{AF_INET, AF_INET6, AI_NUMERICHOST, AI_PASSIVE};
use support::*;
use tcp_stream_io::addr::{AddrList, Hints, ResolveError};
use tcp_stream_io::{resolve, sys};

fn texts(list: &AddrList) -> Vec<String> {
    list.iter().map(|addr| addr.to_string()).collect()
}

fn expect_error(result: io::Result<AddrList>) -> (io::Error, ResolveError) {
    let e = result.map(|list| texts(&list)).unwrap_err();
    let inside = ResolveError::of(&e).expect("a ResolveError inside").clone();
    (e, inside)
}

#[test]
fn a_numeric_address_prints_so_that_it_can_be_read_back() {
    let table = [
        ("127.0.0.1", 9000, AF_INET, "127.0.0.1:9000"),
        ("::1", 9000, AF_INET6, "[::1]:9000"),
        ("::ffff:127.0.0.1", 1, AF_INET6, "[::ffff:127.0.0.1]:1"),
        ("0:0:0:0:0:0:0:1", 0, AF_INET6, "[::1]:0"),
        ("127.0.0.1", 65_535, AF_INET, "127.0.0.1:65535"), // no port wraps: the text "99999" would
    ];
    for (host, port, family, expected) in table {
        let list = resolve(Some(host), port, &Hints::default()).unwrap();
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
        let list = resolve(None, 80, &Hints { family, flags }).unwrap();
        assert_eq!(texts(&list), [expected]);
    }
}

#[test]
fn a_list_can_be_moved_and_walked_again() {
    let list = resolve(None, 80, &Hints::default()).unwrap();
    let before = texts(&list);
    let moved = Box::new(list);
    assert!(!before.is_empty());
    assert_eq!(texts(&moved), before);
    assert_eq!(texts(&moved), before);
}

#[test]
fn an_address_from_the_kernel_prints_the_same() {
    let (client, server) = pair();
    let (here, there) = (sys::getsockname(&client).unwrap(), sys::getpeername(&server).unwrap());
    assert_eq!(here.to_string(), there.to_string());
    assert_eq!(here.to_string(), format!("127.0.0.1:{}", here.port()));
    assert_ne!(here.port(), 0);
}

#[test]
fn a_name_with_a_nul_is_invalid_input() {
    for name in ["\0", "127.0.0.1\0", "local\0host"] {
        let e = resolve(Some(name), 80, &Hints::default()).map(|l| texts(&l)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_name_that_is_not_numeric_is_not_found_where_only_numbers_are() {
    let hints = Hints { flags: AI_NUMERICHOST, ..Hints::default() };
    for name in ["localhost", "127.0.0.256", "[::1]"] {
        set_errno(Errno(libc::EMFILE)); // left over from an earlier call: not this one's
        let (e, inside) = expect_error(resolve(Some(name), 80, &hints));
        assert_eq!(e.kind(), ErrorKind::NotFound);
        assert_eq!((&*inside.name, inside.code), (name, libc::EAI_NONAME));
        assert_eq!((inside.errno.0, inside.is_temporary()), (0, false));
        assert_eq!(e.to_string(), format!("{name}: Name or service not known"));
    }
}

#[test]
fn an_unknown_name_says_its_name_and_why() {
    // No such name can exist, RFC 6761. But without a network, or with a name server that does not
    // answer, the resolver cannot know that: then it says "try again".
    let (e, inside) = expect_error(resolve(Some("nosuch.invalid"), 80, &Hints::default()));
    match inside.code {
        libc::EAI_AGAIN => assert!(inside.is_temporary()),
        code => {
            assert_eq!((code, e.kind()), (libc::EAI_NONAME, ErrorKind::NotFound));
            assert!(!inside.is_temporary());
        }
    }
    assert!(e.to_string().starts_with("nosuch.invalid: "), "{e}");
}

#[test]
fn what_may_work_later_is_told_from_what_will_not() {
    let table = [
        (libc::EAI_AGAIN, 0, true, ErrorKind::Other),
        (libc::EAI_NONAME, 0, false, ErrorKind::NotFound),
        (libc::EAI_NONAME, libc::EMFILE, true, ErrorKind::NotFound),
        (libc::EAI_SYSTEM, libc::ENFILE, true, io::Error::from_raw_os_error(libc::ENFILE).kind()),
        (libc::EAI_SYSTEM, libc::EACCES, false, ErrorKind::PermissionDenied),
        (libc::EAI_FAIL, 0, false, ErrorKind::Other),
    ];
    for (code, errno, temporary, kind) in table {
        let e = ResolveError { name: String::new(), code, errno: Errno(errno) };
        assert_eq!(e.is_temporary(), temporary, "{e}");
        assert_eq!(io::Error::from(e).kind(), kind);
    }
}

#[test]
fn out_of_descriptors_shows_through_the_resolver() {
    if let Some(output) = own_process("out_of_descriptors_shows_through_the_resolver") {
        if !asks_files_and_dns_only() {
            skipped("the warm half", "a module of /etc/nsswitch.conf puts in an errno of its own");
        }
        return assert_passed(&output);
    }
    // At first the resolver has not read its own files; the second time it has. The EAI code then
    // is not the same, but errno is.
    for when in ["cold", "warm"] {
        if when == "warm" && !asks_files_and_dns_only() {
            return;
        }
        let result = out_of_descriptors(|| resolve(Some("nosuch.invalid"), 80, &Hints::default()));
        let (e, inside) = expect_error(result);
        assert_eq!(inside.errno.0, libc::EMFILE, "{when}: {e}");
        assert!(inside.is_temporary(), "{when}: {e}");
        assert!(e.to_string().ends_with("(Too many open files)"), "{when}: {e}");
        let _ = resolve(Some("localhost"), 80, &Hints::default());
    }
}

/// Other modules, mdns4_minimal for one, say EBUSY where a descriptor was missing.
fn asks_files_and_dns_only() -> bool {
    let text = std::fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let hosts = text.lines().find_map(|line| line.strip_prefix("hosts:")).unwrap_or("files dns");
    hosts.split_whitespace().all(|module| ["files", "dns"].contains(&module))
}

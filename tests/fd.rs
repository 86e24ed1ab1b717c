//! A descriptor is closed once: not never, and not twice.

mod support;

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use libc::{AF_INET, SOCK_STREAM};
use support::*;
use tcp_stream_io::{UniqueFd, sys};

/// The kernel gives the lowest free number to whoever asks next. One test at a time, or another
/// test's descriptor turns up under the number that has just been closed.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn socket() -> UniqueFd {
    sys::socket(AF_INET, SOCK_STREAM, 0).unwrap()
}

/// The descriptor's flags, or EBADF if it is not open.
fn flags(fd: RawFd) -> io::Result<i32> {
    // SAFETY:
    // - F_GETFD passes no memory, and asks about any number.
    match unsafe { libc::fcntl(fd, libc::F_GETFD) } {
        -1 => Err(io::Error::last_os_error()),
        flags => Ok(flags),
    }
}

fn is_open(fd: RawFd) -> bool {
    flags(fd).map_err(|e| assert_eq!(e.raw_os_error(), Some(libc::EBADF))).is_ok()
}

#[test]
fn it_is_closed_when_it_goes_out_of_scope() {
    let _alone = alone();
    let number = {
        let fd = socket();
        assert!(is_open(fd.as_raw_fd()));
        fd.as_raw_fd()
    };
    assert!(!is_open(number));
}

#[test]
fn a_move_does_not_close_it_a_second_time() {
    let _alone = alone();
    let reused = {
        let first = socket();
        let number = first.as_raw_fd();
        let second = first;
        assert!(is_open(number));
        drop(second);
        let reused = socket();
        assert_eq!(reused.as_raw_fd(), number);
        reused
    }; // here `first` goes out of scope, whose number belongs to `reused` now
    assert!(is_open(reused.as_raw_fd()));
}

#[test]
fn close_says_what_the_kernel_said() {
    let _alone = alone();
    let fd = socket();
    let number = fd.as_raw_fd();
    fd.close().unwrap();
    assert!(!is_open(number));

    let fd = socket();
    // SAFETY:
    // - wrong on purpose: `fd` owns it. No other thread opens anything, so that nothing is hit.
    unsafe { libc::close(fd.as_raw_fd()) };
    assert_eq!(fd.close().unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn close_does_not_close_it_a_second_time() {
    let _alone = alone();
    // The second time would hit a number that the other thread has just been given, and there
    // `close` would say EBADF.
    let open_and_close = || (0..20_000).for_each(|_| socket().close().unwrap());
    thread::scope(|s| {
        s.spawn(open_and_close);
        s.spawn(open_and_close);
    });
}

#[test]
fn given_away_it_stays_open_and_has_one_owner() {
    let _alone = alone();
    let fd = socket();
    let number = fd.as_raw_fd();
    let owned = OwnedFd::from(fd);
    assert!(is_open(number));
    let fd = UniqueFd::from(owned);
    assert!(is_open(number));
    assert_eq!(fd.as_raw_fd(), number);
    drop(fd);
    assert!(!is_open(number));

    let number = OwnedFd::from(socket()).into_raw_fd();
    assert!(is_open(number));
    // SAFETY:
    // - `into_raw_fd` gave it to us.
    drop(unsafe { UniqueFd::from_raw_fd(number) });
    assert!(!is_open(number));
}

#[test]
fn a_lent_descriptor_stays_its_owners() {
    let _alone = alone();
    let fd = socket();
    let lent = fd.as_fd();
    assert_eq!(lent.as_raw_fd(), fd.as_raw_fd());
    let duplicate = UniqueFd::from(lent.try_clone_to_owned().unwrap());
    assert_ne!(duplicate.as_raw_fd(), fd.as_raw_fd());
    drop(duplicate);
    assert!(is_open(fd.as_raw_fd()));
}

#[test]
fn a_socket_does_not_survive_exec() {
    let _alone = alone();
    let (client, server) = pair();
    for (fd, how) in [(&socket(), "socket"), (&client, "connect_to"), (&server, "accept")] {
        assert_eq!(flags(fd.as_raw_fd()).unwrap(), libc::FD_CLOEXEC, "{how}");
    }
}

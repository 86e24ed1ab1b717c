//! Turns off what an interface would do for TCP.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

// linux/ethtool.h
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_SRXCSUM: u32 = 0x15;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Turns checksumming and all joining of segments off, on an interface of this thread's namespace:
/// what leaves is then what a wire would see. With checksumming on, a packet that a program
/// carries over has no checksum at all.
pub fn turn_off(interface: &str) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // Segmentation first: without checksums it is off anyway, and cannot be set.
    for cmd in [ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM, ETHTOOL_SRXCSUM] {
        let mut value = EthtoolValue { cmd, data: 0 };
        let mut request = request(interface);
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: `request` is an ifreq whose data is the ethtool_value that `cmd` asks for, and
        // both outlive the call.
        let done = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        match Errno::result(done) {
            // EOPNOTSUPP: it is off, and cannot be on.
            Ok(_) | Err(Errno::EOPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn request(interface: &str) -> libc::ifreq {
    // SAFETY: an ifreq is integers, bytes and pointers: all zero is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name.iter_mut().take(room).zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

//! Memory of more than 4 GiB: where a length was cut to 32 bits, it shows.

use std::io;
use std::slice;

use crate::alloc;

/// No multiple of 4 GiB: cut to 32 bits, signed or not, it is 5.
pub const HUGE: usize = (1 << 32) + 5;

/// [`HUGE`] bytes that read as zeroes and take no memory until they are written to. An answer that
/// copies them runs out of room.
pub fn zeroes() -> io::Result<&'static mut [u8]> {
    alloc::limit_all(6 << 30);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the mapping is new, is nobody else's, and is never unmapped.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), HUGE, access, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(slice::from_raw_parts_mut(at.cast(), HUGE))
    }
}

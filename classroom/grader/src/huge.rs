//! Memory of more than 4 GiB: where a length was cut to 32 bits, it shows.

use std::io;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::alloc;
pub use crate::calls::HUGE;

/// [`HUGE`] bytes that read as zeroes and take no memory until they are written to. An answer that
/// copies them runs out of room.
pub fn zeroes() -> io::Result<&'static mut [u8]> {
    static TIMES: AtomicU64 = AtomicU64::new(1);
    let times = TIMES.fetch_add(1, Relaxed);
    alloc::limit(times * HUGE as u64 + (2 << 30));
    map(HUGE)
}

/// So many bytes of the same kind.
pub fn map(len: usize) -> io::Result<&'static mut [u8]> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: the mapping is new, is nobody else's, and is never unmapped.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(slice::from_raw_parts_mut(at.cast(), len))
    }
}

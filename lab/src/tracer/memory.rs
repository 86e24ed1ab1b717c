//! A tracee's memory: process_vm_readv(2).

use std::io::IoSliceMut;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// One process's memory, while one of its threads is stopped.
#[derive(Clone, Copy)]
pub struct Memory(pub i32);

impl Memory {
    /// `len` bytes from `address` on; `None`: it is not all there.
    pub fn bytes(self, address: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        if len == 0 {
            return Some(bytes);
        }
        if address == 0 {
            return None;
        }
        let remote = RemoteIoVec { base: usize::try_from(address).ok()?, len };
        let local = &mut [IoSliceMut::new(&mut bytes)];
        let read = process_vm_readv(Pid::from_raw(self.0), local, &[remote]).ok()?;
        (read == len).then_some(bytes)
    }

    /// A C `int` (or any four bytes).
    pub fn int(self, address: u64) -> Option<i32> {
        Some(i32::from_ne_bytes(self.bytes(address, 4)?.try_into().ok()?))
    }

    /// A C `long`, `size_t` or pointer.
    pub fn word(self, address: u64) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(address, 8)?.try_into().ok()?))
    }

    /// An array of `count` such words.
    pub fn words(self, address: u64, count: usize) -> Option<Vec<u64>> {
        let bytes = self.bytes(address, count * 8)?;
        Some(bytes.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word)).collect())
    }
}

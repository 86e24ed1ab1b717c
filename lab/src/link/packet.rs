//! A packet socket with a ring: the kernel writes packets and their times into memory that is
//! shared with it. Its room does not depend on the limits of socket buffers, which an ordinary
//! user cannot raise. See packet(7), and Documentation/networking/packet_mmap.rst in Linux.

use std::ffi::c_void;
use std::io;
use std::mem::size_of;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::net::if_::if_nametoindex;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::record::Nanos;

/// All frames of a ring together, in bytes. For 1500-byte packets: 4096 of them.
const RING: usize = 8 << 20;
const BLOCK: usize = 128 << 10;

/// Sees every packet of one interface, and can send packets on it.
pub struct PacketSocket {
    socket: OwnedFd,
    ring: NonNull<u8>,
    frame: usize,
    frames: usize,
    /// The oldest frame that has not been given back.
    first: usize,
    address: libc::sockaddr_ll,
}

// SAFETY: the ring belongs to this value alone; no thread keeps anything of its own in it.
unsafe impl Send for PacketSocket {}

/// A packet in the ring.
pub struct Packet<'a> {
    /// When the kernel had it.
    pub at: Nanos,
    /// Whether this host has sent it.
    pub outgoing: bool,
    /// From its IP header on.
    pub bytes: &'a [u8],
}

/// Protocol 0: nothing comes in until it is bound.
fn unbound() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socket(AddressFamily::Packet, SockType::Datagram, flags, None)?)
}

impl PacketSocket {
    /// Whether this process may have any.
    ///
    /// # Errors
    /// EPERM, EAFNOSUPPORT: it may not.
    pub fn possible() -> io::Result<()> {
        unbound().map(drop)
    }

    /// Opens one on an interface of this thread's namespace. `outgoing`: see what the host itself
    /// sends, too.
    pub fn open(interface: &str, mtu: u32, outgoing: bool) -> io::Result<PacketSocket> {
        let socket = unbound()?;
        let frame = (mtu as usize + 128).next_power_of_two().max(2048);
        let frames = RING / frame;
        set(&socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as u32))?;
        set(&socket, libc::PACKET_IGNORE_OUTGOING, &libc::c_int::from(!outgoing))?;
        let block = BLOCK.max(frame);
        let request = libc::tpacket_req {
            tp_block_size: block as u32,
            tp_block_nr: (RING / block) as u32,
            tp_frame_size: frame as u32,
            tp_frame_nr: frames as u32,
        };
        set(&socket, libc::PACKET_RX_RING, &request)?;
        let length = NonZeroUsize::new(RING).expect("not zero");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping, at no given address: it replaces none.
        let ring = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, &socket, 0)? };
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: if_nametoindex(interface)? as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            // With no ARP, every host is at the address of whoever asks; see `to`.
            sll_addr: [0; 8],
        };
        let socket = PacketSocket { socket, ring: ring.cast(), frame, frames, first: 0, address };
        // SAFETY: the address is a sockaddr_ll, and its length is given.
        let bound = unsafe {
            let address = (&raw const socket.address).cast();
            libc::bind(socket.socket.as_raw_fd(), address, size_of::<libc::sockaddr_ll>() as u32)
        };
        Errno::result(bound)?;
        Ok(socket)
    }

    /// The `n`th packet that has come in and has not been given back.
    pub fn peek(&self, n: usize) -> Option<Packet<'_>> {
        if n >= self.frames {
            return None;
        }
        let frame = self.frame_at((self.first + n) % self.frames);
        if self.status(frame).load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY:
        // - the status says that the frame is ours: the kernel has filled it and leaves it alone.
        // - it begins with this header, and is aligned to 2048 bytes.
        // - `release` needs `&mut self`: no reference is left when the kernel gets it back.
        let header = unsafe { frame.cast::<libc::tpacket2_hdr>().as_ref() };
        // SAFETY: the sockaddr_ll follows the header, which is 16-byte aligned and 32 bytes long.
        let from = unsafe { frame.cast::<libc::tpacket2_hdr>().add(1).cast().as_ref() };
        let from: &libc::sockaddr_ll = from;
        // SAFETY: the kernel has written so many bytes at that place of the frame.
        let bytes = unsafe {
            let start = frame.add(usize::from(header.tp_net)).as_ptr();
            slice::from_raw_parts(start, header.tp_snaplen as usize)
        };
        let at = u64::from(header.tp_sec) * 1_000_000_000 + u64::from(header.tp_nsec);
        Some(Packet { at, outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, bytes })
    }

    /// Gives the first `n` packets back to the kernel.
    pub fn release(&mut self, n: usize) {
        for _ in 0..n {
            let frame = self.frame_at(self.first);
            self.status(frame).store(libc::TP_STATUS_KERNEL, Ordering::Release);
            self.first = (self.first + 1) % self.frames;
        }
    }

    /// Packets that found the ring full since the last call.
    pub fn missed(&self) -> u64 {
        let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut length = size_of::<libc::tpacket_stats>() as u32;
        // SAFETY: `stats` has room for what this option gives, and `length` says so.
        let asked = unsafe {
            let (level, option) = (libc::SOL_PACKET, libc::PACKET_STATISTICS);
            let stats = (&raw mut stats).cast();
            libc::getsockopt(self.socket.as_raw_fd(), level, option, stats, &mut length)
        };
        if asked == 0 { u64::from(stats.tp_drops) } else { 0 }
    }

    /// Sends IP packets to the hardware address `to`, in as few calls as it takes. When it
    /// returns, the other end has, as a rule, already taken them in.
    pub fn send<'a>(
        &self,
        to: [u8; 6],
        packets: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<usize> {
        let mut addresses = [libc::ETH_P_IP, libc::ETH_P_IPV6].map(|protocol| {
            let mut address = self.address;
            address.sll_protocol = (protocol as u16).to_be();
            address.sll_addr[..6].copy_from_slice(&to);
            address
        });
        let [v4, v6] = addresses.each_mut().map(std::ptr::from_mut);
        let mut pieces: Vec<libc::iovec> = packets
            .map(|bytes| libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = pieces
            .iter_mut()
            .map(|piece| {
                // SAFETY: an mmsghdr is integers and pointers: all zero is a value of it.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                // SAFETY: a piece is a packet of the caller's: it may be read, if it is not empty.
                let is_v6 = piece.iov_len > 0 && unsafe { *piece.iov_base.cast::<u8>() } >> 4 == 6;
                message.msg_hdr.msg_name = if is_v6 { v6.cast() } else { v4.cast() };
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
                message.msg_hdr.msg_iov = piece;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        let mut sent = 0;
        while sent < messages.len() {
            let rest = &mut messages[sent..];
            // SAFETY: `rest` points at the pieces and the addresses above, which outlive the call;
            // the kernel only reads them.
            let n = unsafe {
                let (fd, count) = (self.socket.as_raw_fd(), rest.len() as u32);
                libc::sendmmsg(fd, rest.as_mut_ptr(), count, 0)
            };
            match Errno::result(n) {
                Ok(n) => sent += n as usize,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sent)
    }

    fn frame_at(&self, index: usize) -> NonNull<u8> {
        // Frames fill a block without a gap: both sizes are powers of two.
        // SAFETY: index < frames, and frames * frame is the ring's length.
        unsafe { self.ring.add(index * self.frame) }
    }

    /// The word that says who owns a frame: the kernel or us.
    fn status(&self, frame: NonNull<u8>) -> &AtomicU32 {
        // SAFETY: the frame begins with it, and lives as long as `self`; both sides touch it
        // atomically only.
        unsafe { AtomicU32::from_ptr(frame.cast().as_ptr()) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        // SAFETY: our mapping of that length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.ring.cast::<c_void>(), RING) };
    }
}

/// setsockopt(2) at SOL_PACKET.
fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    // SAFETY: the kernel reads at most so many bytes of a value that outlives the call.
    let done = unsafe {
        let (level, length) = (libc::SOL_PACKET, size_of::<T>() as u32);
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const *value).cast(), length)
    };
    Errno::result(done)?;
    Ok(())
}

//! How parent and child talk: a byte that descriptors ride along with, lengths, JSON, bytes.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Serialize, de::DeserializeOwned};

const MAX_FDS: usize = 16;

pub fn send(
    mut to: &UnixStream,
    message: &impl Serialize,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let (at, byte, flags) = (to.as_raw_fd(), [IoSlice::new(b".")], MsgFlags::MSG_NOSIGNAL);
    while let Err(error) = sendmsg::<()>(at, &byte, rights, flags, None) {
        if error != Errno::EINTR {
            return Err(error.into());
        }
    }
    let json = serde_json::to_vec(message)?;
    to.write_all(&[json.len(), bytes.len()].map(usize::to_be_bytes).concat())?;
    to.write_all(&json)?;
    to.write_all(bytes)
}

/// A message, the bytes after it, and the descriptors that came with it. `None` at the end.
pub type Received<T> = Option<(T, Vec<u8>, Vec<RawFd>)>;

pub fn receive<T: DeserializeOwned>(mut from: &UnixStream) -> io::Result<Received<T>> {
    let mut fds = Vec::new();
    loop {
        let (mut byte, mut space) = ([0], nix::cmsg_space!([RawFd; MAX_FDS]));
        let (at, flags) = (from.as_raw_fd(), MsgFlags::MSG_CMSG_CLOEXEC);
        match recvmsg::<()>(at, &mut [IoSliceMut::new(&mut byte)], Some(&mut space), flags) {
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(message) => fds.extend(message.cmsgs()?.filter_map(|control| match control {
                ControlMessageOwned::ScmRights(fds) => Some(fds),
                _ => None,
            })),
        }
        break;
    }
    let mut read = |len: usize| {
        let mut bytes = vec![0; len];
        from.read_exact(&mut bytes).map(|()| bytes)
    };
    let lengths = read(16)?;
    let [json, bytes] =
        [0, 8].map(|at| u64::from_be_bytes(lengths[at..at + 8].try_into().expect("eight bytes")));
    let json = read(json as usize)?;
    Ok(Some((serde_json::from_slice(&json)?, read(bytes as usize)?, fds.concat())))
}

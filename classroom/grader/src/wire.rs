//! How parent and child talk: lengths, then JSON, then bytes; descriptors ride along.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::{Serialize, de::DeserializeOwned};

const MAX_FDS: usize = 16;

pub fn send(
    to: &UnixStream,
    message: &impl Serialize,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let mut head = [0; 16];
    head[..8].copy_from_slice(&json.len().to_be_bytes());
    head[8..].copy_from_slice(&bytes.len().to_be_bytes());
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let sent = retry(|| {
        Ok(sendmsg::<()>(
            to.as_raw_fd(),
            &[IoSlice::new(&head)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        )?)
    })?;
    let mut to = to;
    to.write_all(&head[sent..])?;
    to.write_all(&json)?;
    to.write_all(bytes)
}

/// A message, the bytes behind it, and the descriptors that came with it. `None` at the end.
pub type Received<T> = Option<(T, Vec<u8>, Vec<RawFd>)>;

pub fn receive<T: DeserializeOwned>(from: &UnixStream) -> io::Result<Received<T>> {
    let mut head = [0; 16];
    let mut space = nix::cmsg_space!([RawFd; MAX_FDS]);
    let mut fds = Vec::new();
    let got = {
        let mut slices = [IoSliceMut::new(&mut head)];
        let message = retry(|| {
            let flags = MsgFlags::MSG_CMSG_CLOEXEC;
            Ok(recvmsg::<()>(from.as_raw_fd(), &mut slices, Some(&mut space), flags)
                .map(|m| (m.bytes, m.cmsgs().map(|all| all.collect::<Vec<_>>())))?)
        })?;
        for control in message.1? {
            if let ControlMessageOwned::ScmRights(more) = control {
                fds.extend(more);
            }
        }
        message.0
    };
    if got == 0 {
        return Ok(None);
    }
    let mut from = from;
    from.read_exact(&mut head[got..])?;
    let [json, bytes] = [&head[..8], &head[8..]]
        .map(|len| usize::from_be_bytes(len.try_into().expect("eight bytes")));
    let mut json = vec![0; json];
    from.read_exact(&mut json)?;
    let mut blob = vec![0; bytes];
    from.read_exact(&mut blob)?;
    Ok(Some((serde_json::from_slice(&json)?, blob, fds)))
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

//! A connection beside one that is none of the answer's business.

use std::io;
use std::os::fd::OwnedFd;
use std::thread;

use say::say;

use crate::child::Child;
use crate::inside::After;
use crate::peer::{Heard, Peer, arrived, pair};
use crate::refusal::{Refusal, Verdict};

const BYSTANDER: &[u8] = b"not for you";

/// What the peer of a sender has sent, and the sender has to leave where it is.
pub const QUESTION: &[u8] = b"unread";

/// The peer of the connection, and the bystander, who has sent something and listens.
pub struct Stage {
    /// The peer.
    pub peer: Peer,
    /// The peer of the other connection.
    pub bystander: Peer,
}

/// The stage, and the descriptors for the child: the connection is the last of them, at a number
/// that is not the first free one.
pub fn stage((peer, conn): (Peer, OwnedFd)) -> io::Result<(Stage, Vec<OwnedFd>)> {
    let (bystander, theirs) = pair()?;
    bystander.send(BYSTANDER);
    arrived(&theirs, BYSTANDER.len())?;
    Ok((Stage { peer, bystander }, vec![theirs, conn]))
}

impl Peer {
    /// Refuses an answer that took from the connection of this bystander, or wrote to it.
    pub fn untouched(&self, after: &After) -> Verdict {
        if self.read_waiting()? != Heard::Nothing {
            return Err(Refusal::new("it wrote to another descriptor than the one it was given"));
        }
        if after.unread.first() != Some(&BYSTANDER.len()) {
            return Err(Refusal::new("it read from another descriptor than the one it was given"));
        }
        Ok(())
    }
}

/// A client of a server of the answer's.
impl Peer {
    /// What comes back, up to so many bytes, as long as it comes.
    pub fn hears(&self, child: &Child, count: usize) -> Result<Vec<u8>, Refusal> {
        let mut got = Vec::new();
        while got.len() < count && child.brings(self)? {
            match self.read_waiting()? {
                Heard::Bytes(more) => got.extend(more),
                Heard::Nothing => {}
                Heard::End => break,
            }
        }
        Ok(got)
    }

    /// It sends, and has to get the same back.
    pub fn echoes(&self, child: &mut Child, bytes: &[u8], did: &str, mistake: &str) -> Verdict {
        let got = thread::scope(|scope| {
            scope.spawn(|| self.send(bytes));
            let got = self.hears(child, bytes.len());
            if !got.as_ref().is_ok_and(|got| got.len() == bytes.len()) {
                self.end(); // nobody takes the rest
            }
            got
        })?;
        if got == bytes {
            return Ok(());
        }
        let seen = say!("{} of {} bytes; {}", got.len(), bytes.len(), child.stands()?);
        Err(Refusal::new(mistake).peer(did).but("the same bytes back", seen).bytes(bytes, &got))
    }

    /// It ends its stream, and has to see the end of the other one.
    pub fn leaves(&self, child: &mut Child, mistake: &str, early: &str) -> Verdict {
        self.end();
        if child.brings(self)? && self.read_waiting()? == Heard::End {
            return Ok(());
        }
        let returned =
            !matches!(child.at_rest()?, look if look.answer_waits() || look.state == 'R');
        let mistake = if returned { early } else { mistake };
        let refusal = Refusal::new(mistake).peer("ended its stream");
        Err(refusal.but("the end of the stream", child.stands()?))
    }
}

impl Stage {
    /// What the peer has heard, if anything.
    pub fn heard(&self) -> io::Result<Option<String>> {
        let heard = self.peer.read_waiting()?;
        Ok((heard != Heard::Nothing).then(|| format!("{heard:?}")))
    }
}

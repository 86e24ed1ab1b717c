//! A connection beside one that is none of the answer's business.

use std::io;
use std::os::fd::OwnedFd;

use say::say;

use crate::child::Child;
use crate::inside::After;
use crate::peer::{Heard, Peer, arrived, holds_back, pair, readable};
use crate::refusal::{HELD, Refusal, Verdict, refuse};

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

/// It receives where it is to send.
pub const IN_RECV: &str = "it waits in recv with a part of the echo still to be sent: recv only where poll \
                       says that there is something";
/// Other bytes come back than were sent.
pub const LOST: &str = "bytes are lost or doubled, or another client's: after a send that took n bytes, n are \
                    done, the rest is not";
const RESET: &str = "a client that had read all was reset in the place of an end: SO_LINGER of 0 seconds, \
                     or a close with bytes unread";

/// A client of a server of the answer's.
impl Peer {
    /// What comes back, up to so many bytes, as long as it comes.
    pub fn hears(&self, child: &Child, count: usize) -> Result<Vec<u8>, Refusal> {
        self.exchanges(child, b"", count)
    }

    /// The same while it sends these, as it goes.
    fn exchanges(&self, child: &Child, mut left: &[u8], count: usize) -> Result<Vec<u8>, Refusal> {
        let mut got = Vec::new();
        while got.len() < count {
            left = &left[self.sends_some(left)..];
            if !child.brings(self)? {
                break;
            }
            match self.read_waiting()? {
                Heard::Bytes(more) => got.extend(more),
                Heard::Nothing => {}
                Heard::End | Heard::Reset => break,
            }
        }
        Ok(got)
    }

    /// It sends, and has to get the same back.
    pub fn echoes(&self, child: &mut Child, bytes: &[u8], did: &str, mistake: &str) -> Verdict {
        let (now, later) = bytes.split_at(if bytes.len() < 100 { bytes.len() } else { 0 });
        self.send(now);
        // What is as short finds room here: nothing but MSG_MORE or TCP_CORK keeps it there, and
        // for 200 ms only.
        let mut looks = 0;
        while !now.is_empty() && looks < 100 && !readable(self, 1)? {
            looks += 1;
            if holds_back(self) && !readable(self, 0)? {
                let unsent = now.len();
                return refuse(HELD, "nothing held back", say!("{unsent} bytes held back"));
            }
        }
        let got = self.exchanges(child, later, bytes.len())?;
        if got == bytes {
            return Ok(());
        }
        let look = child.at_rest()?;
        let mistake = match mistake {
            _ if !bytes.starts_with(&got) => LOST,
            _ if look.receives() && !got.is_empty() => IN_RECV,
            _ => mistake,
        };
        let seen = say!("{} of {} bytes; {}", got.len(), bytes.len(), child.stands()?);
        Err(Refusal::new(mistake).peer(did).but("the same bytes back", seen).bytes(bytes, &got))
    }

    /// It ends its stream, and has to see the end of the other one.
    pub fn leaves(&self, child: &mut Child, mistake: &str, early: &str) -> Verdict {
        self.end();
        let heard = if child.brings(self)? { self.read_waiting()? } else { Heard::Nothing };
        if heard == Heard::End {
            return Ok(());
        }
        let returned =
            !matches!(child.at_rest()?, look if look.answer_waits() || look.state == 'R');
        let mistake = match heard {
            Heard::Reset => RESET,
            _ if returned => early,
            _ => mistake,
        };
        let refusal = Refusal::new(mistake).peer("ended its stream");
        Err(refusal.but("the end of the stream", child.stands()?))
    }
}

//! A connection beside one that is none of the answer's business.

use std::io;
use std::os::fd::OwnedFd;

use crate::inside::After;
use crate::peer::{Heard, Peer, arrived, pair};
use crate::refusal::Refusal;

const BYSTANDER: &[u8] = b"not for you";

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

impl Stage {
    /// Refuses an answer that took from the other connection, or wrote to it.
    pub fn bystander_untouched(&self, after: &After) -> Result<(), Refusal> {
        if self.bystander.read_waiting()? != Heard::Nothing {
            return Err(Refusal::new("it wrote to another descriptor than the one it was given"));
        }
        if after.unread.first() != Some(&BYSTANDER.len()) {
            return Err(Refusal::new("it read from another descriptor than the one it was given"));
        }
        Ok(())
    }

    /// As that; and refuses one that sent something to the peer, too.
    pub fn nothing_sent(&self, after: &After) -> Result<(), Refusal> {
        self.bystander_untouched(after)?;
        match self.peer.read_waiting()? {
            Heard::Nothing => Ok(()),
            heard => Err(Refusal::new("receiving must not send anything, nor end a direction")
                .but("silence at the peer", format!("{heard:?}"))),
        }
    }
}

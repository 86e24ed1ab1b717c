//! What failed stays failed: after a reset, say, the kernel's next word is a clean end, which would
//! make half a stream look whole.

use std::io::{self, ErrorKind};

/// The error to say again.
#[derive(Debug, Default)]
pub(super) struct Failed(Option<(ErrorKind, String)>);

impl Failed {
    /// From now on [`check`](Self::check) says this.
    pub(super) fn remember(&mut self, e: &io::Error) {
        self.0 = Some((e.kind(), e.to_string()));
    }

    /// What went wrong earlier.
    #[inline]
    pub(super) fn check(&self) -> io::Result<()> {
        match &self.0 {
            Some((kind, text)) => Err(io::Error::new(*kind, text.clone())),
            None => Ok(()),
        }
    }
}

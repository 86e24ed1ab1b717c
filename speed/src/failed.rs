//! What failed stays failed: after a reset, say, the kernel's next word is a clean end, which would
//! make half a stream look whole.

use std::io;

/// The error to say again.
#[derive(Debug, Default)]
pub(crate) struct Failed(Option<io::Error>);

impl Failed {
    /// From now on [`check`](Self::check) says this.
    #[cold]
    pub(crate) fn remember(&mut self, e: &io::Error) {
        self.0 = Some(copy_of(e));
    }

    /// What went wrong earlier.
    #[inline]
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.0 {
            None => Ok(()),
            Some(e) => Err(copy_of(e)),
        }
    }
}

/// An error cannot be cloned. errno, kind and text are all there is to it.
#[cold]
fn copy_of(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}

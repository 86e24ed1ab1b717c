//! What an example says of itself, and where its server is.

use std::io;
use std::str::FromStr;

use tcp_stream_io::{UniqueFd, net, resolve, sys};

/// An example's name and source text; `stage::about!()` makes it.
#[derive(Clone, Copy)]
pub struct About {
    /// The file's name without `.rs`.
    pub name: &'static str,
    /// The whole file: its header is the help text and the source of its title and claims.
    pub source: &'static str,
}

/// The name and header of the example that calls it.
#[macro_export]
macro_rules! about {
    () => {
        $crate::About {
            name: env!("CARGO_CRATE_NAME"),
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", file!())),
        }
    };
}

impl About {
    /// The comment at the top of the file.
    pub fn header(&self) -> String {
        let lines = self.source.lines().map_while(|line| line.strip_prefix("//!"));
        let lines: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
        lines.join("\n")
    }

    /// The concept in one sentence: the header's first paragraph.
    pub fn title(&self) -> String {
        let header = self.header();
        header.split("\n\n").next().unwrap_or_default().replace('\n', " ")
    }

    /// The ids of the claims that it answers: the header's lines `Claim ID: words.`
    pub fn claims(&self) -> Vec<String> {
        let header = self.header();
        let lines = header.lines().filter_map(|line| line.strip_prefix("Claim "));
        lines.filter_map(|line| Some(line.split_once(": ")?.0.to_owned())).collect()
    }
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// A name or a numeric address, without brackets.
    pub host: String,
    /// The port, in host byte order.
    pub port: u16,
}

impl At {
    /// Connects a socket that was prepared: some options count only before the handshake.
    pub fn connect_with(
        &self,
        prepare: impl Fn(&UniqueFd) -> io::Result<()>,
    ) -> io::Result<UniqueFd> {
        let mut last = io::Error::other("no address");
        for addr in resolve(Some(&self.host), self.port, libc::AF_UNSPEC, 0)?.iter() {
            let fd = sys::socket(addr.family(), libc::SOCK_STREAM, 0)?;
            prepare(&fd)?;
            match net::connect(&fd, addr, None) {
                Ok(()) => return Ok(fd),
                Err(e) => last = e,
            }
        }
        Err(last)
    }
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<At, String> {
        let wrong = || format!("{text:?} is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(At { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }
}

//! `getaddrinfo` tells "no such name" from "not now"; to make EINVAL of both loses the answer.
//!
//! Article 7 (`resolve`). man: getaddrinfo(3), gai_strerror(3).
//!
//! It has error codes of its own, and errno beside some of them. Out of descriptors it cannot open
//! its files, and says "no such name" of a name that exists: only errno gives it away. The limit on
//! descriptors is the whole process's, so that part runs in a process of its own.
//!
//! Expect: NotFound for what is no address; the library's own text for an address of another
//! family; out of descriptors EMFILE, whatever the code, and only this is worth another try.
//!
//! Change and see: AF_UNSPEC for AF_INET (an address); no `FullTable` (the name is always found).

use std::io;
use std::process::ExitCode;

use libc::{AF_INET, AF_UNSPEC, AI_NUMERICHOST};
use stage::Out;
use stage::child::{Child, FullTable};
use tcp_stream_io::{UniqueFd, resolve};

fn run(out: &Out) -> io::Result<()> {
    // AI_NUMERICHOST asks nobody: what is no address is no name either.
    let no_name = told("no address", AF_UNSPEC, AI_NUMERICHOST);
    out.check("no address", "NotFound: no address: Name or service not known", no_name);
    // This is an address, but none of the family that was asked for. It is another error.
    let family = told("::1", AF_INET, 0);
    out.check("::1, AF_INET", "Other: ::1: Address family for hostname not supported", family);

    // The same name, first without a descriptor to open a file with, and then with some.
    let child = Child::start_alone("")?.wait()?.said;
    let lines: Vec<&str> = child.lines().collect();
    let [first, then] = lines[..] else { return Err(io::Error::other(child)) };
    out.check("localhost, no descriptor left", "EMFILE", first);
    out.check("localhost, with descriptors", "an address", then);
    Ok(())
}

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    // Nothing about the name changes between the two calls: only there is room again.
    let table = FullTable::new()?;
    let first = told("localhost", AF_UNSPEC, 0);
    drop(table);
    Ok([first, told("localhost", AF_UNSPEC, 0)].join("\n"))
}

/// WRONG would be one word for all of these: the article's `resolve` says EINVAL.
fn told(host: &str, family: i32, flags: i32) -> String {
    match resolve(Some(host), 0, family, flags) {
        Ok(_) => "an address".into(),
        // With errno it is the system that failed, and the name may be as good as ever.
        Err(e) if e.raw_os_error() == Some(libc::EMFILE) => "EMFILE".into(),
        // Without errno it is an answer, in the words of gai_strerror.
        Err(e) => format!("{:?}: {e}", e.kind()),
    }
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}

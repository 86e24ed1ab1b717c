//! `getaddrinfo` tells "no such name" from "not now"; to make EINVAL of both loses the answer.
//!
//! Article 7 (`resolve`). man: getaddrinfo(3), gai_strerror(3).
//!
//! It has error codes of its own, and errno beside some of them. Out of descriptors it cannot open
//! its files, and says "no such name" of a name that exists: only errno gives it away. The limit on
//! descriptors is the whole process's, so that part runs in a process of its own.
//!
//! Expect: EAI_NONAME for what is no address; EAI_ADDRFAMILY for an address of another family;
//! out of descriptors EMFILE, whatever the code, and only this is worth another try.
//!
//! Change and see: AF_UNSPEC for AF_INET (an address); no `FullTable` (the name is always found).

use std::io;
use std::process::ExitCode;

use stage::Out;
use stage::child::{Child, FullTable};
use tcp_stream_io::addr::{AddrList, Hints, ResolveError};
use tcp_stream_io::{UniqueFd, resolve};

fn run(out: &Out) -> io::Result<()> {
    let numeric = Hints { flags: libc::AI_NUMERICHOST, ..Hints::default() }; // asks nobody
    let no_name = told(&resolve(Some("no address"), 0, &numeric));
    out.check("no address", "EAI_NONAME, do not try again", no_name);

    let ipv4 = Hints { family: libc::AF_INET, ..Hints::default() };
    let family = told(&resolve(Some("::1"), 0, &ipv4));
    out.check("::1, AF_INET", "EAI_ADDRFAMILY, do not try again", family);

    let child = Child::start_alone("")?.wait()?.said;
    let lines: Vec<&str> = child.lines().collect();
    let [first, then] = lines[..] else { return Err(io::Error::other(child)) };
    let emfile = first.ends_with("EMFILE, try again");
    out.check_that("no descriptor left", "EMFILE, try again", first, emfile);
    out.check("the same name with descriptors", "an address", then);
    Ok(())
}

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    let ask = || told(&resolve(Some("localhost"), 0, &Hints::default()));
    let table = FullTable::new()?;
    let first = ask();
    drop(table);
    Ok([first, ask()].join("\n"))
}

fn told(result: &io::Result<AddrList>) -> String {
    let Err(e) = result else { return "an address".into() };
    let Some(e) = ResolveError::of(e) else { return e.to_string() };
    let code = match e.code {
        libc::EAI_NONAME => "EAI_NONAME",
        libc::EAI_SYSTEM => "EAI_SYSTEM",
        libc::EAI_AGAIN => "EAI_AGAIN",
        -9 => "EAI_ADDRFAMILY", // the libc crate does not list it
        _ => "another EAI code",
    };
    let errno = if e.errno.0 == libc::EMFILE { ", EMFILE" } else { "" };
    let advice = if e.is_temporary() { "try again" } else { "do not try again" };
    format!("{code}{errno}, {advice}")
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}

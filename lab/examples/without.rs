//! `no_ptrace PROGRAM ARGS…`: runs a program for which ptrace(2) fails with EPERM, as in a strict
//! container.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let Some(program) = args.next() else { return Err("usage: no_ptrace PROGRAM ARGS…".into()) };
    let rules = [(libc::SYS_ptrace, Vec::new())].into_iter().collect();
    let arch = std::env::consts::ARCH.try_into()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()?;
    apply_filter(&filter)?;
    let error: io::Error = Command::new(program).args(args).exec();
    Err(error.into())
}

//! `without ptrace|packets PROGRAM ARGS…`: runs a program for which ptrace(2), or a packet socket,
//! fails with EPERM, as in a strict container.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let what = args.next().unwrap_or_default();
    let rule = match what.to_str() {
        Some("ptrace") => (libc::SYS_ptrace, Vec::new()),
        Some("packets") => {
            let family = libc::AF_PACKET as u64;
            let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family);
            (libc::SYS_socket, vec![SeccompRule::new(vec![is_it?])?])
        }
        _ => return Err("usage: without ptrace|packets PROGRAM ARGS…".into()),
    };
    let rules = [rule].into_iter().collect();
    let program = args.next().ok_or("which program?")?;
    let arch = std::env::consts::ARCH.try_into()?;
    let refused = SeccompAction::Errno(libc::EPERM as u32);
    let filter: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()?;
    apply_filter(&filter)?;
    let error: io::Error = Command::new(program).args(args).exec();
    Err(error.into())
}

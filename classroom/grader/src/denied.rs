//! What a call of the kernel's says seldom, or on other machines: seccomp(2) has it say so.

use std::os::raw::{c_int, c_long};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde::{Deserialize, Serialize};

use crate::calls;

/// The exit code of a process that has no filter.
pub const NO_FILTER: c_int = 88;

/// A call that is not made any more, by its number.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct Denied {
    /// Its number.
    pub call: c_long,
    /// Only where the argument with this number, from 0 on, is this.
    pub only: Option<(u8, u64)>,
    /// What it says instead.
    pub errno: c_int,
}

impl Denied {
    /// From here on, for the rest of this process. It ends where the kernel takes no filter.
    pub fn from_here_on(self) {
        let dword = |(at, value)| {
            let is = SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
            SeccompRule::new(vec![is?])
        };
        let apply = || -> seccompiler::Result<()> {
            let only = self.only.map(dword).transpose()?;
            let rules = [(self.call, Vec::from_iter(only))].into();
            let errno = SeccompAction::Errno(self.errno as u32);
            let arch = std::env::consts::ARCH.try_into()?;
            let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)?;
            apply_filter(&BpfProgram::try_from(filter)?)
        };
        if apply().is_err() {
            calls::leave(NO_FILTER)
        }
    }
}

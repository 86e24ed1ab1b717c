//! What a call of the kernel's says seldom, or on other machines: seccomp(2) has it say so.

use std::os::raw::{c_int, c_long};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};
use serde::{Deserialize, Serialize};

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
    /// From here on, for the rest of this process.
    ///
    /// # Panics
    /// The kernel takes no filter.
    pub fn from_here_on(self) {
        let dword = |(at, value)| {
            let is = SeccompCondition::new(at, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
            SeccompRule::new(vec![is?])
        };
        let filter = || -> seccompiler::Result<BpfProgram> {
            let only = self.only.map(dword).transpose()?;
            let rules = [(self.call, Vec::from_iter(only))].into();
            let errno = SeccompAction::Errno(self.errno as u32);
            let arch = std::env::consts::ARCH.try_into()?;
            Ok(SeccompFilter::new(rules, SeccompAction::Allow, errno, arch)?.try_into()?)
        };
        let filter = filter().expect("one call, on a machine that has such filters");
        apply_filter(&filter).expect("a kernel with seccomp");
    }
}

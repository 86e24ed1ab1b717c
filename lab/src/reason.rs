//! Why something was refused, and the command that would allow it.

use std::fs;
use std::path::Path;

use nix::errno::Errno;

/// Why there are no namespaces for this user, and what would allow them: one line.
pub fn no_namespaces(error: Errno) -> String {
    let in_container =
        Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    let (why, remedy) = cause(error, setting, in_container);
    format!("namespaces are not possible here ({why}); try: {remedy}")
}

/// The cause and the remedy, as far as the machine's settings tell.
fn cause(
    error: Errno,
    setting: impl Fn(&str) -> Option<String>,
    in_container: bool,
) -> (String, &'static str) {
    let is = |name, value: &str| setting(name).as_deref() == Some(value);
    let because = |name: &str| format!("{name} = {}", setting(name).unwrap_or_default());
    // Each with the value that forbids it.
    let settings = [
        ("kernel.unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user.max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"),
        ("user.max_net_namespaces", "0", "sudo sysctl user.max_net_namespaces=10000"),
    ];
    if error == Errno::EINVAL {
        return ("this process has threads, or a kernel without them".into(), "sudo, as root");
    }
    for (name, forbids, remedy) in settings {
        if is(name, forbids) {
            return (because(name), remedy);
        }
    }
    // Read from inside a user namespace, the settings of the one outside are not seen.
    if error == Errno::ENOSPC {
        let remedy = "sudo sysctl user.max_user_namespaces=10000 user.max_net_namespaces=10000";
        return ("as many as are allowed are in use".into(), remedy);
    }
    if in_container {
        let remedy = "the container with --cap-add SYS_ADMIN --cap-add NET_ADMIN \
                      --security-opt seccomp=unconfined --security-opt apparmor=unconfined";
        return (format!("{error}, in a container"), remedy);
    }
    (error.to_string(), "sudo, as root")
}

/// A setting of the machine: `kernel.yama.ptrace_scope`. `None`: this kernel does not have it.
pub fn setting(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
    Some(text.trim().into())
}

/// Why there are no packet sockets, and what would allow them: one line.
pub fn no_packet_sockets(error: &std::io::Error) -> String {
    format!("packet sockets are not possible here ({error}); try: {}", packet_sockets())
}

/// What would allow packet sockets.
pub fn packet_sockets() -> String {
    "sudo modprobe af_packet; a container needs --cap-add NET_RAW".into()
}

/// What would allow ptrace(2).
pub fn no_ptrace() -> String {
    match setting("kernel.yama.ptrace_scope").as_deref() {
        // It cannot be lowered again while the machine runs.
        Some("3") => "set kernel.yama.ptrace_scope = 1 in /etc/sysctl.d and start anew".into(),
        Some("2") => "sudo sysctl kernel.yama.ptrace_scope=1".into(),
        _ => "in a container: --cap-add SYS_PTRACE; the kernel must be 5.3 or later".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_command() {
        let with = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_string())
        };
        let remedy = |name, value, error| cause(error, with(name, value), false).1;
        let apparmor = "kernel.apparmor_restrict_unprivileged_userns";
        assert!(remedy(apparmor, "1", Errno::EPERM).ends_with("unprivileged_userns=0"));
        assert_eq!(remedy(apparmor, "0", Errno::EPERM), "sudo, as root");
        let most = "user.max_user_namespaces";
        assert!(remedy(most, "0", Errno::ENOSPC).ends_with("max_user_namespaces=10000"));
        assert!(remedy(most, "1", Errno::ENOSPC).contains("max_net_namespaces=10000"));
        let clone = "kernel.unprivileged_userns_clone";
        assert!(remedy(clone, "0", Errno::EPERM).ends_with("userns_clone=1"));
        assert!(cause(Errno::EPERM, |_| None, true).1.contains("--cap-add SYS_ADMIN"));
    }
}

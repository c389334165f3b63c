//! Checks the agent's privileges before the kernel refuses something.

use anyhow::{Context, Result, bail};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use tracer_proc::Process;

use crate::sandbox::{Privilege, Sandbox};

/// What tracing takes.
pub const NEEDED: [(&str, Privilege); 4] = [
    ("CAP_BPF", Privilege::Bpf),
    ("CAP_PERFMON", Privilege::Perfmon),
    // Both for /proc/PID/exe, /proc/PID/fd and what they lead to.
    ("CAP_SYS_PTRACE", Privilege::SysPtrace),
    ("CAP_DAC_READ_SEARCH", Privilege::DacReadSearch),
];

/// Keeps these, and no other.
pub fn sandbox() -> Sandbox {
    let needed = NEEDED.into_iter().map(|(_, privilege)| privilege);
    needed.fold(Sandbox::default(), Sandbox::keep)
}

/// `PROC_PID_INIT_INO`, `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`): inode numbers of the host's own
/// namespaces.
const HOST_PIDS: u64 = 0xefff_fffc;
const HOST_USERS: u64 = 0xefff_fffd;

/// Fails if capabilities are missing.
pub fn check() -> Result<()> {
    let missing = missing_here()?;
    if !missing.is_empty() {
        bail!(
            "tracing needs {}, which this process does not have: run it as root (sudo)",
            missing.join(", ")
        )
    }
    Ok(())
}

/// Capabilities that tracing needs and this process does not have.
pub fn missing_here() -> Result<Vec<&'static str>> {
    let effective = Process::myself().status("CapEff").ok();
    let effective = effective.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
    let effective = effective.context("cannot read /proc/self/status: mount /proc")?;
    Ok(missing(effective))
}

/// What may be the reason if the kernel refuses eBPF maps: before Linux 5.11 it counts them as locked memory, which the sandbox
/// allows without a limit where the process may do that.
pub fn locked_memory() -> Option<String> {
    let (limit, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (limit != RLIM_INFINITY).then(|| {
        format!(
            "RLIMIT_MEMLOCK is {} kB, and kernels before 5.11 count eBPF maps against it: give it none (LimitMEMLOCK=infinity in a unit, or `ulimit -l unlimited`)",
            limit >> 10
        )
    })
}

/// Whether this process sees the host's process IDs; `None` if unknown.
pub fn has_host_pids() -> Option<bool> {
    Some(namespace("pid")? == HOST_PIDS)
}

/// Whether its capabilities count for the host; `None` if unknown.
pub fn has_host_users() -> Option<bool> {
    Some(namespace("user")? == HOST_USERS)
}

fn namespace(kind: &str) -> Option<u64> {
    Process::myself().namespace(kind).ok()
}

/// Capabilities that are missing in this effective set. Up to Linux 5.7 `CAP_SYS_ADMIN` stood for
/// the first two, and it still implies them.
fn missing(effective: u64) -> Vec<&'static str> {
    let has = |privilege: Privilege| effective >> privilege as u32 & 1 == 1;
    let implied = |name| has(Privilege::SysAdmin) && ["CAP_BPF", "CAP_PERFMON"].contains(&name);
    NEEDED
        .into_iter()
        .filter(|(name, privilege)| !has(*privilege) && !implied(*name))
        .map(|(name, _)| name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing() {
        let all = [
            "CAP_BPF",
            "CAP_PERFMON",
            "CAP_SYS_PTRACE",
            "CAP_DAC_READ_SEARCH",
        ];
        assert_eq!(missing(0), all);
        assert_eq!(missing(1 << 39 | 1 << 38 | 1 << 2), ["CAP_SYS_PTRACE"]);
    }

    #[test]
    fn sys_admin_stands_for_bpf_but_not_for_ptrace() {
        assert_eq!(missing(1 << 21 | 1 << 2), ["CAP_SYS_PTRACE"]);
        assert!(missing(1 << 21 | 1 << 19 | 1 << 2).is_empty());
    }
}

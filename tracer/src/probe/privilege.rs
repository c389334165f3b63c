//! What the agent may do, asked before the kernel says no in its own words.

use anyhow::{Context, Result, bail};
use procfs::process::Process;

/// Bits of `CapEff` (`include/uapi/linux/capability.h`).
const NEEDED: [(&str, u32); 4] = [
    ("CAP_BPF", 39),
    ("CAP_PERFMON", 38),
    // Both for /proc/PID/exe, /proc/PID/fd and what they lead to.
    ("CAP_SYS_PTRACE", 19),
    ("CAP_DAC_READ_SEARCH", 2),
];
const CAP_SYS_ADMIN: u32 = 21;

/// Stops with the names of the capabilities that are missing.
pub fn check() -> Result<()> {
    let status = Process::myself()
        .and_then(|me| me.status())
        .context("cannot read /proc/self/status: mount /proc")?;
    let missing = missing(status.capeff);
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "tracing needs {}, which this process does not have: run it as root (sudo)",
        missing.join(", ")
    )
}

/// What is missing in this set of effective capabilities. Up to Linux 5.7 `CAP_SYS_ADMIN` stood for
/// the first two, and it still implies them.
fn missing(effective: u64) -> Vec<&'static str> {
    let has = |bit: u32| effective >> bit & 1 == 1;
    let implied = |name| has(CAP_SYS_ADMIN) && ["CAP_BPF", "CAP_PERFMON"].contains(&name);
    NEEDED
        .into_iter()
        .filter(|(name, bit)| !has(*bit) && !implied(*name))
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

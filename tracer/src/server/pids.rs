//! Processes by the numbers that the kernel side knows: those of the host, or, where the agent runs in a container and
//! cannot see them, those of the server's own PID namespace (`pid_namespaces(7)`).

use anyhow::{Context, Result};
use tracer_proc::Process;

use crate::probe::privilege::has_host_pids;

/// What to do in a container that does not see the server.
pub(crate) const SHARE: &str = "this container has process IDs of its own: set `hostPID: true` or `shareProcessNamespace: true` of its pod, or `docker run --pid=host`";

/// The thread group of a process, and device and inode number of the PID namespace in which that is its number; `None`
/// for the host's own.
pub(crate) fn as_the_kernel_knows(pid: i32) -> Result<(u32, Option<(u64, u64)>)> {
    if has_host_pids() != Some(false) {
        return Ok((pid.unsigned_abs(), None));
    }
    in_own_namespace(pid)
}

fn in_own_namespace(pid: i32) -> Result<(u32, Option<(u64, u64)>)> {
    let process = Process::new(pid);
    let context = || format!("cannot read the PID namespace of PID {pid}");
    let numbers = process.status("NSpid").with_context(context)?;
    let own = innermost(&numbers).with_context(context)?;
    let namespace = process.namespace_file("pid").with_context(context)?;
    Ok((own, Some(namespace)))
}

/// The last of a process's numbers, from the outermost namespace to its own (`proc_pid_status(5)`).
fn innermost(numbers: &str) -> Option<u32> {
    numbers.split_whitespace().next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_in_its_own_namespace_is_the_last() {
        assert_eq!(innermost("4711"), Some(4711));
        assert_eq!(innermost("4711\t17\t1"), Some(1));
        assert_eq!(innermost(""), None);
    }

    #[test]
    fn this_process_is_known_in_its_namespace() {
        let me = Process::myself();
        let (_, namespace) = in_own_namespace(me.pid).expect("readable");
        let (_, inode) = namespace.expect("known");
        assert_eq!(Some(inode), me.namespace("pid").ok());
    }
}

//! Why another process's memory may not be read, and what to do.

use std::{fs, io};

const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// Nobody may, whatever his capabilities (`Documentation/admin-guide/LSM/Yama.rst`).
const NOBODY: u32 = 3;

/// What to tell of this error.
pub(super) fn explain(error: &io::Error) -> String {
    let scope = fs::read_to_string(YAMA);
    why(
        error,
        scope.ok().and_then(|scope| scope.trim().parse().ok()),
    )
}

/// `scope`: of Yama, where that is at work.
fn why(error: &io::Error, scope: Option<u32>) -> String {
    match (error.kind(), scope) {
        (io::ErrorKind::PermissionDenied, Some(scope)) if scope >= NOBODY => {
            "this host forbids everybody to read another process's memory (kernel.yama.ptrace_scope is 3): set it to 1 and start the host anew".to_owned()
        }
        (io::ErrorKind::PermissionDenied, _) => {
            "reading its memory takes what a debugger may, CAP_SYS_PTRACE and no AppArmor or SELinux profile against it: run vault-tracer as root on the host, or in a container with --cap-add SYS_PTRACE".to_owned()
        }
        _ => "its memory is unreadable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_forbids_it_and_what_to_do() {
        let denied = io::ErrorKind::PermissionDenied.into();
        assert!(why(&denied, Some(3)).contains("ptrace_scope"));
        for scope in [None, Some(1), Some(2)] {
            assert!(why(&denied, scope).contains("CAP_SYS_PTRACE"));
        }
        let gone = io::ErrorKind::NotFound.into();
        assert_eq!(why(&gone, Some(3)), "its memory is unreadable");
    }
}

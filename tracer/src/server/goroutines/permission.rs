//! Reasons why another process's memory cannot be read.

use std::{fs, io};

const YAMA: &str = "/proc/sys/kernel/yama/ptrace_scope";
/// No process may, whatever its capabilities (`Documentation/admin-guide/LSM/Yama.rst`).
const NOBODY: u32 = 3;

/// Explains the error to the operator.
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
    fn the_reason_names_the_remedy() {
        let denied = io::ErrorKind::PermissionDenied.into();
        assert!(why(&denied, Some(3)).contains("ptrace_scope"));
        for scope in [None, Some(1), Some(2)] {
            assert!(why(&denied, scope).contains("CAP_SYS_PTRACE"));
        }
        let gone = io::ErrorKind::NotFound.into();
        assert_eq!(why(&gone, Some(3)), "its memory is unreadable");
    }
}

//! Names of errnos.

use nix::errno::Errno;

/// `EAGAIN` and the like; the number where it has no name.
pub fn errno_name(errno: i32) -> String {
    match Errno::from_raw(errno) {
        Errno::UnknownErrno => errno.to_string(),
        known => format!("{known:?}"),
    }
}

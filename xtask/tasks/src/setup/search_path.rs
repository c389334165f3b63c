//! `PATH`: extended, and searched.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Adds the directories of system programs to `PATH`: a plain `su` on Debian leaves them out.
///
/// # Safety
///
/// Changes the environment: no other thread may run yet.
pub unsafe fn extend_path() {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = env::split_paths(&path).collect();
    for system in ["/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !directories.contains(&system) {
            directories.push(system);
        }
    }
    if let Ok(path) = env::join_paths(directories) {
        // SAFETY: the caller says that no other thread runs.
        unsafe { env::set_var("PATH", path) };
    }
}

/// The program that `PATH` has by this name.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

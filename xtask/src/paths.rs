//! Where the clone, the cache and programs are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the clone: above this package's manifest.
pub(crate) fn root() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&manifest)
        .parent()
        .unwrap_or_else(|| Path::new("."))
        .to_path_buf()
}

/// The cache of the tasks, by the same rule as theirs (`tasks/src/setup/cache.rs`); `None` where there is no place for it.
/// Under sudo they may take the invoking user's, which saves a download but decides nothing here.
pub(crate) fn cache() -> Option<PathBuf> {
    let set = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("VAULT_TRACER_CACHE").or_else(|| {
        set("XDG_CACHE_HOME")
            .filter(|path| path.is_absolute())
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .map(|path| path.join("vault-tracer"))
    })
}

/// The nearest directory above `path` that exists, or itself.
pub(crate) fn existing(path: &Path) -> PathBuf {
    let absolute = env::current_dir().unwrap_or_default().join(path);
    let found = absolute.ancestors().find(|path| path.is_dir());
    found.unwrap_or_else(|| Path::new("/")).to_path_buf()
}

/// Whether `PATH`, or a directory of system programs, has this program.
pub(crate) fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut directories = env::split_paths(&path).chain(system);
    directories.any(|directory| directory.join(name).is_file())
}

//! Clearing away what killed processes left behind: the names of what we make carry our pid.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::Result;

use crate::{netns, server};

/// Removes namespaces and directories whose maker is gone.
pub fn remove() -> Result<()> {
    let in_the_way = |outcome: Result<()>, path: &Path| {
        outcome.or_else(|error| if path.exists() { Err(error) } else { Ok(()) })
    };
    for name in abandoned(Path::new(netns::DIRECTORY), netns::PREFIX) {
        // Another process may be sweeping too: only what is still there is worth a complaint.
        in_the_way(
            netns::delete(&name),
            &Path::new(netns::DIRECTORY).join(&name),
        )?;
    }
    let temporary = std::env::temp_dir();
    for name in abandoned(&temporary, server::DIRECTORY_PREFIX) {
        let path = temporary.join(name);
        in_the_way(fs::remove_dir_all(&path).map_err(Into::into), &path)?;
    }
    Ok(())
}

/// The names `PREFIX PID - ...` in a directory, ours by their owner, whose process does not exist.
fn abandoned(directory: &Path, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let own = entries.filter(|entry| {
        entry
            .metadata()
            .is_ok_and(|meta| meta.uid() == nix::unistd::geteuid().as_raw())
    });
    let names = own.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| maker(name, prefix).is_some_and(gone))
        .collect()
}

/// The pid in a name.
fn maker(name: &str, prefix: &str) -> Option<u32> {
    name.strip_prefix(prefix)?.split('-').next()?.parse().ok()
}

fn gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

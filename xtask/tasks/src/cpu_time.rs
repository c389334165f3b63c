//! CPU time of builds: printed, and kept below `target` for `cargo xtask budget`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeVal,
};

use crate::setup::workspace;

/// A build that has nothing to do takes less.
const NOTHING_DONE: Duration = Duration::from_secs(2);

/// Does `work` and says how much CPU time its processes took, if they did more than look.
pub fn measured<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = of_children();
    let result = work()?;
    let took = of_children().saturating_sub(before);
    if took > NOTHING_DONE {
        let seconds = took.as_secs_f64();
        eprintln!("build: {what}: {seconds:.0} CPU-seconds");
        // For information only.
        let _ = fs::create_dir_all(directory())
            .and_then(|()| fs::write(directory().join(file_name(what)), format!("{seconds:.1}\n")));
    }
    Ok(result)
}

/// The last build of each that compiled something: name and CPU-seconds.
pub fn last() -> Vec<(String, String)> {
    let entries = fs::read_dir(directory()).into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().replace('-', " ");
        let seconds = fs::read_to_string(entry.path()).ok()?;
        Some((name, seconds.trim().to_owned()))
    };
    let mut found: Vec<_> = entries.filter_map(read).collect();
    found.sort();
    found
}

fn directory() -> PathBuf {
    workspace().join("target/cpu-seconds")
}

fn file_name(what: &str) -> String {
    what.replace(' ', "-")
}

/// Of all children that have ended, and theirs.
fn of_children() -> Duration {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return Duration::ZERO;
    };
    total(&usage)
}

fn total(usage: &Usage) -> Duration {
    let duration =
        |time: TimeVal| Duration::new(time.tv_sec().unsigned_abs(), time.tv_usec() as u32 * 1000);
    duration(usage.user_time()) + duration(usage.system_time())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_children_take_is_counted() {
        let before = of_children();
        let mut busy = Command::new("sh");
        busy.args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]);
        assert!(busy.status().unwrap().success());
        assert!(of_children() > before);
    }
}

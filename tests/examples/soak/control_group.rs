//! A control group of its own for a process: of version 2 where its controllers are mounted, else of version 1.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

const ROOT: &str = "/sys/fs/cgroup";

/// Removed when it is dropped; who is in it moves to the one above.
pub(crate) struct ControlGroup {
    directory: PathBuf,
    parent: PathBuf,
}

/// A limit, by the name of its file in both versions.
pub(crate) enum Limit {
    /// Bytes.
    Memory(u64),
    /// Microseconds of each 100,000.
    Processor(u64),
}

impl ControlGroup {
    pub(crate) fn new(limit: &Limit) -> Result<Self> {
        let (controller, [(old, old_value), (new, new_value)]) = match limit {
            Limit::Memory(bytes) => (
                "memory",
                [
                    ("memory.limit_in_bytes", bytes.to_string()),
                    ("memory.max", bytes.to_string()),
                ],
            ),
            Limit::Processor(quota) => (
                "cpu",
                [
                    ("cpu.cfs_quota_us", quota.to_string()),
                    ("cpu.max", format!("{quota} 100000")),
                ],
            ),
        };
        let is_old = Path::new(ROOT).join(controller).is_dir();
        let parent = if is_old {
            Path::new(ROOT).join(controller)
        } else {
            ROOT.into()
        };
        let directory = parent.join(format!("vt-{}-{controller}", std::process::id()));
        fs::create_dir(&directory)
            .with_context(|| format!("no control group {}", directory.display()))?;
        let group = Self { directory, parent };
        let (file, value) = if is_old {
            (old, old_value)
        } else {
            (new, new_value)
        };
        let at = group.directory.join(file);
        fs::write(&at, value).with_context(|| format!("cannot write {}", at.display()))?;
        Ok(group)
    }

    /// The file that takes the IDs of processes.
    pub(crate) fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    pub(crate) fn take(&self, pid: u32) -> Result<()> {
        Ok(fs::write(self.processes(), pid.to_string())?)
    }

    fn remove(&self) -> io::Result<()> {
        let inside = fs::read_to_string(self.processes())?;
        for pid in inside.lines() {
            // It may have ended.
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        fs::remove_dir(&self.directory)
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // A process that is ending is in it for a little longer.
        for _ in 0..100 {
            if self.remove().is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        eprintln!("soak: {} stays", self.directory.display());
    }
}

//! What can be read outside of the server of a device that it says failed: of some errors the server hides the errno.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use crate::audit::file::{exists, free_space, open_files};
use tracer_model::{
    Device, DeviceFailure, Event, EventKind, FailureReason, SYSLOG_SOCKETS, Transport,
};

/// How long a look may take: a network file system may hang.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long what was found counts.
const FRESH: Duration = Duration::from_secs(1);

/// Looks at what the server's devices write to.
pub(super) struct Outside {
    pid: i32,
    /// Audit files that the server has had open.
    files: HashSet<PathBuf>,
    /// When these were last read.
    read_files: Instant,
    free: HashMap<String, (Instant, Option<u64>)>,
    /// File systems that do not answer.
    hung: HashSet<String>,
}

impl Outside {
    /// Before any device fails: a file that cannot be opened again is not open.
    pub(super) fn new(pid: i32) -> Self {
        Self {
            pid,
            files: open_files(pid),
            read_files: Instant::now(),
            free: HashMap::new(),
            hung: HashSet::new(),
        }
    }

    /// Adds what the server does not say.
    pub(super) fn complete(&mut self, event: &mut Event) {
        if let EventKind::DevicesFailed { failures, .. } = &mut event.what {
            for failure in failures {
                self.complete_failure(failure);
            }
        }
    }

    fn complete_failure(&mut self, failure: &mut DeviceFailure) {
        let Some(device) = &mut failure.device else {
            return;
        };
        match device.transport {
            Transport::File => {
                self.complete_path(device);
                if failure.reason == FailureReason::Unknown {
                    failure.free = self.free(&device.address);
                }
            }
            Transport::Syslog if failure.reason == FailureReason::Unknown => {
                let is_there = SYSLOG_SOCKETS.iter().any(|path| exists(self.pid, path));
                let errno = if is_there {
                    Errno::ECONNREFUSED
                } else {
                    Errno::ENOENT
                };
                failure.reason = FailureReason::Errno(errno as i32);
            }
            _ => {}
        }
    }

    /// Where only the directory could not be made, the one file that was open in it.
    fn complete_path(&mut self, device: &mut Device) {
        // A server under load logs thousands of errors a second.
        if self.read_files.elapsed() >= FRESH {
            self.files.extend(open_files(self.pid));
            self.read_files = Instant::now();
        }
        let path = Path::new(&device.address);
        let mut below = self.files.iter().filter(|file| file.starts_with(path));
        if let (Some(file), None) = (below.next(), below.next()) {
            device.address = file.display().to_string();
        }
    }

    fn free(&mut self, path: &str) -> Option<u64> {
        let known = self.free.get(path);
        if let Some((_, free)) = known.filter(|(at, _)| at.elapsed() < FRESH) {
            return *free;
        }
        if self.hung.contains(path) {
            return None;
        }
        let (found, receiver) = mpsc::channel();
        let (pid, of) = (self.pid, path.to_owned());
        // Fails when nobody waits any more.
        thread::spawn(move || {
            let _ = found.send(free_space(pid, &of));
        });
        let Ok(free) = receiver.recv_timeout(PATIENCE) else {
            self.hung.insert(path.to_owned());
            return None;
        };
        self.free.insert(path.to_owned(), (Instant::now(), free));
        free
    }
}

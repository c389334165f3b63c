//! What this process gives up before it reads anything of others: capabilities, system calls, new privileges, core dumps.
//!
//! What is left after this: it may load eBPF programs and read memory and files, all that tracing needs. It may start no
//! program, write to no other process, stop none and follow no file handle out of a container.
//! `docs/security.md` says it to operators; `tests/sandbox.rs` tries it.

use std::{io, panic, path::Path, thread};

use log::debug;
use nix::sys::{
    prctl,
    resource::{RLIM_INFINITY, Resource, setrlimit},
};

mod capabilities;
mod system_calls;
mod writing;

pub use capabilities::{Privilege, Privileges};

/// What a command keeps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sandbox {
    kept: Privileges,
    reserved: Privileges,
}

impl Sandbox {
    /// For a command that reads and writes files that it was given, with the rights that its user has.
    pub fn of_files() -> Self {
        Self::default()
            .keep(Privilege::DacReadSearch)
            .keep(Privilege::DacOverride)
    }

    /// Keeps a further capability, if the process has it.
    #[must_use]
    pub fn keep(self, capability: Privilege) -> Self {
        Self {
            kept: self.kept.with(capability),
            ..self
        }
    }

    /// Keeps one for [`raised`] alone, if the process has it.
    #[must_use]
    pub fn reserve(self, capability: Privilege) -> Self {
        Self {
            reserved: self.reserved.with(capability),
            ..self
        }
    }

    /// Keeps what it takes to make and rotate this file, where its owner is somebody else.
    #[must_use]
    pub fn writing(self, file: &Path) -> Self {
        if writing::is_ours(file) {
            self
        } else {
            self.keep(Privilege::DacOverride)
        }
    }

    /// For this thread and all that it starts: call it before there are others. An old kernel or a container may refuse a part
    /// of it, which is then left as it was.
    pub fn enter(self) {
        // Kernels before 5.11 count maps against this limit; raising it takes a capability that goes.
        let unlimited = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
        refused("raise RLIMIT_MEMLOCK", unlimited);
        refused("forbid core dumps", setrlimit(Resource::RLIMIT_CORE, 0, 0));
        refused(
            "drop capabilities",
            capabilities::reduce_to(self.kept, self.reserved),
        );
        refused("forbid new privileges", prctl::set_no_new_privs());
        refused("forbid system calls", system_calls::forbid());
        // Last: until then `/proc/self` is the user's own.
        refused("forbid to be read", prctl::set_dumpable(false));
    }
}

/// Does this work with a capability that was [reserved](Sandbox::reserve).
pub fn raised<T>(capability: Privilege, work: impl FnOnce() -> T) -> io::Result<T> {
    capabilities::raised(capability, work)
}

/// Does this work where no file can be opened: in a thread of its own, if the kernel has filters. A library opens one that is not
/// needed.
pub(crate) fn without_files<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        refused("forbid to open files", system_calls::forbid_opening());
        work()
    };
    let done = thread::scope(|scope| scope.spawn(confined).join());
    done.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// Whether the process has it, or has reserved it.
pub fn may_raise(capability: Privilege) -> bool {
    capabilities::may_raise(capability)
}

fn refused(what: &str, done: Result<(), impl Into<io::Error>>) {
    if let Err(error) = done {
        debug!("cannot {what}: {}", error.into());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn work_without_files_opens_none_and_others_do() {
        prctl::set_no_new_privs().expect("no privilege is needed");
        let open = || File::open("/dev/null").is_ok();
        assert!(!without_files(open) && open());
    }
}

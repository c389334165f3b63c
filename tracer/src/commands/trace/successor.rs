//! With `--process`: which process is the traced server, started again.

use crate::server::{
    find,
    identity::Identity,
    listing,
    process::{Process, ProcessKind},
};

/// So much later the end of a server may be noticed, clock ticks: it may run again by then.
const LATE: u64 = 5;

/// A server that ended, and those that ran beside it.
pub(super) struct Ended {
    name: Option<String>,
    kind: ProcessKind,
    pub(super) server: Identity,
    beside: Vec<Identity>,
    /// Processes of the same name of which was said that they are other servers.
    reported: Vec<i32>,
}

impl Ended {
    /// `at`: when it ended, clock ticks since the boot, or a little later.
    pub(super) fn at(at: u64, name: Option<&str>, process: &Process, server: Identity) -> Self {
        let running = find::all(name).unwrap_or_default();
        let running = running.iter().filter_map(Identity::of);
        let beside = running.filter(|other| other.started() + LATE < at);
        Self {
            name: name.map(str::to_owned),
            kind: process.kind.clone(),
            server,
            beside: beside.collect(),
            reported: Vec::new(),
        }
    }

    /// The server that it is now, if it was started again. Says once of each other one that it is not taken for it.
    pub(super) fn successor(&mut self) -> Option<Process> {
        let running = find::all(self.name.as_deref()).ok()?;
        for process in running {
            if process.kind != self.kind {
                continue;
            }
            let Some(identity) = Identity::of(&process) else {
                continue;
            };
            if identity.succeeds(&self.server, &self.beside) {
                return Some(process);
            }
            self.report(&process, &identity);
        }
        None
    }

    fn report(&mut self, process: &Process, identity: &Identity) {
        // A server that has just been started does not listen yet.
        let is_known = self.reported.contains(&process.pid) || !identity.listens();
        if is_known || self.beside.iter().any(|other| other.is_same(identity)) {
            return;
        }
        self.reported.push(process.pid);
        log::warn!(
            "{} was started, and is not taken for the server that was traced; --pid {} traces it",
            listing::describe(process),
            process.pid
        );
    }
}

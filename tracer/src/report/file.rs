//! One trace file while it is read: its sessions, its totals, and whether it is all there.

use std::collections::HashMap;

use tracer_format::{
    Time,
    record::{Session, Stalled, Summary},
};
use tracer_model::Nanos;

use super::summary::{Completeness, Damage, FileSummary, Lost};

/// Sessions of a file that are told one by one: with `--process`, each restart is one.
const SESSIONS: usize = 20;

/// Hangs that may be under way at once.
const OPEN: usize = 1000;

/// A file being read.
pub struct File {
    sum: FileSummary,
    /// What is missing from it.
    pub trace: Completeness,
    /// Whether a session has begun that has no summary yet.
    is_running: bool,
    /// Hangs since that session began, as counted here.
    hangs_of_session: u64,
    /// Of hangs that have not ended, what was told last.
    open: HashMap<String, Stalled>,
    open_left_out: u64,
    cut_short: bool,
}

impl File {
    /// Of this name.
    pub fn new(name: String) -> Self {
        Self {
            sum: FileSummary {
                file: name,
                ..FileSummary::default()
            },
            trace: Completeness::default(),
            is_running: false,
            hangs_of_session: 0,
            open: HashMap::new(),
            open_left_out: 0,
            cut_short: false,
        }
    }

    /// A trace begins, also where files were put one behind the other. Gives the hangs that the one before was cut in.
    pub fn session(&mut self, session: Session) -> Vec<Stalled> {
        if self.trace.records == 0 {
            self.trace.has_beginning = true;
        }
        let cut = self.close();
        self.is_running = true;
        self.attached(session);
        cut
    }

    /// The server was started again.
    pub fn attached(&mut self, session: Session) {
        self.see(session.start);
        if self.sum.sessions.len() < SESSIONS {
            self.sum.sessions.push(session.into());
        } else {
            self.sum.sessions_left_out += 1;
        }
    }

    /// Something happened at that time.
    pub fn see(&mut self, at: Time) {
        self.sum.start = Some(self.sum.start.map_or(at, |start| start.min(at)));
        self.sum.end = Some(self.sum.end.map_or(at, |end| end.max(at)));
    }

    /// A request was blocked.
    pub fn hang(&mut self, id: Option<&str>, (start, end): (Time, Time), blocked: Nanos) {
        self.see(start);
        self.see(end);
        self.sum.total.add(blocked);
        self.sum.longest_ns = self.sum.longest_ns.max(blocked);
        self.hangs_of_session += 1;
        if let Some(id) = id {
            self.open.remove(id);
        }
    }

    /// A request is being held up.
    pub fn stalled(&mut self, stalled: Stalled) {
        self.see(stalled.start);
        self.see(stalled.at);
        if self.open.len() < OPEN || self.open.contains_key(&stalled.hang) {
            self.open.insert(stalled.hang.clone(), stalled);
        } else {
            self.open_left_out += 1;
        }
    }

    /// A device failed at once.
    pub fn refusal(&mut self, at: Time) {
        self.see(at);
        self.sum.refusals += 1;
    }

    /// Entries were not acknowledged.
    pub fn lost(&mut self, at: Time, lost: Lost) {
        self.see(at);
        self.sum.lost.add(lost);
    }

    /// A device had a bad time.
    pub fn incident(&mut self, start: Time, end: Time) {
        self.see(start);
        self.see(end);
        self.sum.incidents += 1;
    }

    /// A trace is over.
    pub fn summary(&mut self, summary: &Summary) {
        self.see(summary.end);
        let add = |sum: &mut Option<u64>, more| *sum = Some(sum.unwrap_or(0).saturating_add(more));
        add(&mut self.sum.requests, summary.requests);
        add(&mut self.sum.audit_writes, summary.audit_writes);
        add(&mut self.trace.events, summary.events);
        add(&mut self.trace.events_lost, summary.events_lost);
        self.sum.requests_is_lower_bound |= summary.requests_is_lower_bound;
        self.trace.hangs_missing += summary.hangs.saturating_sub(self.hangs_of_session);
        self.hangs_of_session = 0;
        self.is_running = false;
        // What was told of and came to nothing.
        self.open.clear();
        self.open_left_out = 0;
    }

    /// A line is no record.
    pub fn damaged(&mut self, line: u64, why: impl FnOnce() -> String) {
        self.trace.damaged_lines += 1;
        if self.trace.first_damaged.is_none() {
            let why = why();
            self.trace.first_damaged = Some(Damage { line, why });
        }
    }

    /// All was read. Gives the hangs that it was cut in.
    pub fn end(&mut self) -> Vec<Stalled> {
        let is_empty = self.trace.records == self.trace.unknown_records;
        // A part of a trace that has no session has no end either, unless it says so.
        self.is_running |= self.trace.events.is_none() && !is_empty;
        self.close()
    }

    fn close(&mut self) -> Vec<Stalled> {
        self.cut_short |= self.is_running;
        self.is_running = false;
        self.hangs_of_session = 0;
        let mut cut: Vec<_> = self.open.drain().map(|(_, stalled)| stalled).collect();
        cut.sort_by(|a, b| (a.start, &a.hang).cmp(&(b.start, &b.hang)));
        cut
    }

    /// Hangs under way that are not among them.
    pub fn left_out(&self) -> u64 {
        self.open_left_out
    }

    /// How many things are kept.
    pub fn kept(&self) -> usize {
        self.sum.sessions.len() + self.open.len()
    }

    /// What is told of it.
    pub fn finish(self) -> FileSummary {
        let complete = !self.cut_short && self.trace.records > 0;
        FileSummary {
            trace: Completeness {
                complete,
                ..self.trace
            },
            ..self.sum
        }
    }
}

//! One trace file while it is read: its sessions, its totals, and whether it is complete.

use std::{collections::HashMap, mem};

use tracer_format::{
    Time,
    record::{Session, Stalled, Summary},
};
use tracer_model::Nanos;

use super::summary::{Completeness, Damage, FileSummary, Lost};

/// Sessions of a file that are kept: with `--process`, each restart is one.
const SESSIONS: usize = 20;

/// Hangs under way that are kept.
const OPEN: usize = 1000;

/// Traces that go on in another file, and hangs under way in them, that are kept.
const UNFINISHED: usize = 4096;

/// A file being read.
pub struct File {
    summary: FileSummary,
    /// What is missing from it.
    pub trace: Completeness,
    /// A session has begun that has no summary yet.
    is_running: bool,
    /// When that session began, unless it goes on in another file: it does so once.
    began: Option<Time>,
    /// Hangs since then.
    hangs_of_session: u64,
    /// Whether its first hangs are in a file that was not read.
    lacks_first_hangs: bool,
    /// The last `stalled` record of hangs that have not ended.
    open: HashMap<String, Stalled>,
    open_left_out: u64,
    cut_short: bool,
}

/// What is known of a trace that goes on in another file.
pub struct Unfinished {
    open: HashMap<String, Stalled>,
    hangs: u64,
    lacks_first_hangs: bool,
}

impl Unfinished {
    /// The hangs that are under way.
    pub fn open(self) -> Vec<Stalled> {
        in_order(self.open)
    }

    fn kept(&self) -> usize {
        1 + self.open.len()
    }
}

/// When a trace began, and the number of the file in which it goes on.
pub type Continued = (Time, u32);

/// Traces whose next file was not read yet.
#[derive(Default)]
pub struct UnfinishedTraces {
    /// With the place of the file that was read last.
    traces: HashMap<Continued, (usize, Unfinished)>,
    kept: usize,
}

impl UnfinishedTraces {
    /// Fails where there are too many: then it is not known what the next file goes on with.
    pub fn insert(
        &mut self,
        key: Continued,
        place: usize,
        trace: Unfinished,
    ) -> Result<(), Unfinished> {
        // A copy of the same file.
        self.remove(&key);
        if self.kept + trace.kept() > UNFINISHED {
            return Err(trace);
        }
        self.kept += trace.kept();
        self.traces.insert(key, (place, trace));
        Ok(())
    }

    /// What the next file goes on with.
    pub fn remove(&mut self, key: &Continued) -> Option<Unfinished> {
        let (_, trace) = self.traces.remove(key)?;
        self.kept -= trace.kept();
        Some(trace)
    }

    /// Items that are kept.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Those whose next file is missing, each with the place of the last one.
    pub fn into_all(self) -> impl Iterator<Item = (usize, Unfinished)> {
        self.traces.into_values()
    }
}

fn in_order(open: HashMap<String, Stalled>) -> Vec<Stalled> {
    let mut open: Vec<_> = open.into_values().collect();
    open.sort_by(|a, b| (a.start, &a.hang).cmp(&(b.start, &b.hang)));
    open
}

impl File {
    /// A file of this name.
    pub fn new(name: String) -> Self {
        Self {
            summary: FileSummary {
                file: name,
                ..FileSummary::default()
            },
            trace: Completeness::default(),
            is_running: false,
            began: None,
            hangs_of_session: 0,
            lacks_first_hangs: false,
            open: HashMap::new(),
            open_left_out: 0,
            cut_short: false,
        }
    }

    /// A trace begins, or goes on: files may be concatenated. `earlier`: what is known of it from the file before. Returns
    /// the hangs that were under way when the one before was cut.
    pub fn session(&mut self, session: Session, earlier: Option<Unfinished>) -> Vec<Stalled> {
        if self.trace.records == 0 {
            self.trace.has_beginning = true;
            self.trace.part = session.part;
        }
        let cut = self.close();
        self.is_running = true;
        self.began = Some(session.start);
        self.lacks_first_hangs = session.part.is_some() && earlier.is_none();
        if let Some(earlier) = earlier {
            self.hangs_of_session = earlier.hangs;
            self.lacks_first_hangs = earlier.lacks_first_hangs;
            self.open = earlier.open;
        }
        self.attached(session);
        cut
    }

    /// The trace goes on in another file. Returns when it began, and what is to be known there.
    pub fn rotated(&mut self, next: u32) -> Option<(Time, Unfinished)> {
        self.trace.next_part = Some(next);
        self.is_running = false;
        let unfinished = Unfinished {
            open: mem::take(&mut self.open),
            hangs: mem::take(&mut self.hangs_of_session),
            lacks_first_hangs: self.lacks_first_hangs,
        };
        self.began.take().map(|began| (began, unfinished))
    }

    /// The server was started again.
    pub fn attached(&mut self, session: Session) {
        self.cover(session.start);
        if self.summary.sessions.len() < SESSIONS {
            self.summary.sessions.push(session.into());
        } else {
            self.summary.sessions_left_out += 1;
        }
    }

    /// Extends the time that the trace covers.
    pub fn cover(&mut self, at: Time) {
        self.summary.start = Some(self.summary.start.map_or(at, |start| start.min(at)));
        self.summary.end = Some(self.summary.end.map_or(at, |end| end.max(at)));
    }

    /// A request was blocked.
    pub fn hang(&mut self, id: Option<&str>, (start, end): (Time, Time), blocked: Nanos) {
        self.cover(start);
        self.cover(end);
        self.summary.total.add(blocked);
        self.summary.longest_ns = self.summary.longest_ns.max(blocked);
        self.hangs_of_session += 1;
        if let Some(id) = id {
            self.open.remove(id);
        }
    }

    /// A request is being blocked.
    pub fn stalled(&mut self, stalled: Stalled) {
        self.cover(stalled.start);
        self.cover(stalled.at);
        if self.open.len() < OPEN || self.open.contains_key(&stalled.hang) {
            self.open.insert(stalled.hang.clone(), stalled);
        } else {
            self.open_left_out += 1;
        }
    }

    /// A device failed without a hang.
    pub fn refusal(&mut self, at: Time) {
        self.cover(at);
        self.summary.refusals += 1;
    }

    /// It did so more often than it was written down.
    pub fn more_refusals(&mut self, more: u64) {
        self.summary.refusals += more;
    }

    /// Entries were not acknowledged.
    pub fn lost(&mut self, at: Time, lost: Lost) {
        self.cover(at);
        self.summary.lost.add(lost);
    }

    /// A device had an incident.
    pub fn incident(&mut self, start: Time, end: Time) {
        self.cover(start);
        self.cover(end);
        self.summary.incidents += 1;
    }

    /// A trace is over.
    pub fn summary(&mut self, summary: &Summary) {
        self.cover(summary.end);
        let add = |sum: &mut Option<u64>, more| *sum = Some(sum.unwrap_or(0).saturating_add(more));
        add(&mut self.summary.requests, summary.requests);
        if let Some(failed) = summary.failed_requests {
            add(&mut self.summary.failed_requests, failed);
        }
        add(&mut self.summary.audit_writes, summary.audit_writes);
        add(&mut self.trace.events, summary.events);
        add(&mut self.trace.events_lost, summary.events_lost);
        self.summary.requests_is_lower_bound |= summary.requests_is_lower_bound;
        if !self.lacks_first_hangs {
            self.trace.hangs_missing += summary.hangs.saturating_sub(self.hangs_of_session);
        }
        self.hangs_of_session = 0;
        self.is_running = false;
        // Stalls that ended in no hang.
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

    /// The file ends. Returns the hangs that were under way when it was cut.
    pub fn end(&mut self) -> Vec<Stalled> {
        let is_empty = self.trace.records == self.trace.unknown_records;
        // A part of a trace that has no session has no end either, unless it says so.
        self.is_running |=
            self.trace.events.is_none() && self.trace.next_part.is_none() && !is_empty;
        self.close()
    }

    fn close(&mut self) -> Vec<Stalled> {
        self.cut_short |= self.is_running;
        self.is_running = false;
        self.hangs_of_session = 0;
        in_order(mem::take(&mut self.open))
    }

    /// Hangs under way that were not kept.
    pub fn open_left_out(&self) -> u64 {
        self.open_left_out
    }

    /// Items that are kept.
    pub fn kept(&self) -> usize {
        self.summary.sessions.len() + self.open.len()
    }

    /// The summary of what was read.
    pub fn finish(self) -> FileSummary {
        let complete = !self.cut_short && self.trace.records > 0;
        FileSummary {
            trace: Completeness {
                complete,
                ..self.trace
            },
            ..self.summary
        }
    }
}

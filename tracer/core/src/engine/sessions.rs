//! How a trace begins, what the end of a server and its next start mean, and what remains when it ends.

use tracer_model::{Ended, Finding, Nanos, Probe, Session};

use crate::{
    engine::{core::Core, sampler::Sampler, searches::Searches},
    track::{dues::Dues, sockets::Sockets, stall_periods::StallPeriods},
};

/// The kind of the probe that reads the server's log ([`Probe::kind`]).
const UPROBE: &str = "uprobe";

impl Core {
    pub(super) fn begin(&mut self, session: &Session) {
        let declared = session.declared.iter().cloned();
        self.trackers.devices.extend(declared);
        self.set_session(session.clone());
        self.find(Finding::Session(session.clone()));
    }

    fn set_session(&mut self, session: Session) {
        self.trackers.requests.wall_offset = session.wall_offset;
        let is_log = |probe: &Probe| probe.kind == UPROBE;
        self.trackers.reads_log = session.probes.iter().any(is_log);
        self.trackers.session = session;
    }

    pub(super) fn server_ended(&mut self, at: Nanos) {
        let under_way = self.trackers.requests.all();
        let under_way = under_way.filter(|r| r.is_of_a_client()).count() as u64;
        self.trackers.requests.cut_by_exit(at);
        self.close(at);
        self.find(Finding::Ended(Ended { at, under_way }));
    }

    /// The server was started again. What its predecessor did is over.
    pub(super) fn begin_again(&mut self, at: Nanos, session: &Session) {
        self.close(at);
        // What it was asked for is never answered.
        self.sampler = Sampler::default();
        self.searches = Searches::default();
        self.set_session(Session {
            // Taken once: a step of the clock in between does not tear the trace apart.
            wall_offset: self.trackers.session.wall_offset,
            ..session.clone()
        });
        self.find(Finding::Attached(self.trackers.session.clone()));
    }

    /// Nothing more comes of this server: all that is open is reported.
    fn close(&mut self, at: Nanos) {
        self.settle_losses();
        let (open, losses) = self.trackers.sockets.end(at);
        for operation in open {
            self.operation_ended(operation, true);
        }
        for loss in losses {
            self.entries_lost(loss);
        }
        self.trackers.requests.end(at);
        self.conclude();
        self.release(true);
        let incidents = &mut self.trackers.incidents;
        self.verdicts.settle_entries(at, true, incidents);
        self.verdicts.server_ended();
        for incident in incidents.take_all() {
            self.incident(incident);
        }
        self.trackers.sockets = Sockets::default();
        self.trackers.stall_periods = StallPeriods::default();
        self.trackers.dues = Dues::default();
        // The next one may give its devices another time.
        self.trackers.failures.clear();
        self.trackers.stalls.clear();
        self.trackers.throughput.end(at);
    }

    pub(super) fn end(&mut self, at: Nanos) {
        self.close(at);
        self.totals.end = at;
        let counts = &self.trackers.requests.counts;
        self.totals.requests = counts.seen();
        self.totals.failed_requests = counts.failed();
        self.totals.requests_at_least = counts.is_at_least();
        self.find(Finding::Summary(self.totals.clone()));
    }
}

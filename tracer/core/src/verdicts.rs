//! From a request of which nothing more is to come to what is told of it: judged, named, and told when it is known
//! whose name is missing no longer.

use std::collections::BTreeSet;

use crate::{
    Core, Query,
    hang::{self, Verdict},
    names, overlap,
    request::Request,
    seconds,
};
use tracer_model::{Device, EntryHead, Nanos};
use tracer_model::{EntryQuery, Finding, Op, Operation, RequestSeq};

/// Questions about requests that were merely refused, under way at once: their number has no bound
/// of its own, where hangs come one in two seconds.
const QUESTIONS: usize = 16;

impl Core {
    /// Judges a request of which nothing more is to be expected.
    pub(super) fn finish_all(&mut self, requests: Vec<Request>) {
        // One may have queued behind the next.
        let threshold = self.session.threshold;
        let held_up = requests
            .iter()
            .filter(|request| hang::is_held_up(request, threshold));
        held_up.for_each(|request| self.names.know(request));
        for request in requests {
            self.finish(request);
        }
    }

    pub(super) fn finish(&mut self, mut request: Request) {
        if request.is_outlived() {
            return;
        }
        let (verdicts, unknown) = self.judge(&mut request);
        for verdict in unknown {
            self.suspect(&verdict);
        }
        if verdicts.is_empty() {
            return;
        }
        self.names.know(&request);
        let wants = self.wanted(&request, &verdicts);
        self.names.hold(request.serial, verdicts, wants);
        self.release(false);
    }

    /// What audit devices did to it, and what others did.
    pub(super) fn judge(&mut self, request: &mut Request) -> (Vec<Verdict>, Vec<Verdict>) {
        self.complete(request);
        let verdicts = hang::judge(request, self.session.threshold);
        verdicts
            .into_iter()
            .partition(|verdict| self.devices.contains(verdict.device()))
    }

    /// What the waits that no socket told mean for their devices.
    fn complete(&mut self, request: &mut Request) {
        overlap::part(&mut request.operations);
        for operation in &mut request.operations {
            match operation.op {
                Op::Lock => self.complete_lock(operation),
                Op::Resolve | Op::Connect | Op::Write if operation.socket.is_none() => {
                    self.failed(operation);
                    self.incidents.did(operation, self.session.threshold);
                }
                Op::Resolve | Op::Connect | Op::Write => {}
            }
        }
    }

    /// Why who held the lock was stalled is better known when that one has given up.
    fn complete_lock(&self, operation: &mut Operation) {
        let failure = self.failures.get(&operation.device);
        if let Some(failure) = failure.filter(|failure| failure.at >= operation.start) {
            operation.holder = Some(failure.cause);
            operation.evidence.drops.clone_from(&failure.drops);
        }
    }

    /// Something a client's request waited for, of which nobody said that it is an audit device.
    fn suspect(&mut self, verdict: &Verdict) {
        let Verdict::Hang(hang) = verdict else { return };
        if hang.request.client.is_none() || !self.warned.insert(hang.device.clone()) {
            return;
        }
        let Device { address, .. } = &hang.device;
        self.find(Finding::Warning(format!(
            "a client's request waited {:.2} s for {}, to which no audit entry has been seen written yet; if it is an audit device, say so: --audit {address}",
            seconds(hang.duration), hang.device
        )));
    }

    /// Requests whose names the verdicts on this one need and nobody knows yet: asks for them.
    fn wanted(&mut self, request: &Request, verdicts: &[Verdict]) -> BTreeSet<RequestSeq> {
        let mut wanted = BTreeSet::from([request.serial]);
        for verdict in verdicts {
            if let Verdict::Hang(hang) = verdict {
                wanted.extend(hang.stalls.iter().filter_map(|s| s.behind));
            }
        }
        let hangs = verdicts.iter().any(|v| matches!(v, Verdict::Hang(_)));
        if hangs || self.names.waiting() < QUESTIONS {
            self.ask(request, request.end);
            for blocker in wanted.iter().filter(|serial| **serial != request.serial) {
                self.ask_in_flight(*blocker, request.end);
            }
        }
        wanted
    }

    /// The trace is about to end: what is under way and has been held up is told without being asked again.
    pub(super) fn ask_all(&mut self, now: Nanos) {
        let threshold = self.session.threshold;
        let all = self.requests.all();
        let held_up = all.filter(|request| hang::is_held_up(request, threshold));
        for serial in held_up.map(|request| request.serial).collect::<Vec<_>>() {
            self.ask_in_flight(serial, now);
        }
    }

    fn ask_in_flight(&mut self, serial: RequestSeq, now: Nanos) {
        if let Some(request) = self.requests.get(serial).cloned() {
            self.names.know(&request);
            self.ask(&request, now);
        }
    }

    /// Asks for the name of a request, unless it is known or it is no client's.
    fn ask(&mut self, request: &Request, until: Nanos) {
        if self.names.get(request.serial).is_some() {
            return;
        }
        let offset = self.session.wall_offset;
        let wall = |at: Nanos| offset.saturating_add_unsigned(at);
        if let Some(question) = names::question(request, until, wall) {
            self.names.ask(request.serial, question.clone());
            self.step.queries.push(Query::Entry(question));
        }
    }

    pub(super) fn answered(&mut self, asked: &EntryQuery, entry: Option<&EntryHead>) {
        for serial in self.names.answer(asked, entry) {
            match (
                self.names.get(serial).cloned(),
                self.requests.get_mut(serial),
            ) {
                (Some(entry), Some(request)) => request.learn(&entry),
                // It may be written yet.
                (None, Some(_)) => self.names.forget(serial),
                _ => {}
            }
        }
        self.release(false);
    }

    pub(super) fn release(&mut self, all: bool) {
        for verdict in self.names.release(all) {
            self.report(verdict);
        }
    }

    fn report(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Hang(mut hang) => {
                hang.id.get_or_insert_with(|| {
                    self.hangs += 1;
                    self.hangs
                });
                self.totals.hangs += 1;
                self.incidents.hung(&hang);
                self.find(Finding::Hang(hang));
            }
            Verdict::Refusal(refusal) => {
                self.totals.refusals += 1;
                self.incidents.refused(&refusal.device, refusal.start);
                self.find(Finding::Refusal(refusal));
            }
        }
    }
}

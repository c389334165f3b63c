//! Verdicts that wait for the names of the requests they are about.

use std::collections::BTreeSet;

use tracer_model::{Device, RequestSeq};

use crate::{diagnose::judge::Verdict, engine::request_names::RequestNames};

/// The verdicts on one request.
#[derive(Debug)]
struct PendingVerdict {
    request: RequestSeq,
    verdicts: Vec<Verdict>,
    /// Requests whose names are needed.
    wanted: BTreeSet<RequestSeq>,
}

#[derive(Debug, Default)]
pub(super) struct PendingVerdicts(Vec<PendingVerdict>);

impl PendingVerdicts {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn concern(&self, device: &Device) -> bool {
        let mut verdicts = self.0.iter().flat_map(|pending| &pending.verdicts);
        verdicts.any(|verdict| verdict.device() == device)
    }

    /// Keeps verdicts back until the names of these requests are known.
    pub(super) fn defer(
        &mut self,
        request: RequestSeq,
        verdicts: Vec<Verdict>,
        wanted: BTreeSet<RequestSeq>,
    ) {
        self.0.push(PendingVerdict {
            request,
            verdicts,
            wanted,
        });
    }

    /// Verdicts that wait for nothing any more, with names; `all` of them if no answers are to come.
    pub(super) fn release(&mut self, names: &RequestNames, all: bool) -> Vec<Verdict> {
        let waits = |pending: &PendingVerdict| pending.wanted.iter().any(|r| names.is_asked(*r));
        let ready: Vec<_> = self
            .0
            .extract_if(.., |pending| all || !waits(pending))
            .collect();
        ready
            .into_iter()
            .flat_map(|pending| named(names, pending))
            .collect()
    }
}

fn named(names: &RequestNames, pending: PendingVerdict) -> Vec<Verdict> {
    let mut verdicts = pending.verdicts;
    for verdict in &mut verdicts {
        if let Some(entry) = names.get(pending.request) {
            verdict.request_mut().learn(entry);
        }
        for stall in verdict.stalls_mut() {
            let blocker = stall.behind.and_then(|seq| names.get(seq));
            stall.blocked_by = blocker.and_then(|entry| entry.id.clone());
        }
    }
    verdicts
}

//! Devices that owe entries which others took: the weakest means, where neither a failing operation nor the server's log says
//! that a device fails.

use tracer_model::{
    Actor, Device, EntryHead, EntryKind, EntryQuery, Event, EventKind, FailureReason, Finding,
    GoroutineSample, Nanos, Op, Operation, Outcome, Refusal, Socket, Transport,
};

use crate::{
    diagnose::cause::cause_of,
    engine::{core::Core, step::Query},
    request::{lifecycle::Stage, request::Request},
    track::dues::{AuditedRequest, FileMeasurement},
};

impl Core {
    /// Notes which devices owe the entries of a request that is over.
    pub(super) fn note_dues(&mut self, request: &Request) {
        let dues = &self.trackers.dues;
        let is_whole = request.stage == Stage::Answered && request.client.is_some();
        if dues.is_empty() || !is_whole {
            return;
        }
        let used = |device: &Device| {
            let on = |other: &Device| other == device || is_of_syslog(device, other);
            request.operations.iter().any(|o| on(&o.device))
                || request.open_waits().any(|wait| on(&wait.sample.device))
        };
        let suspects = dues.suspects(request.start, used);
        if suspects.is_empty() || self.has_foreign_entry(request) {
            return;
        }
        let is_stalled =
            |device: &&Device| self.trackers.stalled_since(device, request.end).is_some();
        let (stalled, suspects): (Vec<_>, Vec<_>) = suspects
            .into_iter()
            .cloned()
            .partition(|device| is_stalled(&device));
        for device in stalled {
            self.trackers.dues.sign(&device, request.end, false);
        }
        let audited = AuditedRequest {
            info: request.info(),
            end: request.end,
            entries: entries_taken(request),
        };
        // What a client gives up, the server may give up in the middle.
        if audited.info.client_gone.is_some() {
            return;
        }
        for device in &suspects {
            self.trackers.dues.unseen(device, audited.clone());
        }
        if audited.entries == 0 && !request.is_stream {
            let files = |device: &Device| device.transport == Transport::File;
            let others = suspects.into_iter().filter(|device| !files(device));
            self.search(audited, others.collect());
        }
    }

    /// Whether an entry went where no device is configured: whose it is, is not known then.
    fn has_foreign_entry(&self, request: &Request) -> bool {
        let identities = &self.trackers.identities;
        let is_foreign = |o: &Operation| {
            let is_known = identities.is_configured(&o.device) || o.device.is_syslog_socket();
            o.entry.is_some() && !is_known
        };
        request.operations.iter().any(is_foreign)
    }

    /// Asks whether an audit file has an entry of the request.
    fn search(&mut self, request: AuditedRequest, devices: Vec<Device>) {
        let clients = self.trackers.requests.entry_clients;
        let client = request.info.client.filter(|_| clients.are_searchable());
        let Some(client) = client else { return };
        let offset = self.trackers.session.wall_offset;
        let query = EntryQuery {
            client_port: client.port(),
            client_address: clients.address(client),
            not_before: offset.saturating_add_unsigned(request.info.start),
            not_after: offset.saturating_add_unsigned(request.end),
        };
        if self.searches.begin(&query, request, devices) {
            self.step.queries.push(Query::Entry(query));
        }
    }

    /// An audit file has this entry of a request, or none.
    pub(super) fn searched(&mut self, asked: &EntryQuery, entry: Option<&EntryHead>) {
        let answered = self.searches.answered(asked);
        let Some(entry) = entry else { return };
        for (mut request, devices) in answered {
            request.entries = 1;
            request.info.learn(entry);
            for device in &devices {
                self.trackers.dues.missed(device, request.clone());
            }
        }
    }

    /// Takes a measurement of an audit file.
    pub(super) fn file_measured(&mut self, event: &Event) {
        let EventKind::FileSize {
            path,
            size,
            open,
            free,
        } = &event.what
        else {
            return;
        };
        self.file_size(event.at, path, *size);
        let measured = FileMeasurement {
            at: event.at,
            size: *size,
            is_open: *open,
            free: *free,
        };
        if let Some((device, unknown)) = self.trackers.dues.measured(path, measured) {
            for request in unknown {
                self.search(request, vec![device.clone()]);
            }
        }
    }

    /// The audit devices that owe each entry which another one takes.
    pub fn debtors(&self) -> Vec<Device> {
        self.trackers.dues.devices().cloned().collect()
    }

    /// Whose socket that is, if it leads anywhere yet.
    pub fn device_of(&self, socket: &Socket) -> Option<Device> {
        self.trackers.identities.of(socket)
    }

    /// Asks for measurements of the audit files that owe entries.
    pub(super) fn ask_measurements(&mut self, now: Nanos) {
        let due = self.trackers.dues.measurements_due(now).into_iter();
        self.step.queries.extend(due.map(Query::FileSize));
    }

    /// A sample has found where goroutines wait: those devices that owe entries, and in whose code nobody is, fail.
    pub(super) fn claim_dues(&mut self, at: Nanos, samples: &[GoroutineSample]) {
        for device in self.trackers.dues.overdue(at) {
            let is_in_use = |sample: &GoroutineSample| sample.device.as_ref() == Some(&device);
            let is_stalled = self.trackers.stalled_since(&device, at).is_some();
            if is_stalled || samples.iter().any(is_in_use) {
                self.trackers.dues.sign(&device, at, false);
                continue;
            }
            let (missed, free) = self.trackers.dues.take_missed(&device);
            for request in missed {
                self.entries_missed(&device, request, free);
            }
            self.trackers.incidents.count_at_least(&device, (at, at));
        }
    }

    /// The device did not take the entries of this request, and nothing shows why.
    fn entries_missed(&mut self, device: &Device, request: AuditedRequest, free: Option<u64>) {
        let AuditedRequest { info, entries, .. } = request;
        let start = info.start;
        let mut operation = Operation {
            outcome: Some(Outcome::Error),
            reported: Some(FailureReason::NotTaken),
            ..Operation::new(Op::Write, device.clone(), Actor::default(), (start, start))
        };
        operation.evidence.free = free;
        self.trackers.devices.insert(device.clone());
        self.trackers.note_failure(&mut operation);
        let threshold = self.trackers.session.threshold;
        let incidents = &mut self.trackers.incidents;
        incidents.observe(&operation, threshold);
        for _ in 0..entries {
            incidents.add_untaken_entry(device, (start, start), true, None);
        }
        let before = incidents.add_refusal(device, start);
        self.totals.refusals += 1;
        self.find(Finding::Refusal(Box::new(Refusal {
            device: device.clone(),
            request: info,
            start,
            duration: 0,
            cause: cause_of(&operation),
            errno: None,
            http_status: None,
            evidence: operation.evidence,
            before,
            taken_elsewhere: true,
            inferred: true,
        })));
    }
}

/// How many entries of the request devices were seen to take.
fn entries_taken(request: &Request) -> u64 {
    let kinds = |kind: EntryKind| {
        let taken = |o: &Operation| {
            let is_whole = o.outcome == Some(Outcome::Ok) && o.op == Op::Write;
            is_whole
                && o.entry
                    .as_ref()
                    .is_some_and(|entry| entry.kind == Some(kind))
        };
        u64::from(request.operations.iter().any(taken))
    };
    kinds(EntryKind::Request) + kinds(EntryKind::Response)
}

fn is_of_syslog(device: &Device, other: &Device) -> bool {
    device.transport == Transport::Syslog && other.is_syslog_socket()
}

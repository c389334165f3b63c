//! What the server says in its log of devices that did not take an entry.
//!
//! Such a device may show no system call at all: an errno of a file, a name that does not resolve, a time-out of 0. What a socket
//! shows is better known from there, and not taken twice.

use tracer_model::{
    Actor, Device, DeviceFailure, FailureReason, Nanos, Op, Operation, Outcome, Phase, Transport,
};

use crate::{
    diagnose::cause::cause_of,
    engine::{core::Core, step::Query, trackers::Trackers},
    request::{lifecycle::Stage, request::Request},
    track::sockets::Change,
};

impl Core {
    /// The server says so of an entry of the request that this goroutine works for.
    pub(super) fn devices_fail(
        &mut self,
        at: Nanos,
        (by, phase): (Actor, Option<Phase>),
        failures: &[DeviceFailure],
    ) {
        for failure in failures {
            let device = self.trackers.named(failure);
            if failure.reason == FailureReason::Timeout {
                self.give_up_waits(at, by, &device);
            }
            let mut operation = operation(at, (by, phase), failure, device);
            if let Some(shown) = self.trackers.shown_by_socket(by, &operation) {
                operation.device = shown;
            }
            let is_known = !self.trackers.devices.insert(operation.device.clone());
            self.trackers.requests.claim_failures(by, &operation.device);
            let request = by.goid.and_then(|goid| self.trackers.requests.of(goid));
            if is_known && request.is_some_and(|request| is_seen(request, &operation)) {
                continue;
            }
            operation.patience = request.map_or(0, |request| at.saturating_sub(request.start));
            self.operation_ended(operation, false);
        }
    }

    /// Ends what the request of this goroutine waits for in the device: nothing else may show that it has given up.
    fn give_up_waits(&mut self, at: Nanos, by: Actor, device: &Device) {
        let requests = &self.trackers.requests;
        let request = requests.of_wait(by);
        let waits = self.trackers.sockets.waits_for(device).into_iter();
        let its = waits.filter(|(_, by)| request.is_some() && requests.of_wait(*by) == request);
        for (socket, _) in its.collect::<Vec<_>>() {
            if let Some(operation) = self.trackers.sockets.give_up(socket, at) {
                self.change(at, Change::Ended(operation));
            }
        }
    }

    /// Asks for the sizes of files whose devices fail.
    pub(super) fn ask_file_sizes(&mut self, now: Nanos) {
        let failing = self.trackers.incidents.failing();
        let paths = failing.filter(|device| is_file(device));
        let paths = paths.map(|device| device.address.clone()).collect();
        let due = self.files.due(now, paths).into_iter();
        self.step.queries.extend(due.map(Query::FileSize));
    }

    /// Whether an audit file has grown since its size was last asked for, and no entry has failed since.
    pub(super) fn file_size(&mut self, at: Nanos, path: &str, size: Option<u64>) {
        let device = Device::configured(Transport::File, path);
        let failed = self
            .trackers
            .failures
            .get(&device)
            .map_or(0, |failure| failure.at);
        // A failed entry adds no more than what there was room for, once.
        if self.files.has_grown(path, size) && at > failed {
            self.trackers.incidents.works_again(&device, at);
        }
    }

    /// A request is over of which the server says nothing in its log: devices that fail have taken its entries, as far as they
    /// were due. Of an HTTP server only its answer shows that, and of a syslog daemon its socket.
    pub(super) fn took_entries(&mut self, request: &Request) {
        let trackers = &self.trackers;
        if trackers.incidents.is_empty() || request.stage != Stage::Answered {
            return;
        }
        let is_well = |device: &&Device| {
            let failed = trackers.failures.get(*device);
            let is_later = failed.is_some_and(|failure| request.start > failure.at);
            let shows_errors =
                trackers.reads_log && !failed.is_some_and(|failure| failure.inferred);
            let own = has_written(request, device);
            let written = |o: &Operation| o.entry.is_some() && !o.failed();
            // Only OpenBao has HTTP devices, and it keeps no entry from any.
            let is_type_only = device.transport == Transport::Http && device.address.is_empty();
            let is_due = is_type_only || trackers.identities.takes_all(device);
            let is_said =
                shows_errors && (own || (is_due && request.operations.iter().any(written)));
            // Without an entry the server answers no request with less.
            let is_answered = request.status.is_some_and(|status| status < 500);
            let alone = is_answered && trackers.identities.is_alone(device);
            // Within TLS nothing else shows what is written.
            let shows_no_more = alone || device.address.starts_with("https:");
            is_later
                && match device.transport {
                    Transport::Http => is_said || (own && shows_no_more),
                    Transport::Syslog => is_said || own,
                    _ => false,
                }
        };
        let works: Vec<_> = trackers
            .incidents
            .failing()
            .filter(is_well)
            .cloned()
            .collect();
        for device in works {
            self.trackers.incidents.works_again(&device, request.end);
        }
    }
}

/// Whether the last that the request did on the device was a write that went well.
fn has_written(request: &Request, device: &Device) -> bool {
    let is_syslog = device.transport == Transport::Syslog;
    let on = |o: &&Operation| o.device == *device || (is_syslog && o.device.is_syslog_socket());
    let last = request.operations.iter().rev().find(on);
    last.is_some_and(|o| o.op == Op::Write && o.outcome == Some(Outcome::Ok))
}

impl Trackers {
    fn named(&mut self, failure: &DeviceFailure) -> Device {
        let device = self.meant(failure);
        self.socket_of_syslog(&device).unwrap_or(device)
    }

    /// Where the socket leads that has just shown this failure to the request, of a device of which the server says no more than its type.
    fn shown_by_socket(&self, by: Actor, said: &Operation) -> Option<Device> {
        let is_type_only = said.device.address.is_empty()
            && matches!(said.device.transport, Transport::Http | Transport::Tcp);
        let request = self.requests.of(by.goid.filter(|_| is_type_only)?)?;
        let last = request.operations.last()?;
        let shown = Operation {
            device: last.device.clone(),
            ..said.clone()
        };
        let is_shown = last.socket.is_some() && is_seen(request, &shown);
        is_shown.then_some(shown.device)
    }

    /// The device that the server means. Once its path and its address were seen together, the path is enough.
    fn meant(&mut self, failure: &DeviceFailure) -> Device {
        let path = failure.path.as_ref();
        let meant = path.map(String::as_str);
        if let Some(known) = self.identities.meant(meant, failure.device.as_ref()) {
            return known;
        }
        if let Some(known) = path.and_then(|path| self.paths.get(path)) {
            return known.clone();
        }
        let said = failure.device.clone();
        let is_whole = |device: &Device| !device.address.is_empty() && device.is_address();
        let transport = said.as_ref().map(|device| device.transport);
        // An answer of a server without TLS would have shown on its socket.
        let is_status = matches!(failure.reason, FailureReason::Status(_));
        let is_possible = |known: &Device| {
            let is_shown = is_status && known.address.starts_with("http:");
            !known.address.is_empty() && !is_shown
        };
        let alone =
            || self.only_device(|known| Some(known.transport) == transport && is_possible(known));
        let device = match said {
            Some(device) if is_whole(&device) => device,
            Some(device) => alone().unwrap_or(device),
            None => Device::configured(
                Transport::of_device_path(path.map_or("", String::as_str)),
                "",
            ),
        };
        if let Some(path) = path.filter(|_| is_whole(&device)) {
            self.paths.insert(path.clone(), device.clone());
        }
        device
    }
}

fn is_file(device: &Device) -> bool {
    device.transport == Transport::File && device.address.starts_with('/')
}

fn operation(
    at: Nanos,
    (by, phase): (Actor, Option<Phase>),
    failure: &DeviceFailure,
    device: Device,
) -> Operation {
    let op = match failure.reason {
        FailureReason::Resolver => Op::Resolve,
        _ if failure.dial => Op::Connect,
        _ => Op::Write,
    };
    let mut operation = Operation {
        outcome: Some(match failure.reason {
            FailureReason::Timeout => Outcome::Timeout,
            _ => Outcome::Error,
        }),
        errno: failure.reason.errno(),
        reported: Some(failure.reason),
        phase,
        ..Operation::new(op, device, by, (at, at))
    };
    operation.evidence.free = failure.free;
    operation.evidence.lookup.clone_from(&failure.lookup);
    operation
}

/// Whether a socket has shown this failure already.
fn is_seen(request: &Request, said: &Operation) -> bool {
    let of_device = |o: &&Operation| o.device == said.device;
    let since = request.operations.iter().rev().filter(of_device);
    let is_of_socket = |o: &&Operation| o.reported.is_none() || o.socket.is_some();
    let mut since = since.take_while(is_of_socket).peekable();
    let last = since.peek().copied();
    match said.reported {
        Some(FailureReason::Status(_)) => last.is_some_and(|last| last.reported == said.reported),
        Some(FailureReason::Timeout) => since.any(|o| o.outcome == Some(Outcome::Timeout)),
        Some(FailureReason::Errno(errno)) => last.is_some_and(|last| {
            last.failed() && (last.errno == Some(errno) || cause_of(last) == cause_of(said))
        }),
        Some(FailureReason::Unknown) => last.is_some_and(Operation::failed),
        _ => false,
    }
}

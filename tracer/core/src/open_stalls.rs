//! Stalls that are told of while they last.

use crate::cause::cause_of;
use crate::{Core, request::Request, snapshot};
use tracer_model::{Cause, Finding, Op, Operation, RequestSeq, Stalled};
use tracer_model::{Device, Nanos, SocketId};

/// A stall of an audit device that has lasted for longer than the threshold.
pub(super) struct Long {
    pub(super) request: RequestSeq,
    pub(super) socket: Option<SocketId>,
    pub(super) device: Device,
    pub(super) op: Op,
    pub(super) start: Nanos,
    pub(super) cause: Cause,
}

impl Core {
    /// When the next stall is to be told of, if it goes on.
    pub(super) fn stalled_due(&self) -> Option<Nanos> {
        let by_socket = self
            .sockets
            .untold()
            .filter(|(_, device)| self.devices.contains(*device));
        let stalls = self.requests.all().flat_map(Request::open_stalls);
        let by_look = stalls.filter(|stall| !stall.told);
        let starts = by_socket
            .map(|(start, _)| start)
            .chain(by_look.map(|wait| wait.start));
        starts.min().map(|start| start + self.session.threshold)
    }

    /// Tells of stalls that have passed the threshold.
    pub(super) fn tell_stalled(&mut self, now: Nanos) {
        if self.stalled_due().is_none_or(|due| due > now) {
            return;
        }
        for long in self.long(now) {
            self.tell(now, long);
        }
    }

    fn long(&mut self, now: Nanos) -> Vec<Long> {
        let is_long = |start: Nanos| now >= start + self.session.threshold;
        let waits = self.sockets.open_waits(now).into_iter();
        let by_socket = waits.filter(|(wait, told)| {
            !told && is_long(wait.start) && self.devices.contains(&wait.device)
        });
        let by_socket: Vec<_> = by_socket.map(|(wait, _)| wait).collect();
        let mut long: Vec<_> = by_socket
            .into_iter()
            .map(|wait| Long::of_socket(&wait, self.requests.of(now, wait.by).serial))
            .collect();
        for request in self.requests.all() {
            let untold = Long::of_looks(request).filter(|(_, told)| !told);
            long.extend(untold.map(|(long, _)| long).filter(|l| is_long(l.start)));
        }
        long
    }

    fn tell(&mut self, now: Nanos, long: Long) {
        let (waiting, estimated) = self.waiting(&long.device, long.request);
        let hangs = &mut self.hangs;
        let Some(request) = self.requests.get_mut(long.request) else {
            return;
        };
        match long.socket {
            Some(socket) => self.sockets.tell(socket),
            None => request.tell(),
        }
        if request.is_outlived() {
            // What a sink does of whose request all has been told will be no hang.
            return;
        }
        let hang = *request.hangs.entry(long.device.clone()).or_insert_with(|| {
            *hangs += 1;
            *hangs
        });
        let (info, blocked) = snapshot::so_far(request, &long, now);
        self.find(Finding::Stalled(Box::new(Stalled {
            hang,
            device: long.device,
            start: long.start,
            at: now,
            op: long.op,
            cause: long.cause,
            request: info,
            waiting,
            estimated,
            blocked,
        })));
    }

    /// How many requests queue behind it, as last seen; without stacks, all clients' requests under way.
    pub(super) fn waiting(&self, device: &Device, behind: RequestSeq) -> (u64, bool) {
        if self.session.stacks {
            return (self.looks.queued(device), false);
        }
        let others = self
            .requests
            .all()
            .filter(|r| r.serial != behind && r.is_silent());
        (others.count() as u64, true)
    }
}

impl Long {
    pub(super) fn of_socket(wait: &Operation, request: RequestSeq) -> Self {
        Self {
            request,
            socket: wait.socket,
            device: wait.device.clone(),
            op: wait.op,
            start: wait.start,
            cause: cause_of(wait),
        }
    }

    /// What looks found of one request, and whether it has been told of.
    pub(super) fn of_looks(request: &Request) -> impl Iterator<Item = (Self, bool)> {
        request.open_stalls().map(|wait| {
            let long = Self {
                request: request.serial,
                socket: None,
                device: wait.look.device.clone(),
                op: wait.look.op,
                start: wait.start,
                cause: wait.cause(),
            };
            (long, wait.told)
        })
    }
}

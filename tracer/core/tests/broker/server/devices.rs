//! What goroutines do in the code of audit devices: queue, write, dial, race, and have one goroutine write for all.

use test_events::{EAGAIN, MS, US, WHOLE, actor};
use tracer_model::{Nanos, TcpState, WaitReason};

use super::{Act, Server, Worker};
use crate::{plan::State, wire};

/// Go dials the second address of a name after this time (`net.Dialer.FallbackDelay`).
const FALLBACK: Nanos = 300 * MS;

impl Server {
    /// The next device; when there is none, the goroutine is done.
    pub(super) fn queues(&mut self, worker: usize) {
        let Some(&device) = self.workers[worker].remaining.last() else {
            self.workers[worker].is_done = true;
            let Worker { request, stay, .. } = self.workers[worker];
            let of_stay = |w: &&Worker| (w.request, w.stay) == (request, stay);
            if self.workers.iter().filter(of_stay).all(|w| w.is_done) {
                self.leaves(request, stay);
            }
            return;
        };
        if self.plan.devices[device].0 == State::Writer {
            return self.submit(worker, device);
        }
        if self.devices[device].holder.is_none() {
            return self.hold(worker, device);
        }
        self.begins(worker, WaitReason::Lock);
        self.devices[device].waiting.push_back(worker);
        let deadline = self.workers[worker].deadline;
        if let Some(deadline) = deadline.filter(|_| self.plan.queue_is_bounded) {
            let rest = deadline.saturating_sub(self.now);
            self.after(rest, Act::GivesUpQueue(worker));
        }
    }

    pub(super) fn gives_up_queue(&mut self, worker: usize) {
        let Some((WaitReason::Lock, device, _)) = self.workers[worker].place else {
            return;
        };
        self.waited(worker);
        self.devices[device]
            .waiting
            .retain(|queued| *queued != worker);
        self.workers[worker].remaining.pop();
        self.queues(worker);
    }

    fn hold(&mut self, worker: usize, device: usize) {
        self.devices[device].holder = Some(worker);
        self.workers[worker].attempts = 0;
        self.after(10 * US, Act::Uses(worker));
    }

    pub(super) fn uses(&mut self, worker: usize) {
        let device = self.device_of(worker);
        match self.plan.devices[device].0 {
            State::Slow => {
                let slow = self.random.within(10 * MS, 1500 * MS);
                self.blocks(worker, slow);
            }
            State::Stuck => self.blocks(worker, self.plan.devices[device].1),
            State::Dead => self.dials(worker),
            State::Racing => self.races(worker, device),
            State::Healthy | State::Writer => self.finishes(worker),
        }
    }

    fn link(&self, device: usize) -> wire::Link {
        let (is_second, number) = self.devices[device].link;
        (device, is_second, number)
    }

    fn write(&mut self, worker: usize, result: i64) {
        let link = self.link(self.device_of(worker));
        let write = wire::writes(link, self.by(worker), result, self.entry(worker));
        self.seen.push(write);
    }

    fn blocks(&mut self, worker: usize, lasts: Nanos) {
        self.write(worker, EAGAIN);
        self.begins(worker, WaitReason::Write);
        self.after(lasts, Act::Ends(worker));
    }

    fn finishes(&mut self, worker: usize) {
        self.write(worker, WHOLE);
        self.releases(worker);
    }

    fn change(&mut self, link: wire::Link, by: tracer_model::Actor, states: [TcpState; 2]) {
        let [old, new] = states;
        self.seen.push(wire::changes(link, by, (old, new)));
    }

    fn closes_link(&mut self, worker: usize) {
        let (link, by) = (self.link(self.device_of(worker)), self.by(worker));
        self.change(link, by, [TcpState::Established, TcpState::FinWait1]);
        self.change(link, by, [TcpState::FinWait1, TcpState::Close]);
    }

    /// A dial knows the broker's context, a write does not.
    fn dials(&mut self, worker: usize) {
        let device = self.device_of(worker);
        let deadline = self.workers[worker].deadline;
        let rest = deadline.map_or(Nanos::MAX, |deadline| deadline.saturating_sub(self.now));
        let timeout = self.plan.devices[device].1.min(rest);
        if timeout < MS {
            return self.releases(worker);
        }
        let socket = self.new_id();
        self.workers[worker].socket = socket;
        let by = self.by(worker);
        self.change(
            (device, false, socket),
            by,
            [TcpState::Close, TcpState::SynSent],
        );
        self.begins(worker, WaitReason::Connect);
        self.after(timeout, Act::Ends(worker));
    }

    fn races(&mut self, worker: usize, device: usize) {
        let of = &mut self.devices[device];
        of.taken += 1;
        if of.link.0 || of.taken == 1 {
            self.finishes(worker);
        } else {
            self.blocks(worker, self.plan.devices[device].1);
        }
    }

    pub(super) fn ends(&mut self, worker: usize) {
        let device = self.device_of(worker);
        let place = self.workers[worker].place;
        self.waited(worker);
        let by = self.by(worker);
        match (self.plan.devices[device].0, place) {
            (State::Slow, _) => self.finishes(worker),
            (State::Stuck, _) => {
                self.closes_link(worker);
                let number = self.new_id();
                self.devices[device].link = (false, number);
                let link = self.link(device);
                self.change(link, by, [TcpState::Close, TcpState::SynSent]);
                self.change(link, by, [TcpState::SynSent, TcpState::Established]);
                self.finishes(worker);
            }
            (State::Racing, Some((WaitReason::Write, ..))) => {
                self.closes_link(worker);
                let (socket, child) = (self.new_id(), self.new_id());
                let child_by = actor(child, by.goid.unwrap_or(0));
                let link = (device, false, socket);
                self.change(link, child_by, [TcpState::Close, TcpState::SynSent]);
                self.workers[worker].socket = socket;
                self.workers[worker].dialler = Some(child);
                self.begins(worker, WaitReason::Connect);
                self.after(FALLBACK, Act::Connects(worker));
            }
            (_, _) => {
                let link = (device, false, self.workers[worker].socket);
                self.change(link, by, [TcpState::SynSent, TcpState::Close]);
                self.workers[worker].attempts += 1;
                if self.workers[worker].attempts < 2 {
                    self.after(20 * US, Act::Uses(worker));
                } else {
                    self.releases(worker);
                }
            }
        }
    }

    /// The second address of the name answers at once, and the dial of the first is given up.
    pub(super) fn connects(&mut self, worker: usize) {
        let device = self.device_of(worker);
        let by = self.by(worker).goid.unwrap_or(0);
        let first = self.workers[worker].dialler.take().expect("it dials");
        let (first, second) = (actor(first, by), actor(self.new_id(), by));
        self.devices[device].link = (true, self.new_id());
        let link = self.link(device);
        self.change(link, second, [TcpState::Close, TcpState::SynSent]);
        self.change(link, second, [TcpState::SynSent, TcpState::Established]);
        let given_up = (device, false, self.workers[worker].socket);
        self.change(given_up, first, [TcpState::SynSent, TcpState::Close]);
        self.waited(worker);
        self.finishes(worker);
    }

    /// The connections to devices that stand.
    pub(crate) fn links(&self) -> Vec<wire::Link> {
        let devices = 0..self.devices.len();
        devices.map(|device| self.link(device)).collect()
    }

    /// Unlocks the device; the eldest in the queue has it then.
    fn releases(&mut self, worker: usize) {
        let device = self.workers[worker].remaining.pop().expect("it is in one");
        self.after(10 * US, Act::Queues(worker));
        self.devices[device].holder = None;
        if let Some(next) = self.devices[device].waiting.pop_front() {
            self.waited(next);
            self.hold(next, device);
        }
    }

    /// Gives the entry to the goroutine that writes, and waits for the answer.
    fn submit(&mut self, worker: usize, device: usize) {
        let own = self.requests[self.workers[worker].request].goid;
        if self.devices[device].writer.is_none() {
            self.devices[device].writer = Some((self.new_id(), own));
        }
        self.begins(worker, WaitReason::Answer);
        if self.devices[device].holder.is_none() {
            self.devices[device].holder = Some(worker);
            self.begin_writing(worker, device);
        } else {
            self.devices[device].waiting.push_back(worker);
        }
    }

    fn writer_by(&self, device: usize) -> tracer_model::Actor {
        let (goid, parent) = self.devices[device].writer.expect("it writes");
        actor(goid, parent)
    }

    fn begin_writing(&mut self, worker: usize, device: usize) {
        let (by, entry) = (self.writer_by(device), self.entry(worker));
        let write = wire::writes(self.link(device), by, EAGAIN, entry);
        self.seen.push(write);
        let slow = self.random.within(10 * MS, 1500 * MS);
        self.after(slow, Act::Writes(worker));
    }

    pub(super) fn writer_writes(&mut self, worker: usize) {
        let device = self.device_of(worker);
        let (by, entry) = (self.writer_by(device), self.entry(worker));
        let write = wire::writes(self.link(device), by, WHOLE, entry);
        self.seen.push(write);
        self.waited(worker);
        self.workers[worker].remaining.pop();
        self.after(10 * US, Act::Queues(worker));
        self.devices[device].holder = None;
        if let Some(next) = self.devices[device].waiting.pop_front() {
            self.devices[device].holder = Some(next);
            self.begin_writing(next, device);
        }
    }
}

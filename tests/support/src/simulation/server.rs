//! A server as OpenBao is one: each request writes an entry to every audit device before the work and one
//! before the answer, and holds the device's mutex until that has gone well or two attempts have failed
//! (`builtin/audit/socket/backend.go`). It knows to the nanosecond which device blocked which request.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use test_events::{BEGAN, EAGAIN, MS, Random, S, US, WHOLE};
use tracer_model::{EntryQuery, EventKind, Nanos, TcpState, WaitReason};

use super::{
    Plan, State,
    request::{Request, Wait},
    wire,
};

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Arrives(usize),
    Audits(usize),
    Enters(usize),
    Uses(usize),
    Ends(usize),
    Answers(usize),
    Sampled,
    Searched(usize),
}

/// Who is in a device, and who waits for that.
#[derive(Debug, Default)]
struct Mutex {
    holder: Option<usize>,
    queue: VecDeque<usize>,
}

pub(crate) struct Server {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) requests: Vec<Request>,
    now: Nanos,
    agenda: BinaryHeap<Reverse<(Nanos, u64, Act)>>,
    planned: u64,
    devices: Vec<Mutex>,
    sockets: u64,
    searches: Vec<EntryQuery>,
}

impl Server {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut server = Self {
            random: Random(plan.seed),
            requests: Vec::new(),
            now: BEGAN + S,
            agenda: BinaryHeap::new(),
            planned: 0,
            devices: plan.devices.iter().map(|_| Mutex::default()).collect(),
            sockets: 100,
            searches: Vec::new(),
            plan,
        };
        for client in 0..server.plan.clients {
            server.next_of(client);
        }
        server
    }

    /// When it does something next.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.agenda.peek().map(|Reverse((at, ..))| *at)
    }

    /// Does it: when, and what is seen of it.
    pub(crate) fn act(&mut self) -> (Nanos, Vec<EventKind>) {
        let Some(Reverse((at, _, act))) = self.agenda.pop() else {
            return (self.now, Vec::new());
        };
        self.now = at;
        let seen = match act {
            Act::Arrives(request) => self.arrives(request),
            Act::Audits(request) => self.audits(request),
            Act::Enters(request) => self.enters(request),
            Act::Uses(request) => self.uses(request),
            Act::Ends(request) => self.ends(request),
            Act::Answers(request) => self.answers(request),
            Act::Sampled => vec![wire::sample(&self.plan, &self.requests)],
            Act::Searched(search) => vec![self.found(search)],
        };
        (at, seen)
    }

    /// Somebody asks where its goroutines are; a sample takes milliseconds.
    pub(crate) fn sample(&mut self, at: Nanos) {
        self.now = at;
        let takes = self.random.within(MS / 2, 5 * MS);
        self.after(takes, Act::Sampled);
    }

    /// Somebody asks what its audit file holds.
    pub(crate) fn search(&mut self, at: Nanos, query: EntryQuery) {
        self.now = at;
        self.searches.push(query);
        let takes = self.random.within(MS, 20 * MS);
        self.after(takes, Act::Searched(self.searches.len() - 1));
    }

    fn after(&mut self, pause: Nanos, act: Act) {
        self.planned += 1;
        let planned = (self.now + pause, self.planned, act);
        self.agenda.push(Reverse(planned));
    }

    fn next_of(&mut self, client: usize) {
        let number = self.requests.len();
        self.requests.push(Request {
            number,
            client,
            start: 0,
            end: None,
            entries: Vec::new(),
            waits: Vec::new(),
            held: Vec::new(),
            left: Vec::new(),
            attempts: 0,
            socket: 0,
            place: None,
            entered: 0,
        });
        let pause = self.random.within(US, 1500 * MS);
        self.after(pause, Act::Arrives(number));
    }

    fn arrives(&mut self, request: usize) -> Vec<EventKind> {
        self.requests[request].start = self.now;
        let pause = self.random.within(20 * US, 2 * MS);
        self.after(pause, Act::Audits(request));
        vec![wire::arrival(&self.plan, &self.requests[request])]
    }

    fn audits(&mut self, request: usize) -> Vec<EventKind> {
        let mut devices: Vec<_> = (0..self.devices.len()).collect();
        self.random.shuffle(&mut devices);
        let served = &mut self.requests[request];
        served.entries.push(self.now);
        served.left = devices;
        self.enters(request)
    }

    /// The next device; when there is none left, the work or the answer.
    fn enters(&mut self, request: usize) -> Vec<EventKind> {
        let served = &mut self.requests[request];
        let Some(&device) = served.left.last() else {
            let is_last = served.entries.len() == 2;
            let works = self.random.within(US, 300 * MS);
            if is_last {
                self.after(50 * US, Act::Answers(request));
            } else {
                self.after(works, Act::Audits(request));
            }
            return Vec::new();
        };
        if self.devices[device].holder.is_some() {
            served.place = Some((WaitReason::Lock, device, self.now));
            self.devices[device].queue.push_back(request);
        } else {
            self.hold(request, device);
        }
        Vec::new()
    }

    fn hold(&mut self, request: usize, device: usize) {
        self.devices[device].holder = Some(request);
        self.requests[request].entered = self.now;
        self.requests[request].attempts = 0;
        self.after(10 * US, Act::Uses(request));
    }

    fn uses(&mut self, request: usize) -> Vec<EventKind> {
        let device = self.device_of(request);
        match self.plan.devices[device] {
            State::Healthy => {
                self.leaves(request);
                vec![self.writes(request, device, WHOLE)]
            }
            State::Slow => {
                let slow = self.random.within(10 * MS, 700 * MS);
                self.begins(request, WaitReason::Write, slow);
                vec![self.writes(request, device, EAGAIN)]
            }
            State::Dead => {
                self.sockets += 1;
                self.requests[request].socket = self.sockets;
                self.begins(request, WaitReason::Connect, self.plan.timeout);
                let change = (TcpState::Close, TcpState::SynSent);
                vec![self.dial(request, device, change)]
            }
        }
    }

    fn begins(&mut self, request: usize, place: WaitReason, lasts: Nanos) {
        self.requests[request].place = Some((place, self.device_of(request), self.now));
        self.after(lasts, Act::Ends(request));
    }

    fn ends(&mut self, request: usize) -> Vec<EventKind> {
        let device = self.device_of(request);
        self.waited(request);
        if self.plan.devices[device] == State::Slow {
            self.leaves(request);
            return vec![self.writes(request, device, WHOLE)];
        }
        let served = &mut self.requests[request];
        served.attempts += 1;
        if served.attempts < 2 {
            self.after(20 * US, Act::Uses(request));
        } else {
            self.leaves(request);
        }
        vec![self.dial(request, device, (TcpState::SynSent, TcpState::Close))]
    }

    /// What it waited for is over.
    fn waited(&mut self, request: usize) {
        let served = &mut self.requests[request];
        let (place, device, since) = served.place.take().expect("it waits");
        served.waits.push(Wait {
            place,
            device,
            duration: self.now - since,
        });
    }

    /// Unlocks the device; the eldest in the queue has it then.
    fn leaves(&mut self, request: usize) {
        let served = &mut self.requests[request];
        let device = served.left.pop().expect("it is in one");
        served.held.push((device, served.entered, self.now));
        self.after(10 * US, Act::Enters(request));
        self.devices[device].holder = None;
        if let Some(next) = self.devices[device].queue.pop_front() {
            self.waited(next);
            self.hold(next, device);
        }
    }

    fn answers(&mut self, request: usize) -> Vec<EventKind> {
        let served = &mut self.requests[request];
        served.end = Some(self.now);
        let client = served.client;
        let answer = wire::answer(&self.plan, served);
        let of_client = self.requests.iter().filter(|r| r.client == client);
        if of_client.count() < self.plan.each {
            self.next_of(client);
        }
        vec![answer]
    }

    fn device_of(&self, request: usize) -> usize {
        let left = self.requests[request].left.last();
        *left.expect("it is in one")
    }

    fn writes(&self, request: usize, device: usize, result: i64) -> EventKind {
        wire::writes(&self.plan, &self.requests[request], device, result)
    }

    fn dial(&self, request: usize, device: usize, change: (TcpState, TcpState)) -> EventKind {
        let served = &self.requests[request];
        wire::dial(&self.plan, served, (device, served.socket), change)
    }

    /// What the audit file beside the devices holds: an answer only if it is of one request.
    fn found(&self, search: usize) -> EventKind {
        let asked = self.searches[search].clone();
        let span = asked.not_before as u64..=asked.not_after as u64;
        let mut of_port = self.requests.iter().filter(|served| {
            let port = wire::client(&self.plan, served.client).port();
            port == asked.client_port && served.entries.iter().any(|at| span.contains(at))
        });
        let entry = match (of_port.next(), of_port.next()) {
            (Some(one), None) => Some(wire::entry(&self.plan, one)),
            _ => None,
        };
        EventKind::EntryFound { asked, entry }
    }
}

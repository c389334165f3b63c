//! A server whose broker has each entry written by goroutines of their own, one for each device
//! (`hashicorp/eventlogger`, `graph.go`), or by the request's own. It knows to the nanosecond what blocked whom.

mod devices;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use test_events::{BEGAN, LISTENER, MS, Random, S, US, actor};
use tracer_model::{EntryQuery, EventKind, Nanos, WaitReason};

use crate::{
    plan::{self, Listener, Plan},
    wire,
};

/// When a request's own goroutine was in the broker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stay {
    pub(crate) start: Nanos,
    pub(crate) end: Option<Nanos>,
}

/// One request, as it really was.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) number: usize,
    pub(crate) client: usize,
    /// Its own goroutine.
    pub(crate) goid: u64,
    pub(crate) start: Nanos,
    pub(crate) end: Option<Nanos>,
    pub(crate) stays: Vec<Stay>,
    /// What a goroutine of it waited for: device, from when to when.
    pub(crate) waits: Vec<(usize, WaitReason, Nanos, Nanos)>,
}

impl Request {
    /// The waits for a device while the request's own goroutine was in the broker, in order and without overlap.
    pub(crate) fn blocked_spans(&self, device: usize) -> Vec<(Nanos, Nanos)> {
        let mut spans: Vec<_> = self
            .stays
            .iter()
            .flat_map(|stay| {
                let of_device = self.waits.iter().filter(move |wait| wait.0 == device);
                of_device.map(|(_, _, start, end)| {
                    (
                        *start.max(&stay.start),
                        *end.min(&stay.end.unwrap_or(Nanos::MAX)),
                    )
                })
            })
            .filter(|(start, end)| start < end)
            .collect();
        spans.sort_unstable();
        let mut reached = 0;
        for span in &mut spans {
            span.0 = span.0.max(reached).min(span.1.max(reached));
            span.1 = span.1.max(span.0);
            reached = span.1;
        }
        spans
    }

    /// How long a device blocked it.
    pub(crate) fn blocked(&self, device: usize) -> Nanos {
        let spans = self.blocked_spans(device);
        spans.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether something still waited for a device when the broker had given up.
    pub(crate) fn has_leftovers(&self) -> bool {
        let ends = || self.stays.iter().filter_map(|stay| stay.end);
        self.waits
            .iter()
            .any(|(_, _, start, end)| ends().any(|left| *start < left && left + MS < *end))
    }
}

/// A goroutine that writes one entry: to one device as a sink, else to each.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) request: usize,
    pub(crate) stay: usize,
    pub(crate) goid: u64,
    pub(crate) parent: u64,
    /// What it waits for, and since when.
    pub(crate) place: Option<(WaitReason, usize, Nanos)>,
    /// The child that dials for it.
    pub(crate) dialler: Option<u64>,
    remaining: Vec<usize>,
    deadline: Option<Nanos>,
    attempts: u32,
    socket: u64,
    is_done: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    Arrives(usize),
    Enters(usize),
    Queues(usize),
    Uses(usize),
    Ends(usize),
    Connects(usize),
    GivesUpQueue(usize),
    Leaves(usize, usize),
    Answers(usize),
    Writes(usize),
    Sampled,
    Searched(usize),
}

#[derive(Debug, Default)]
struct Queue {
    holder: Option<usize>,
    waiting: VecDeque<usize>,
    /// The connection that stands: whether to the second address, and its number.
    link: (bool, u64),
    /// Entries that it took.
    taken: u32,
    /// The one goroutine that writes, and its parent.
    writer: Option<(u64, u64)>,
}

impl Queue {
    fn new(device: usize) -> Self {
        Self {
            link: (false, wire::standing(device)),
            ..Self::default()
        }
    }
}

pub(crate) struct Server {
    pub(crate) plan: Plan,
    pub(crate) requests: Vec<Request>,
    pub(crate) workers: Vec<Worker>,
    random: Random,
    now: Nanos,
    agenda: BinaryHeap<Reverse<(Nanos, u64, Act)>>,
    planned: u64,
    devices: Vec<Queue>,
    ids: u64,
    searches: Vec<EntryQuery>,
    seen: Vec<EventKind>,
}

impl Server {
    pub(crate) fn new(plan: Plan) -> Self {
        let mut server = Self {
            random: Random(plan.seed),
            requests: Vec::new(),
            workers: Vec::new(),
            now: BEGAN + S,
            agenda: BinaryHeap::new(),
            planned: 0,
            devices: (0..plan.devices.len()).map(Queue::new).collect(),
            ids: 10_000,
            searches: Vec::new(),
            seen: Vec::new(),
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
        match act {
            Act::Arrives(request) => self.arrives(request),
            Act::Enters(request) => self.enters(request),
            Act::Queues(worker) => self.queues(worker),
            Act::Uses(worker) => self.uses(worker),
            Act::Ends(worker) => self.ends(worker),
            Act::Connects(worker) => self.connects(worker),
            Act::GivesUpQueue(worker) => self.gives_up_queue(worker),
            Act::Leaves(request, stay) => self.leaves(request, stay),
            Act::Answers(request) => self.answers(request),
            Act::Writes(worker) => self.writer_writes(worker),
            Act::Sampled => self.seen.push(wire::sample(self)),
            Act::Searched(search) => self.seen.push(self.found(search)),
        }
        (at, std::mem::take(&mut self.seen))
    }

    /// Somebody asks where its goroutines are.
    pub(crate) fn sample(&mut self, at: Nanos) {
        self.now = at;
        let takes = self.random.within(MS / 2, self.plan.sample_takes);
        self.after(takes, Act::Sampled);
    }

    /// Somebody asks what its audit file holds.
    pub(crate) fn search(&mut self, at: Nanos, query: EntryQuery) {
        self.now = at;
        self.searches.push(query);
        let takes = self.random.within(MS, 20 * MS);
        self.after(takes, Act::Searched(self.searches.len() - 1));
    }

    /// Those that started the request's goroutine, as far as they live and with the parent of the eldest.
    pub(crate) fn ancestors_of(&self, request: &Request) -> Vec<u64> {
        let server = wire::server_of(&self.plan, request.client);
        match self.plan.listener {
            Listener::Http1 | Listener::Unix => vec![LISTENER],
            Listener::Http2 if request.end.is_none() => vec![server, LISTENER],
            Listener::Http2 => Vec::new(),
        }
    }

    fn after(&mut self, pause: Nanos, act: Act) {
        self.planned += 1;
        let planned = (self.now + pause, self.planned, act);
        self.agenda.push(Reverse(planned));
    }

    fn new_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    fn next_of(&mut self, client: usize) {
        let number = self.requests.len();
        let goid = match self.plan.listener {
            Listener::Http2 => self.new_id(),
            Listener::Http1 | Listener::Unix => wire::server_of(&self.plan, client),
        };
        let pause = self.random.within(US, 1500 * MS);
        self.requests.push(Request {
            number,
            client,
            goid,
            start: self.now + pause,
            end: None,
            stays: Vec::new(),
            waits: Vec::new(),
        });
        self.after(pause, Act::Arrives(number));
    }

    fn arrives(&mut self, request: usize) {
        let arrival = wire::arrival(&self.plan, &self.requests[request]);
        self.seen.extend(arrival);
        let pause = self.random.within(20 * US, self.plan.before);
        self.after(pause, Act::Enters(request));
    }

    /// The request's goroutine enters the broker.
    fn enters(&mut self, request: usize) {
        let now = self.now;
        let of = &mut self.requests[request];
        of.stays.push(Stay {
            start: now,
            end: None,
        });
        let (stay, own) = (of.stays.len() - 1, of.goid);
        let deadline = self.plan.patience.map(|patience| now + patience);
        let mut devices: Vec<_> = (0..self.devices.len()).collect();
        self.random.shuffle(&mut devices);
        let parent = self.new_id();
        let tasks: Vec<_> = if self.plan.has_sinks {
            devices.into_iter().map(|device| vec![device]).collect()
        } else {
            vec![devices]
        };
        for remaining in tasks {
            let goid = if self.plan.has_sinks {
                self.new_id()
            } else {
                own
            };
            self.workers.push(Worker {
                request,
                stay,
                goid,
                parent,
                place: None,
                dialler: None,
                remaining,
                deadline,
                attempts: 0,
                socket: 0,
                is_done: false,
            });
            self.after(10 * US, Act::Queues(self.workers.len() - 1));
        }
        if let Some(patience) = self.plan.patience {
            self.after(patience, Act::Leaves(request, stay));
        }
    }

    fn by(&self, worker: usize) -> tracer_model::Actor {
        let Worker {
            goid,
            parent,
            request,
            ..
        } = self.workers[worker];
        let own = &self.requests[request];
        if goid == own.goid {
            let server = wire::server_of(&self.plan, own.client);
            let is_stream = self.plan.listener == Listener::Http2;
            return actor(goid, if is_stream { server } else { LISTENER });
        }
        actor(goid, parent)
    }

    fn entry(&self, worker: usize) -> tracer_model::EntryHead {
        let Worker { request, stay, .. } = self.workers[worker];
        wire::entry(&self.plan, &self.requests[request], stay)
    }

    fn begins(&mut self, worker: usize, place: WaitReason) {
        let device = self.device_of(worker);
        self.workers[worker].place = Some((place, device, self.now));
    }

    fn waited(&mut self, worker: usize) {
        let of = &mut self.workers[worker];
        if let Some((place, device, since)) = of.place.take() {
            let wait = (device, place, since, self.now);
            self.requests[of.request].waits.push(wait);
        }
    }

    fn device_of(&self, worker: usize) -> usize {
        let remaining = self.workers[worker].remaining.last();
        *remaining.expect("it is in one")
    }

    /// The request's goroutine leaves the broker: all sinks have ended, or the context.
    fn leaves(&mut self, request: usize, stay: usize) {
        let now = self.now;
        let of = &mut self.requests[request].stays[stay];
        if of.end.is_some() {
            return;
        }
        of.end = Some(now);
        if stay == 0 {
            let work = self.random.within(US, self.plan.work);
            self.after(work, Act::Enters(request));
        } else {
            let pause = match self.plan.answering {
                plan::AT_ONCE => plan::AT_ONCE,
                most => self.random.within(plan::AT_ONCE, most),
            };
            self.after(pause, Act::Answers(request));
        }
    }

    fn answers(&mut self, request: usize) {
        self.requests[request].end = Some(self.now);
        let writer = self.new_id();
        let answer = wire::answer(&self.plan, &self.requests[request], writer);
        self.seen.extend(answer);
        let client = self.requests[request].client;
        let of_client = self.requests.iter().filter(|r| r.client == client);
        if of_client.count() < self.plan.each {
            self.next_of(client);
        }
    }

    /// What the audit file beside the devices holds: an answer only if it is of one request.
    fn found(&self, search: usize) -> EventKind {
        let asked = self.searches[search].clone();
        let span = asked.not_before as u64..=asked.not_after as u64;
        let mut of_port = self.requests.iter().filter(|request| {
            let port = wire::client(&self.plan, request.client).map(|client| client.port());
            let mut entries = request.stays.iter().map(|stay| stay.start);
            port == Some(asked.client_port) && entries.any(|at| span.contains(&at))
        });
        let entry = match (of_port.next(), of_port.next()) {
            (Some(one), None) => Some(wire::entry(&self.plan, one, one.stays.len() - 1)),
            _ => None,
        };
        EventKind::EntryFound { asked, entry }
    }
}

//! One sample of all stacks.

use std::{io, iter, mem, sync::PoisonError};

use super::{
    GoroutineReader,
    functions::KnownFunction,
    goroutine::Goroutine,
    list::{MAX_ANCESTORS, Parents},
    memory::{self, Memory},
    requests::{SinkRequests, StackRequests},
    roles::{DeviceCode, DeviceStyle, FunctionRole},
    stack::{Frame, Stack},
    stack_cache::{CachedStack, StackCache, StackFacts, StackWait},
    wait,
};
use tracer_model::{
    ConfiguredDevice, EntryHead, GoroutineSample, HandlerSample, Nanos, Phase, WaitReason,
};

/// One sample of all stacks, each list in the order of the goroutines' IDs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// Goroutines that wait in the code of an audit device.
    pub goroutines: Vec<GoroutineSample>,
    /// Goroutines of requests that are inside the audit broker; `None` if the program has no broker that is known.
    pub handlers: Option<Vec<HandlerSample>>,
    /// Requests' own goroutines that wait for the active node of the cluster, with the goroutines that started each.
    pub forwarded: Vec<(u64, Vec<u64>)>,
    /// IDs of those in the code of a device, or waiting for the active node, that have not run since the previous sample. Empty in versions of Go that
    /// do not count how often a goroutine stops (`trackingSeq`, since Go 1.17). The count is modulo 256.
    pub unmoved: Vec<u64>,
    /// The server's audit devices, as they are configured, if they are not those of the previous sample. `None` as well where
    /// they cannot be read.
    pub configured: Option<Vec<ConfiguredDevice>>,
}

impl Samples {
    /// Passes what each goroutine's arguments say of its request.
    pub(crate) fn each_entry(&mut self, mut change: impl FnMut(&mut EntryHead)) {
        let goroutines = self
            .goroutines
            .iter_mut()
            .filter_map(|of| of.entry.as_mut());
        goroutines.for_each(&mut change);
        let handlers = self.handlers.iter_mut().flatten();
        let entries = handlers.filter_map(|of| of.entry.as_mut());
        entries.for_each(change);
    }
}

/// A stack with the functions on it, innermost first.
pub(super) struct StackFunctions<'a> {
    pub(super) stack: Stack<'a>,
    frames: Vec<Frame>,
    pub(super) known: Vec<Option<&'a KnownFunction>>,
}

/// A sample as far as stacks have been read.
#[derive(Default)]
struct Builder {
    samples: Samples,
    /// Goroutines inside the audit broker, and what started each.
    handlers: Vec<(u64, Option<u64>, Phase)>,
    /// Goroutines that wait for the active node, and what started each.
    forwarded: Vec<(u64, Option<u64>)>,
    requests: StackRequests,
    stacks: Vec<CachedStack>,
}

impl GoroutineReader {
    /// Samples all stacks. Fails if the server is gone; goroutines that cannot be read are left out, as are those that
    /// a processor runs, but for a handler that has just begun to.
    pub fn sample(&self, memory: &impl Memory) -> io::Result<Samples> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.goroutines(memory, &mut history.list)?;
        let parents = Parents::new(&all);
        let last = mem::take(&mut history.stacks);
        let (mut builder, mut unread) = (Builder::default(), Vec::new());
        let mut cached = last.cursor();
        let seeks_table = self.table.is_sought(&history.table);
        for goroutine in &all {
            if goroutine.is_running() {
                let last = cached.before_this_run(goroutine);
                builder.add_handler(goroutine, last.and_then(|facts| facts.handler));
            } else if goroutine.has_saved_stack() {
                match cached.unmoved(goroutine) {
                    Some(facts) => {
                        let waits = facts.wait.is_some() || facts.is_forwarded;
                        let waits = waits.then_some(goroutine.goid);
                        builder.samples.unmoved.extend(waits);
                        builder.add(goroutine, facts.clone(), &parents);
                    }
                    None => unread.push((goroutine, ())),
                }
            }
        }
        each_stack(memory, &unread, |(goroutine, ()), stack| {
            let functions = self.functions_on(stack, goroutine);
            if seeks_table {
                let table = &mut history.table;
                table.seek(&self.variables, stack, &functions.frames);
            }
            let facts = StackFacts {
                wait: self.device_wait(memory, goroutine, &functions),
                handler: wait::in_broker(&functions.known),
                is_forwarded: wait::is_forwarded(&functions.known),
                request: self
                    .requests
                    .read(memory, &self.variables, stack, &functions.frames),
            };
            if facts.is_empty() || self.is_unchanged(memory, goroutine) {
                builder.add(goroutine, facts, &parents);
            }
        });
        history.stacks = StackCache::new(mem::take(&mut builder.stacks));
        builder.samples.configured = self.table.news(memory, &mut history.table);
        Ok(builder.finish(&parents, &mut history.sinks, self.has_broker()))
    }

    fn has_broker(&self) -> bool {
        self.functions
            .any(|role| FunctionRole::broker_entry(role).is_some())
    }

    pub(super) fn functions_on<'a>(
        &'a self,
        stack: Stack<'a>,
        goroutine: &Goroutine,
    ) -> StackFunctions<'a> {
        let frames = stack.frames(goroutine);
        let known = frames
            .iter()
            .map(|frame| self.functions.at(frame.pc))
            .collect();
        StackFunctions {
            stack,
            frames,
            known,
        }
    }

    /// `None` if it does not wait in the code of an audit device.
    fn device_wait(
        &self,
        memory: &impl Memory,
        goroutine: &Goroutine,
        StackFunctions {
            stack,
            frames,
            known,
        }: &StackFunctions<'_>,
    ) -> Option<Box<StackWait>> {
        goroutine.is_blocked().then_some(())?;
        let wait = wait::find(known)?;
        let (inner, outer) = wait.frames;
        let receivers = [frames[outer].record, frames[inner].record];
        let device = self.devices.read(memory, wait.code, *stack, receivers);
        Some(Box::new(StackWait {
            code: wait.code,
            sample: GoroutineSample {
                goid: goroutine.goid,
                ancestors: Vec::new(),
                request: None,
                place: wait.reason,
                since: self.queued_since(wait.reason, *stack, frames),
                phase: wait.phase,
                device,
                frames: wait::names(known),
                entry: None,
            },
        }))
    }

    fn queued_since(
        &self,
        reason: WaitReason,
        stack: Stack<'_>,
        frames: &[Frame],
    ) -> Option<Nanos> {
        let queues = self.shares_clock && reason == WaitReason::Lock;
        queues.then(|| self.variables.queued_since(stack, frames))?
    }
}

/// Reads those stacks that can be read. `T`: what belongs to a goroutine.
pub(super) fn each_stack<'a, T: Copy>(
    memory: &impl Memory,
    goroutines: &[(&'a Goroutine, T)],
    mut take: impl FnMut((&'a Goroutine, T), Stack<'_>),
) {
    let pieces = goroutines.iter().map(|g| Some((*g, Stack::piece(g.0)?)));
    let (goroutines, pieces): (Vec<_>, Vec<_>) = pieces.flatten().unzip();
    memory::in_batches(memory, &pieces, |i, bytes| {
        if let Some(bytes) = bytes {
            take(goroutines[i], Stack::of(pieces[i], bytes));
        }
    });
}

impl Builder {
    fn add(&mut self, goroutine: &Goroutine, facts: StackFacts, parents: &Parents<'_>) {
        let wait = facts.wait.as_ref();
        let wait = wait.map(|wait| wait.sample(goroutine, parents));
        self.samples.goroutines.extend(wait);
        self.add_handler(goroutine, facts.handler);
        let forwarded = facts
            .is_forwarded
            .then_some((goroutine.goid, goroutine.parent));
        self.forwarded.extend(forwarded);
        if let Some(request) = &facts.request {
            self.requests.add(goroutine.goid, request.clone());
        }
        self.stacks.extend(CachedStack::new(goroutine, facts));
    }

    fn add_handler(&mut self, goroutine: &Goroutine, phase: Option<Phase>) {
        let handler = phase.map(|phase| (goroutine.goid, goroutine.parent, phase));
        self.handlers.extend(handler);
    }

    fn finish(self, parents: &Parents<'_>, sinks: &mut SinkRequests, has_broker: bool) -> Samples {
        let (requests, mut samples) = (self.requests, self.samples);
        sinks.update(&requests, |goid| parents.is_alive(goid));
        for sample in &mut samples.goroutines {
            let lineage = iter::once(sample.goid).chain(sample.ancestors.iter().copied());
            if let Some((request, entry)) = requests.of_lineage(lineage, sinks) {
                set_request(sample, request, entry, parents);
            }
            sample.request = sample.request.filter(|request| *request != sample.goid);
        }
        samples.goroutines.sort_by_key(|sample| sample.goid);
        let handler = |(goid, parent, phase)| HandlerSample {
            goid,
            ancestors: parents.lineage(parent).collect(),
            phase: Some(phase),
            entry: requests.of(goid).cloned(),
        };
        let mut handlers: Vec<_> = self.handlers.into_iter().map(handler).collect();
        handlers.sort_by_key(|handler| handler.goid);
        samples.handlers = has_broker.then_some(handlers);
        let forwarded = self.forwarded.into_iter();
        samples.forwarded = forwarded
            .map(|(goid, parent)| (goid, parents.lineage(parent).collect()))
            .collect();
        samples.forwarded.sort_unstable();
        samples
    }
}

/// Puts the request's goroutine among the ancestors even if one between them has ended.
fn set_request(
    sample: &mut GoroutineSample,
    request: u64,
    entry: EntryHead,
    parents: &Parents<'_>,
) {
    if request != sample.goid && !sample.ancestors.contains(&request) {
        let further = parents.lineage(Some(request));
        sample.ancestors.extend(further);
        sample.ancestors.truncate(MAX_ANCESTORS);
    }
    sample.request = Some(request);
    sample.entry = Some(entry);
}

impl DeviceCode {
    /// A backend runs in the request's goroutine. A sink runs in one of its own, which a goroutine
    /// started that waits for all sinks of the entry, which the request's goroutine started
    /// (`hashicorp/eventlogger`, `graph.go`, `process`).
    pub(super) fn request(self, goroutine: &Goroutine, parents: &Parents<'_>) -> Option<u64> {
        match self.style {
            DeviceStyle::Backend => Some(goroutine.goid),
            DeviceStyle::Sink => parents.of(goroutine.parent?),
        }
    }
}

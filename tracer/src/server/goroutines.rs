//! Which goroutines of the running server wait in the code of an audit device, and for what.
//!
//! A request that queues for a device makes no system call while it waits, so no probe sees it. But
//! the server's own memory tells: the list of all goroutines (`runtime/proc.go`, `allgs`), what each
//! does (`runtime/runtime2.go`, `g`) and the return addresses on its stack, which the frame pointers
//! lead to (`runtime/tracestack.go`, `fpTracebackPCs`). The server is not stopped for it: what is read
//! may be torn, so all of it is doubted, and who was found is looked at again before being believed.

mod all;
mod code;
mod device;
mod functions;
mod goroutine;
mod memory;
mod method;
mod pclntab;
mod permission;
mod place;
mod requests;
mod seen;
mod stack;
mod symbols;
#[cfg(test)]
mod tests;
mod variables;

use std::{
    fs, io, iter, mem,
    ops::Range,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

use self::{
    all::{List, MAX_ANCESTORS, Parents},
    device::Devices,
    functions::Functions,
    goroutine::{Goroutine, Layout},
    method::Method,
    requests::{AllSaid, Requests, Ties},
    seen::{Seen, Sight, Sighting},
    stack::{Frame, Stack},
    variables::Variables,
};
pub use self::{
    device::Configured,
    memory::{Memory, Piece, ProcessMemory},
    method::{DeviceCode, Kind, Style},
};
use super::{
    executable::Executable,
    go::{buildinfo, dwarf, table},
};
use tracer_model::{EntryHead, HandlerSample, Nanos, Phase, WaitReason};

/// A goroutine that waits in the code of an audit device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its ID.
    pub goid: u64,
    /// The goroutine that started it, the one that started that, and so on, as far as they live;
    /// none before Go 1.21.
    pub ancestors: Vec<u64>,
    /// The goroutine that works on the client's request, if it is known.
    pub request: Option<u64>,
    /// For what it waits.
    pub at: WaitReason,
    /// Since when, on `CLOCK_MONOTONIC`, ns: of who queues for a mutex, which takes the time; as far as known.
    pub since: Option<Nanos>,
    /// Whether it has not run since the previous look, which found it at this very place: it is stuck there,
    /// rather than often there. False where that is unknown: at a first look, in a system call, and in
    /// versions of Go that do not count how often a goroutine stops (`trackingSeq`, since Go 1.17). The
    /// count is modulo 256.
    pub still: bool,
    /// In whose code.
    pub code: DeviceCode,
    /// Which of the request's two entries it has to write, where the code tells.
    pub phase: Option<Phase>,
    /// Which device it is, if that is certain. One that is no socket is told by its kind at least.
    pub device: Option<Configured>,
    /// Functions on its stack that tell what it does, innermost first.
    pub frames: Vec<String>,
    /// What the server's own arguments say of the request: ID, operation, path.
    pub entry: Option<EntryHead>,
}

/// One sample of all stacks.
#[derive(Debug, Default)]
pub struct Samples {
    /// Goroutines that wait in the code of an audit device.
    pub waiting: Vec<Waiting>,
    /// Goroutines of requests that are inside the audit broker; `None` if the program has no broker that is known.
    pub handlers: Option<Vec<HandlerSample>>,
}

/// Whether functions of this package are looked up in the debugging information.
pub fn needs(package: &str) -> bool {
    Method::has_variables(package)
}

/// What has to be known of the executable to read its goroutines.
#[derive(Debug)]
pub struct GoroutineReader {
    /// Address of `runtime.allgs`, a slice of pointers.
    list: u64,
    layout: Layout,
    functions: Functions,
    devices: Devices,
    variables: Variables,
    requests: Requests,
    known: Mutex<Known>,
    /// Where nearly all goroutines are that wait.
    parks: Option<Range<u64>>,
    /// Whether the server reads the same `CLOCK_MONOTONIC` as the kernel's probes.
    shares_clock: bool,
    /// The version of Go whose offsets are believed to be this program's, which does not say them itself.
    assumed: Option<String>,
}

/// What earlier looks found.
#[derive(Debug, Default)]
struct Known {
    list: List,
    seen: Seen,
    ties: Ties,
}

/// A goroutine that is to be looked at, with what was found of it if it has not moved since.
type Fresh<'a> = (&'a Goroutine, Option<&'a Sight>);

/// One look at all goroutines.
#[derive(Default)]
struct Round {
    found: Vec<Waiting>,
    /// Goroutines inside the audit broker, and what started each.
    handlers: Vec<(u64, Option<u64>, Phase)>,
    said: AllSaid,
    seen: Vec<Sighting>,
}

impl GoroutineReader {
    /// Of a running process with this executable and its debugging information, if it has any that can
    /// be read; an error says why its goroutines cannot be read.
    pub fn new(
        pid: i32,
        executable: &Executable<'_>,
        debug: Option<&dwarf::Sections>,
    ) -> Result<Self> {
        // By how much it lies elsewhere than it says, if it is position-independent.
        let moved = memory::entry(pid)?.wrapping_sub(executable.entry());
        let symbols = symbols::read(executable, moved)?;
        let devices = symbols.device_types.keys().map(String::as_str);
        let devices = devices.chain(device::STRUCTURES);
        let names: Vec<_> = goroutine::STRUCTURES.into_iter().chain(devices).collect();
        let described = debug.and_then(|debug| debug.structures(&names).ok());
        let (structures, assumed) = match described {
            Some(structures) => (structures, None),
            None => assume(executable).map(|(structures, version)| (structures, Some(version)))?,
        };
        let variables = debug.map(|debug| Variables::new(executable, debug, moved));
        let variables = variables.unwrap_or_default();
        let requests = debug.map(|debug| Requests::new(debug, &variables));
        Ok(Self {
            list: symbols.list,
            layout: Layout::new(&structures)?,
            functions: symbols.functions,
            devices: Devices::new(executable.machine(), &structures, &symbols.device_types),
            variables,
            requests: requests.unwrap_or_default(),
            known: Mutex::default(),
            parks: symbols.parks,
            shares_clock: shares_clock(pid),
            assumed,
        })
    }

    /// Whether what was assumed of the program is true of the process: nearly all goroutines that wait
    /// do so in one function, wherever its offsets and its list are. Fails if not, or if it is gone.
    pub fn verify(&self, memory: &impl Memory) -> Result<()> {
        let Some(version) = &self.assumed else {
            return Ok(());
        };
        let all = self.goroutines(memory, &mut List::default())?;
        let parked = all.iter().filter(|g| g.is_parked());
        let (parked, strange): (Vec<_>, Vec<_>) = parked.partition(|g| self.is_in_park(g));
        ensure!(
            parked.len() > strange.len(),
            "the server was stripped of its debugging information, and its goroutines are not as {version} has them"
        );
        Ok(())
    }

    fn is_in_park(&self, goroutine: &Goroutine) -> bool {
        let parks = self.parks.as_ref();
        parks.is_some_and(|parks| parks.contains(&goroutine.pc.wrapping_sub(1)))
    }

    /// Whether entries are written by sinks, in goroutines of their own, rather than in the request's.
    pub fn has_sinks(&self) -> bool {
        let is_sink =
            |role| matches!(role, method::Function::Device(code, _) if code.style == Style::Sink);
        self.functions.any(is_sink)
    }

    /// What is not exact about it, for the operator.
    pub fn doubts(&self) -> Option<String> {
        self.assumed.as_ref().map(|version| {
            format!(
                "the server was stripped of its debugging information: its goroutines are read as {version} has them, but not which device one waits for; an executable that was not stripped (built without -ldflags=-w) would tell"
            )
        })
    }

    /// Samples all stacks. Fails if the server is gone; goroutines that cannot be read are left out.
    pub fn sample(&self, memory: &impl Memory) -> io::Result<Samples> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.goroutines(memory, &mut known.list)?;
        let parents = Parents::new(&all);
        let last = mem::take(&mut known.seen);
        let (mut round, mut fresh) = (Round::default(), Vec::new());
        let mut sights = last.in_order();
        for goroutine in &all {
            if goroutine.is_running() {
                // Its stack cannot be read while it runs.
                let was_handler = sights.before_this_run(goroutine).and_then(|s| s.handler);
                round.handler(goroutine, was_handler);
            } else if goroutine.saved_its_stack() {
                match sights.of(goroutine) {
                    Some(sight) if sight.dull => round.take(goroutine, None, sight.clone()),
                    sight => fresh.push((goroutine, sight)),
                }
            }
        }
        each_stack(memory, &fresh, |(goroutine, sight), stack| {
            let frames = stack.frames(goroutine);
            let functions: Vec<_> = frames.iter().map(|f| self.functions.at(f.pc)).collect();
            let waiting = self.look(memory, goroutine, stack, &frames, &functions, &parents);
            let waiting = waiting.map(|waiting| Waiting {
                still: sight.is_some(),
                ..waiting
            });
            let sight = sight.cloned().unwrap_or_else(|| Sight {
                dull: waiting.is_none(),
                handler: place::handler(&functions),
                said: self.requests.read(memory, &self.variables, stack, &frames),
            });
            let tells = waiting.is_some() || sight.handler.is_some() || sight.said.is_some();
            if !tells || self.is_still(memory, goroutine) {
                round.take(goroutine, waiting, sight);
            }
        });
        let samples = Samples {
            handlers: self.has_broker().then(|| round.handlers(&parents)),
            waiting: round.found(&parents, &mut known.ties),
        };
        known.seen = Seen::of(round.seen);
        Ok(samples)
    }

    fn has_broker(&self) -> bool {
        self.functions
            .any(|role| method::Function::broker(role).is_some())
    }

    /// All that live.
    fn goroutines(&self, memory: &impl Memory, list: &mut List) -> io::Result<Vec<Goroutine>> {
        let addresses = list.read(memory, self.list)?;
        let mut found = Vec::with_capacity(addresses.len());
        memory::each(memory, addresses, self.layout.size(), |address, bytes| {
            let goroutine = self.layout.read(address, bytes);
            found.extend(Some(goroutine).filter(Goroutine::lives));
        });
        Ok(found)
    }

    /// At one that waits, for whatever; `None` if that is no business of an audit device.
    fn look(
        &self,
        memory: &impl Memory,
        goroutine: &Goroutine,
        stack: Stack<'_>,
        frames: &[Frame],
        functions: &[Option<&functions::Known>],
        parents: &Parents<'_>,
    ) -> Option<Waiting> {
        goroutine.stands_still().then_some(())?;
        let found = place::find(functions)?;
        let (inner, entry) = found.frames;
        let receivers = [frames[entry].record, frames[inner].record];
        Some(Waiting {
            goid: goroutine.goid,
            ancestors: parents.line(goroutine.parent).collect(),
            request: found.code.request(goroutine, parents),
            at: found.at,
            since: self.queued_since(found.at, stack, frames),
            still: false,
            code: found.code,
            phase: found.phase,
            device: self.devices.read(memory, found.code, stack, receivers),
            frames: place::names(functions),
            entry: None,
        })
    }

    fn queued_since(&self, at: WaitReason, stack: Stack<'_>, frames: &[Frame]) -> Option<Nanos> {
        let queues = self.shares_clock && at == WaitReason::Lock;
        queues.then(|| self.variables.queued_since(stack, frames))?
    }

    /// Whether it has not moved on while its stack was read.
    fn is_still(&self, memory: &impl Memory, goroutine: &Goroutine) -> bool {
        let mut bytes = vec![0; self.layout.size()];
        let read = memory.read(goroutine.address, &mut bytes);
        read.is_ok() && self.layout.read(goroutine.address, &bytes) == *goroutine
    }
}

impl Round {
    fn take(&mut self, goroutine: &Goroutine, waiting: Option<Waiting>, sight: Sight) {
        self.found.extend(waiting);
        self.handler(goroutine, sight.handler);
        if let Some(said) = &sight.said {
            self.said.add(goroutine.goid, said.clone());
        }
        self.seen.extend(Sighting::of(goroutine, sight));
    }

    fn handler(&mut self, goroutine: &Goroutine, phase: Option<Phase>) {
        let handler = phase.map(|phase| (goroutine.goid, goroutine.parent, phase));
        self.handlers.extend(handler);
    }

    fn handlers(&mut self, parents: &Parents<'_>) -> Vec<HandlerSample> {
        let handlers = self.handlers.drain(..);
        let said = &self.said;
        let mut handlers: Vec<_> = handlers
            .map(|(goid, parent, phase)| HandlerSample {
                goid,
                ancestors: parents.line(parent).collect(),
                phase: Some(phase),
                entry: said.of(goid).cloned(),
            })
            .collect();
        handlers.sort_by_key(|handler| handler.goid);
        handlers
    }

    fn found(&mut self, parents: &Parents<'_>, ties: &mut Ties) -> Vec<Waiting> {
        ties.learn(&self.said, |goid| parents.lives(goid));
        let mut found = mem::take(&mut self.found);
        for waiting in &mut found {
            let line = iter::once(waiting.goid).chain(waiting.ancestors.iter().copied());
            if let Some((request, entry)) = self.said.of_line(line, ties) {
                waiting.is_of(request, entry, parents);
            }
        }
        found.sort_by_key(|waiting| waiting.goid);
        found
    }
}

impl Waiting {
    /// The request's goroutine is above it, even if one between them lives no more.
    fn is_of(&mut self, request: u64, entry: EntryHead, parents: &Parents<'_>) {
        let is_above = |goid: &u64| *goid == request;
        if request != self.goid && !self.ancestors.iter().any(is_above) {
            let further = parents.line(Some(request));
            self.ancestors.extend(further);
            self.ancestors.truncate(MAX_ANCESTORS);
        }
        self.request = Some(request);
        self.entry = Some(entry);
    }
}

/// A time namespace may have moved it for its processes (`time_namespaces(7)`). Kernels before 5.6 have none.
fn shares_clock(pid: i32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/time")).ok();
    namespace(&pid.to_string()) == namespace("self")
}

/// What a program that says nothing of its runtime is believed to be like, by its version of Go.
fn assume(executable: &Executable<'_>) -> Result<(dwarf::Structures, String)> {
    let version = buildinfo::read(executable).and_then(|build| build.version);
    let version = version.unwrap_or_else(|| "an unknown version of Go".to_owned());
    let structures = table::structures(&version).with_context(|| {
        format!("the server was stripped of its debugging information, and this version of vault-tracer does not know the goroutines of {version}: an executable that was not stripped (built without -ldflags=-w) would tell")
    })?;
    Ok((structures, version))
}

/// Those stacks that can be read.
fn each_stack(
    memory: &impl Memory,
    goroutines: &[Fresh<'_>],
    mut take: impl FnMut(Fresh<'_>, Stack<'_>),
) {
    let pieces = goroutines.iter().map(|g| Some((*g, Stack::piece(g.0)?)));
    let (goroutines, pieces): (Vec<_>, Vec<_>) = pieces.flatten().unzip();
    memory::in_batches(memory, &pieces, |i, bytes| {
        if let Some(bytes) = bytes {
            take(goroutines[i], Stack::of(pieces[i], bytes));
        }
    });
}

impl DeviceCode {
    /// A backend runs in the request's goroutine. A sink runs in one of its own, which a goroutine
    /// started that waits for all sinks of the entry, which the request's goroutine started
    /// (`hashicorp/eventlogger`, `graph.go`, `process`).
    fn request(self, goroutine: &Goroutine, parents: &Parents<'_>) -> Option<u64> {
        match self.style {
            Style::Backend => Some(goroutine.goid),
            Style::Sink => parents.of(goroutine.parent?),
        }
    }
}

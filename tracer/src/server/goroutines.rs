//! Samples of the stacks of the running server's goroutines: which wait in the code of an audit device, for what, and
//! which requests are inside the audit broker.
//!
//! A request that queues for a device makes no system call while it waits, so no probe sees it. The server's memory shows
//! it: the list of all goroutines (`runtime/proc.go`, `allgs`), the state of each (`runtime/runtime2.go`, `g`) and the
//! return addresses on its stack, which the frame pointers lead to (`runtime/tracestack.go`, `fpTracebackPCs`). The
//! server is not stopped for it: what is read may be torn, so every value is checked, and a goroutine that was found is
//! read once more to see that it has not moved.

mod audit_table;
mod device;
mod device_kind;
mod dump;
mod function_name;
mod functions;
mod go_map;
mod goroutine;
mod list;
mod machine_code;
mod memory;
mod pclntab;
mod permission;
mod polled;
mod requests;
mod roles;
mod runtime_types;
mod sample;
mod stack;
mod stack_cache;
mod symbols;
#[cfg(test)]
pub(crate) mod tests;
mod variables;
mod version;
mod wait;

use std::{collections::BTreeSet, fs, io, ops::Range, sync::Mutex};

use anyhow::{Context, Result, ensure};

use self::{
    audit_table::{AuditTable, LastTable},
    device::DeviceLayouts,
    functions::Functions,
    goroutine::{Goroutine, GoroutineLayout},
    list::GoroutineList,
    requests::{RequestReader, SinkRequests},
    roles::{DeviceStyle, FunctionRole},
    stack_cache::StackCache,
    variables::Variables,
    version::VersionVariables,
};
pub use self::{
    dump::{StackGroup, Stacks, function_names},
    memory::{Memory, Piece, ProcessMemory},
    sample::Samples,
};
pub(crate) use self::{
    polled::{PollUse, PolledSocket},
    roles::has_variables,
};
use super::{
    executable::Executable,
    generation::AuditMark,
    go::{buildinfo, dwarf, table},
};

/// Reads the goroutines of one process, with what its executable says about them.
#[derive(Debug)]
pub struct GoroutineReader {
    /// Address of `runtime.allgs`, a slice of pointers.
    list: u64,
    layout: GoroutineLayout,
    functions: Functions,
    devices: DeviceLayouts,
    /// What its functions show of how it audits.
    marks: BTreeSet<AuditMark>,
    version: VersionVariables,
    variables: Variables,
    requests: RequestReader,
    table: AuditTable,
    history: Mutex<History>,
    /// `runtime.waitReasonStrings`: what goroutines wait for in the runtime's words.
    wait_reasons: Option<u64>,
    /// `runtime.gopark`, where nearly all goroutines are that wait.
    parks: Option<Range<u64>>,
    /// Offset in the executable of the function by which each line of its log passes, bytes.
    log_writer: Option<u64>,
    /// Whether the server reads the same `CLOCK_MONOTONIC` as the kernel's probes.
    shares_clock: bool,
    /// The version of Go whose offsets are used because the executable does not say its own.
    assumed: Option<String>,
}

/// What is kept from one sample to the next.
#[derive(Debug, Default)]
struct History {
    list: GoroutineList,
    stacks: StackCache,
    sinks: SinkRequests,
    table: LastTable,
}

impl GoroutineReader {
    /// For a running process with this executable and its debugging information, if it has any that can
    /// be read. The error says why its goroutines cannot be read.
    pub(crate) fn new(
        pid: i32,
        executable: &Executable<'_>,
        debug: Option<&dwarf::Sections>,
    ) -> Result<Self> {
        // Not zero if it is position-independent.
        let load_bias = memory::entry(pid)?.wrapping_sub(executable.entry());
        let shares_clock = shares_clock(pid);
        Ok(Self {
            shares_clock,
            // The error is reported by whoever opens it next.
            ..Self::of(
                executable,
                debug,
                (load_bias, ProcessMemory::open(pid).ok()),
            )?
        })
    }

    /// For a program whose addresses differ by so much from those in its file, with its memory while it runs.
    fn of(
        executable: &Executable<'_>,
        debug: Option<&dwarf::Sections>,
        (load_bias, memory): (u64, Option<ProcessMemory>),
    ) -> Result<Self> {
        let symbols = symbols::read(executable, load_bias)?;
        let devices = symbols.device_types.keys().map(String::as_str);
        let devices = devices.chain(device_kind::STRUCTURES);
        let names: Vec<_> = goroutine::STRUCTURES.into_iter().chain(devices).collect();
        let described = debug.and_then(|debug| debug.structures(&names).ok());
        let (structures, assumed) = if let Some(structures) = described {
            (structures, None)
        } else {
            let (mut structures, version) = assume(executable)?;
            if let Some(memory) = memory {
                let names = [&names[goroutine::STRUCTURES.len()..], &requests::STRUCTURES].concat();
                structures.extend(runtime_types::structures(
                    executable, &memory, load_bias, &names,
                ));
            }
            (structures, Some(version))
        };
        let (variables, requests) = match debug {
            Some(debug) => {
                let variables = Variables::new(executable, debug, load_bias);
                let requests = RequestReader::new(debug, &variables);
                (variables, requests)
            }
            None => (
                Variables::of_arguments(executable.machine(), symbols.arguments),
                RequestReader::of_types(&structures),
            ),
        };
        let table = debug.map(|debug| AuditTable::new(debug, &variables));
        Ok(Self {
            list: symbols.list,
            layout: GoroutineLayout::new(&structures)?,
            functions: symbols.functions,
            marks: symbols.marks,
            version: symbols.version,
            devices: DeviceLayouts::new(executable.machine(), &structures, &symbols.device_types),
            variables,
            requests,
            table: table.unwrap_or_default(),
            history: Mutex::default(),
            wait_reasons: symbols.wait_reasons,
            parks: symbols.parks,
            log_writer: symbols
                .log_writer
                .and_then(|address| executable.offset_of_code(address)),
            shares_clock: true,
            assumed,
        })
    }

    /// Checks what was assumed about the program: nearly all goroutines that wait do so in one function, if its
    /// offsets and its list are right. Fails if they are not, or if the process is gone.
    pub(crate) fn verify(&self, memory: &impl Memory) -> Result<()> {
        let Some(version) = &self.assumed else {
            return Ok(());
        };
        let all = self.goroutines(memory, &mut GoroutineList::default())?;
        let parked = all.iter().filter(|g| g.is_parked());
        let (parked, strange): (Vec<_>, Vec<_>) = parked.partition(|g| self.is_in_park(g));
        ensure!(
            parked.len() > strange.len(),
            "the server was stripped of its debugging information, and its goroutines do not have the layout of {version}"
        );
        Ok(())
    }

    fn is_in_park(&self, goroutine: &Goroutine) -> bool {
        let parks = self.parks.as_ref();
        parks.is_some_and(|parks| parks.contains(&goroutine.pc.wrapping_sub(1)))
    }

    /// Offset in the executable of the function by which each line of the server's log passes, bytes.
    pub(crate) fn log_writer(&self) -> Option<u64> {
        self.log_writer
    }

    /// Whether entries are written by sinks, in goroutines of their own, rather than in the request's.
    pub(crate) fn has_sinks(&self) -> bool {
        let is_sink =
            |role| matches!(role, FunctionRole::Device(code, _) if code.style == DeviceStyle::Sink);
        self.functions.any(is_sink)
    }

    /// Whether the request of each entry is known: its goroutine writes the entry, or the debugging information describes the
    /// arguments on the stacks.
    pub(crate) fn knows_entries(&self) -> bool {
        !self.has_sinks() || self.requests != RequestReader::default()
    }

    /// What its functions show of how it audits.
    pub(crate) fn marks(&self) -> &BTreeSet<AuditMark> {
        &self.marks
    }

    /// The server's own version, from its memory: `2.1.0-beta1`.
    pub(crate) fn version(&self, memory: &impl Memory) -> Option<String> {
        self.version.read(memory)
    }

    /// The limits of what is read, for the operator.
    pub(crate) fn doubts(&self) -> Option<String> {
        let version = self.assumed.as_ref()?;
        let mut unknown = vec!["what its operator called its devices"];
        if !self.devices.are_known() {
            unknown.push("which of several devices one waits for");
        }
        if !self.knows_entries() {
            unknown.push("the IDs of requests that wrote no entry");
        }
        let unknown = unknown.join(", ");
        Some(format!(
            "the server was stripped of its debugging information: its goroutines are read by the layout of {version}, and this is not known: {unknown}; run an executable that was not stripped (built without -ldflags=-w)"
        ))
    }

    /// All that are alive.
    fn goroutines(
        &self,
        memory: &impl Memory,
        list: &mut GoroutineList,
    ) -> io::Result<Vec<Goroutine>> {
        let mut found = Vec::new();
        self.each_goroutine(memory, list, |goroutine, _| found.push(goroutine))?;
        Ok(found)
    }

    /// Passes each that is alive with its bytes, in the order of their addresses.
    fn each_goroutine(
        &self,
        memory: &impl Memory,
        list: &mut GoroutineList,
        mut take: impl FnMut(Goroutine, &[u8]),
    ) -> io::Result<()> {
        let addresses = list.read(memory, self.list)?;
        memory::each(memory, addresses, self.layout.size(), |address, bytes| {
            let goroutine = self.layout.read(address, bytes);
            if goroutine.is_alive() {
                take(goroutine, bytes);
            }
        });
        Ok(())
    }

    /// Whether it has not moved on while its stack was read.
    fn is_unchanged(&self, memory: &impl Memory, goroutine: &Goroutine) -> bool {
        let mut bytes = vec![0; self.layout.size()];
        let read = memory.read(goroutine.address, &mut bytes);
        read.is_ok() && self.layout.read(goroutine.address, &bytes) == *goroutine
    }
}

/// A time namespace may have moved the clock for its processes (`time_namespaces(7)`). Kernels before 5.6 have none.
fn shares_clock(pid: i32) -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/time")).ok();
    namespace(&pid.to_string()) == namespace("self")
}

/// The structures of a program that does not describe them, by its version of Go.
fn assume(executable: &Executable<'_>) -> Result<(dwarf::Structures, String)> {
    let version = buildinfo::read(executable).and_then(|build| build.version);
    let version = version.unwrap_or_else(|| "an unknown version of Go".to_owned());
    let structures = table::structures(&version).with_context(|| {
        format!("the server was stripped of its debugging information, and this version of vault-tracer does not know the goroutines of {version}: run an executable that was not stripped (built without -ldflags=-w)")
    })?;
    Ok((structures, version))
}

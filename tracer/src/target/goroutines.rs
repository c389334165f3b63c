//! Which goroutines of the running server wait in the code of an audit device, and for what.
//!
//! A request that queues for a device makes no system call while it waits, so no probe sees it. But
//! the server's own memory tells: the list of all goroutines (`runtime/proc.go`, `allgs`), what each
//! does (`runtime/runtime2.go`, `g`) and the return addresses on its stack, which the frame pointers
//! lead to (`runtime/tracestack.go`, `fpTracebackPCs`). The server is not stopped for it: what is read
//! may be torn, so all of it is doubted, and who was found is looked at again before being believed.

mod device;
mod functions;
mod goroutine;
mod memory;
mod method;
mod place;
mod seen;
mod stack;
mod symbols;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fs::File,
    io, iter, mem,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result};
use object::{Object, ReadCache, ReadRef};

pub use self::{
    device::Configured,
    memory::{Memory, Piece, ProcessMemory},
    method::{DeviceCode, Kind, Style},
};
use self::{
    device::Devices,
    functions::Functions,
    goroutine::{Goroutine, Layout},
    seen::Seen,
    stack::Stack,
};
use super::go::dwarf;
use crate::core::{operation::Phase, parked::Place};

/// Goroutines beyond which no further ones are looked at. Go never shortens the list.
const MAX_GOROUTINES: u64 = 100_000;
/// Generations told of one goroutine: a sink's request is two up, its connection three.
const MAX_ANCESTORS: usize = 6;

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
    pub at: Place,
    /// In whose code.
    pub code: DeviceCode,
    /// Which of the request's two entries it has to write, where the code tells.
    pub phase: Option<Phase>,
    /// Which device it is, if that is certain. One that is no socket is told by its kind at least.
    pub device: Option<Configured>,
    /// Functions on its stack that tell what it does, innermost first.
    pub frames: Vec<String>,
}

/// What has to be known of the executable to read its goroutines.
#[derive(Debug)]
pub struct GoroutineReader {
    /// Address of `runtime.allgs`, a slice of pointers.
    list: u64,
    layout: Layout,
    functions: Functions,
    devices: Devices,
    seen: Mutex<Seen>,
}

/// Of each goroutine that lives, which one started it.
type Parents = HashMap<u64, Option<u64>>;

/// What a look at one goroutine says.
enum Look {
    /// It is no business of an audit device.
    Dull,
    /// It moved on meanwhile.
    Moved,
    Waits(Waiting),
}

impl GoroutineReader {
    /// Reads the executable of a running process; an error says why its goroutines cannot be read.
    pub fn new(pid: i32, executable: &File) -> Result<Self> {
        let cache = ReadCache::new(executable);
        let file = object::File::parse(&cache).context("its executable is no ELF file")?;
        let moved = memory::entry(pid)?.wrapping_sub(file.entry());
        Self::of(&file, moved)
    }

    /// `moved`: by how much it lies elsewhere than it says, if it is position-independent.
    fn of<'a, R: ReadRef<'a>>(file: &object::File<'a, R>, moved: u64) -> Result<Self> {
        let symbols = symbols::read(file, moved)?;
        let devices = symbols.device_types.keys().map(String::as_str);
        let devices = devices.chain(device::STRUCTURES);
        let names: Vec<_> = goroutine::STRUCTURES.into_iter().chain(devices).collect();
        let structures = dwarf::structures(file, &names)?
            .context("the server was stripped of its debugging information")?;
        Ok(Self {
            list: symbols.list,
            layout: Layout::new(&structures)?,
            functions: symbols.functions,
            devices: Devices::new(file.architecture(), &structures, &symbols.device_types),
            seen: Mutex::default(),
        })
    }

    /// Who waits now. Fails if the server is gone; goroutines that cannot be read are left out.
    pub fn waiting(&self, memory: &impl Memory) -> io::Result<Vec<Waiting>> {
        let all = self.goroutines(memory)?;
        let parents: Parents = all.iter().map(|g| (g.goid, g.parent)).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let last = mem::take(&mut *seen);
        let still = all.iter().filter(|g| g.stands_still());
        let (dull, fresh): (Vec<_>, Vec<_>) = still.partition(|g| last.is_dull(g));
        for goroutine in dull {
            seen.dull(goroutine);
        }
        let mut found = Vec::new();
        each_stack(memory, &fresh, |goroutine, stack| {
            match self.look(memory, goroutine, stack, &parents) {
                Look::Dull => seen.dull(goroutine),
                Look::Moved => {}
                Look::Waits(waiting) => found.push(waiting),
            }
        });
        found.sort_by_key(|waiting| waiting.goid);
        Ok(found)
    }

    /// All that live.
    fn goroutines(&self, memory: &impl Memory) -> io::Result<Vec<Goroutine>> {
        let (list, len) = (
            memory.word(self.list)?,
            memory.word(self.list.wrapping_add(8))?,
        );
        let mut pointers = vec![0; len.min(MAX_GOROUTINES) as usize * 8];
        memory.read(list, &mut pointers)?;
        let addresses = pointers.chunks_exact(8).map(memory::word).collect();
        let mut found = Vec::new();
        memory::each(memory, addresses, self.layout.size(), |address, bytes| {
            found.push(self.layout.read(address, bytes));
        });
        found.retain(Goroutine::lives);
        Ok(found)
    }

    /// At one that waits, for whatever.
    fn look(
        &self,
        memory: &impl Memory,
        goroutine: &Goroutine,
        stack: Stack<'_>,
        parents: &Parents,
    ) -> Look {
        let frames = stack.frames(goroutine);
        let functions: Vec<_> = frames.iter().map(|f| self.functions.at(f.pc)).collect();
        let Some(found) = place::find(&functions) else {
            return Look::Dull;
        };
        let (inner, entry) = found.frames;
        let receivers = [frames[entry].record, frames[inner].record];
        let waiting = Waiting {
            goid: goroutine.goid,
            ancestors: ancestors(goroutine, parents),
            request: found.code.request(goroutine, parents),
            at: found.at,
            code: found.code,
            phase: found.phase,
            device: self.devices.read(memory, found.code, stack, receivers),
            frames: place::names(&functions),
        };
        if self.is_still(memory, goroutine) {
            Look::Waits(waiting)
        } else {
            Look::Moved
        }
    }

    /// Whether it has not moved on while its stack was read.
    fn is_still(&self, memory: &impl Memory, goroutine: &Goroutine) -> bool {
        let mut bytes = vec![0; self.layout.size()];
        let read = memory.read(goroutine.address, &mut bytes);
        read.is_ok() && self.layout.read(goroutine.address, &bytes) == *goroutine
    }
}

/// Those stacks that can be read.
fn each_stack(
    memory: &impl Memory,
    goroutines: &[&Goroutine],
    mut take: impl FnMut(&Goroutine, Stack<'_>),
) {
    let pieces = goroutines.iter().map(|g| Some((*g, Stack::piece(g)?)));
    let (goroutines, pieces): (Vec<_>, Vec<_>) = pieces.flatten().unzip();
    memory::in_batches(memory, &pieces, |i, bytes| {
        if let Some(bytes) = bytes {
            take(goroutines[i], Stack::of(pieces[i], bytes));
        }
    });
}

/// Those that live. Nobody is his own ancestor, but what is read may be torn.
fn ancestors(goroutine: &Goroutine, parents: &Parents) -> Vec<u64> {
    let parent = |goid: &u64| parents.get(goid).copied().flatten();
    let ancestors = iter::successors(goroutine.parent, parent);
    ancestors
        .take_while(|goid| *goid != 0)
        .take(MAX_ANCESTORS)
        .collect()
}

impl DeviceCode {
    /// A backend runs in the request's goroutine. A sink runs in one of its own, which a goroutine
    /// started that waits for all sinks of the entry, which the request's goroutine started
    /// (`hashicorp/eventlogger`, `graph.go`, `process`).
    fn request(self, goroutine: &Goroutine, parents: &Parents) -> Option<u64> {
        match self.style {
            Style::Backend => Some(goroutine.goid),
            Style::Sink => *parents.get(&goroutine.parent?)?,
        }
    }
}

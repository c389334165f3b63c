//! Which goroutines of the running server wait in the code of a socket audit device, and for what.
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
mod place;
mod stack;
mod symbols;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fs::File, io};

use anyhow::{Context, Result};
use object::{Object, ReadCache, ReadRef};

pub use self::{
    device::Configured,
    functions::DeviceCode,
    memory::{Memory, ProcessMemory},
};
use self::{
    device::Devices,
    functions::Functions,
    goroutine::{Goroutine, Layout},
    stack::Stack,
};
use super::go::dwarf;
use crate::core::{operation::Phase, parked::Place};

/// Goroutines beyond which no further ones are looked at. Go never shortens the list.
const MAX_GOROUTINES: u64 = 100_000;

/// A goroutine that waits in the code of a socket audit device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its ID.
    pub goid: u64,
    /// The goroutine that started it; unknown before Go 1.21.
    pub parent: Option<u64>,
    /// The goroutine that works on the client's request, if it is known.
    pub request: Option<u64>,
    /// For what it waits.
    pub at: Place,
    /// In whose code.
    pub code: DeviceCode,
    /// Which of the request's two entries it has to write, where the code tells.
    pub phase: Option<Phase>,
    /// Which device it is, if that is certain.
    pub device: Option<Configured>,
}

/// What has to be known of the executable to read its goroutines.
#[derive(Debug)]
pub struct GoroutineReader {
    /// Address of `runtime.allgs`, a slice of pointers.
    list: u64,
    layout: Layout,
    functions: Functions,
    devices: Devices,
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
        let names: Vec<_> = goroutine::STRUCTURES.into_iter().chain(devices).collect();
        let structures = dwarf::structures(file, &names)?
            .context("the server was stripped of its debugging information")?;
        Ok(Self {
            list: symbols.list,
            layout: Layout::new(&structures)?,
            functions: symbols.functions,
            devices: Devices::new(file.architecture(), &structures, &symbols.device_types),
        })
    }

    /// Who waits now. Fails if the server is gone; goroutines that cannot be read are left out.
    pub fn waiting(&self, memory: &impl Memory) -> io::Result<Vec<Waiting>> {
        let all = self.goroutines(memory)?;
        let parents: HashMap<_, _> = all.iter().map(|g| (g.goid, g.parent)).collect();
        let waiting = all.iter().filter(|g| g.waits());
        let mut found: Vec<_> = waiting
            .filter_map(|goroutine| self.look(memory, goroutine, &parents))
            .collect();
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
        parents: &HashMap<u64, Option<u64>>,
    ) -> Option<Waiting> {
        let stack = Stack::read(memory, goroutine).ok()?;
        let frames = stack.frames(goroutine);
        let functions: Vec<_> = frames.iter().map(|f| self.functions.at(f.pc)).collect();
        let found = place::find(&functions)?;
        let receiver = frames[found.entry].record;
        let waiting = Waiting {
            goid: goroutine.goid,
            parent: goroutine.parent,
            request: found.code.request(goroutine, parents),
            at: found.at,
            code: found.code,
            phase: found.phase,
            device: self.devices.read(memory, found.code, &stack, receiver),
        };
        self.is_still(memory, goroutine).then_some(waiting)
    }

    /// Whether it has not moved on while its stack was read.
    fn is_still(&self, memory: &impl Memory, goroutine: &Goroutine) -> bool {
        let mut bytes = vec![0; self.layout.size()];
        let read = memory.read(goroutine.address, &mut bytes);
        read.is_ok() && self.layout.read(goroutine.address, &bytes) == *goroutine
    }
}

impl DeviceCode {
    /// A backend runs in the request's goroutine. A sink runs in one of its own, which a goroutine
    /// started that waits for all sinks of the entry, which the request's goroutine started
    /// (`hashicorp/eventlogger`, `graph.go`, `process`).
    fn request(self, goroutine: &Goroutine, parents: &HashMap<u64, Option<u64>>) -> Option<u64> {
        match self {
            Self::Backend => Some(goroutine.goid),
            Self::Sink => *parents.get(&goroutine.parent?)?,
        }
    }
}

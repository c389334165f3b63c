//! The kernel side's holding back of routine, from here: on and off, what each socket is for, and what was kept.

use std::mem;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
    util::nr_cpus,
};
use log::debug;
use tracer_ebpf::abi::{self, Connection, Count, EntryRecord, HELD, Record};

use super::{
    holding::KernelSide,
    routine::{Kept, Last, Role},
};
use crate::decode::{Kernel, decode};
use tracer_model::{BufferedTotals, Event, SocketId};

/// Entries that are kept, in all. As many as a loaded server writes in a second.
const ENTRIES: u32 = 1 << 12;

/// The least room there is for connections, of clients or of all kinds, and the most.
const CONNECTIONS: (u32, u32) = (1 << 14, 1 << 18);

/// Entries of each processor that are looked at to see how audit sockets do: a server writes each to all its devices.
const NEWEST: u64 = 4;

/// Totals, by [`Count`].
type Counts = [u64; abi::COUNTS as usize];

/// `record.flags`.
const FLAGS: usize = mem::offset_of!(Record, flags);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bytes<T>(T);
// SAFETY: arrays of bytes: no padding, any bytes are valid.
unsafe impl Pod for Bytes<[u8; size_of::<Connection>()]> {}
// SAFETY: as above.
unsafe impl Pod for Bytes<[u8; size_of::<EntryRecord>()]> {}

/// How large the tables are.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    connections: u32,
    /// Slots for entries, of each processor.
    share: u32,
    processors: u32,
}

impl Sizes {
    /// For a server with so many open sockets. Fails if the kernel does not tell its processors.
    pub fn of(sockets: usize) -> Result<Self> {
        let processors = nr_cpus()
            .map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))
            .context("cannot tell how many processors there are")?;
        let processors = u32::try_from(processors).unwrap_or(1).max(1);
        let sockets = u32::try_from(sockets).unwrap_or(u32::MAX);
        let (least, most) = CONNECTIONS;
        Ok(Self {
            connections: sockets
                .saturating_mul(4)
                .clamp(least, most)
                .next_power_of_two(),
            share: (ENTRIES / processors.next_power_of_two()).max(64),
            processors,
        })
    }

    /// Sets them before the object is loaded.
    pub fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .map_max_entries("SOCKETS", self.connections)
            .map_max_entries("CONNECTIONS", self.connections)
            .map_max_entries("TANK", self.share * self.processors)
            .override_global("TANK_SHARE", &self.share, true);
    }
}

/// The maps of it.
pub struct Hold {
    switch: Array<MapData, u32>,
    roles: HashMap<MapData, u64, u32>,
    said: Array<MapData, u32>,
    goroutines: HashMap<MapData, u64, u32>,
    connections: HashMap<MapData, u64, Bytes<[u8; size_of::<Connection>()]>>,
    tank: Array<MapData, Bytes<[u8; size_of::<EntryRecord>()]>>,
    filled: PerCpuArray<MapData, u64>,
    counted: PerCpuArray<MapData, u64>,
    sizes: Sizes,
    /// What records mean.
    meaning: Kernel,
    /// Whether requests of HTTP/2 are counted by who writes their entries.
    streams: bool,
    /// How many entries of each processor have been taken or passed over.
    taken: Vec<u64>,
    /// The counters when they were last taken.
    before: Counts,
}

impl Hold {
    /// Takes the maps out of the loaded object.
    pub fn new(object: &mut Ebpf, sizes: Sizes, streams: bool) -> Result<Self> {
        let mut hold = Self {
            switch: Array::try_from(take(object, "HOLD")?)?,
            roles: HashMap::try_from(take(object, "ROLES")?)?,
            said: Array::try_from(take(object, "SAID")?)?,
            goroutines: HashMap::try_from(take(object, "GOROUTINES")?)?,
            connections: HashMap::try_from(take(object, "CONNECTIONS")?)?,
            tank: Array::try_from(take(object, "TANK")?)?,
            filled: PerCpuArray::try_from(take(object, "FILLED")?)?,
            counted: PerCpuArray::try_from(take(object, "COUNTED")?)?,
            sizes,
            meaning: Kernel::default(),
            streams,
            taken: Vec::new(),
            before: Counts::default(),
        };
        hold.taken = vec![0; hold.filled()?.len()];
        Ok(hold)
    }

    /// With what records mean on the running kernel.
    #[must_use]
    pub fn with(self, meaning: Kernel) -> Self {
        Self { meaning, ..self }
    }

    /// Has the programs look up what sockets are anew. Only the agent writes the number.
    fn say(&mut self) -> Result<(), MapError> {
        let said = self.said.get(&0, 0)?;
        self.said.set(0, said.wrapping_add(1), 0)
    }

    fn total(&self, index: u32) -> Result<u64> {
        let each = self.counted.get(&index, 0)?;
        Ok(each.iter().copied().fold(0, u64::wrapping_add))
    }

    fn totals(&self) -> Result<Counts> {
        let mut totals = Counts::default();
        for (index, total) in totals.iter_mut().enumerate() {
            *total = self.total(index as u32)?;
        }
        Ok(totals)
    }

    fn since_before(&self, totals: &Counts) -> BufferedTotals {
        let count = |count: Count| {
            let index = count as usize;
            totals[index].wrapping_sub(self.before[index])
        };
        BufferedTotals {
            requests: count(Count::Answers) + count(Count::Streams),
            at_least: count(Count::Frames) > 0 && !self.streams,
            audit_writes: count(Count::Entries),
            ..BufferedTotals::default()
        }
    }

    /// The entry with this number, of those that this processor has kept.
    fn entry(&self, processor: usize, number: u64) -> Result<Option<Event>> {
        let share = u64::from(self.sizes.share);
        let slot = processor as u64 * share + number % share;
        let Bytes(bytes) = self.tank.get(&u32::try_from(slot)?, 0)?;
        Ok(decode(&bytes, &self.meaning).ok())
    }

    fn filled(&self) -> Result<Vec<u64>> {
        Ok(self.filled.get(&0, 0)?.iter().copied().collect())
    }
}

impl KernelSide for Hold {
    fn switch(&mut self, on: bool) -> Result<()> {
        self.switch
            .set(0, if on { abi::HOLD } else { abi::TELL }, 0)
            .context("cannot tell the eBPF programs what to tell")
    }

    /// That it is forgotten where sockets are too many costs records, no more.
    fn set_role(&mut self, socket: SocketId, role: Role) {
        let role = match role {
            Role::Audit => abi::AUDIT,
            Role::Other => abi::OTHER,
        };
        let set = self.roles.insert(socket.born, role, 0);
        if let Err(error) = set.and_then(|()| self.say()) {
            debug!("the role of a socket was not set: {error}");
        }
    }

    fn routine(&mut self) -> Result<BufferedTotals> {
        let totals = self.totals()?;
        let routine = self.since_before(&totals);
        self.before = totals;
        Ok(routine)
    }

    fn so_far(&self) -> Result<BufferedTotals> {
        Ok(self.since_before(&self.totals()?))
    }

    fn newest(&self) -> Result<Vec<Event>> {
        let mut entries = Vec::new();
        for (processor, filled) in self.filled()?.into_iter().enumerate() {
            let oldest = filled.saturating_sub(NEWEST.min(self.sizes.share.into()));
            for number in oldest..filled {
                entries.extend(self.entry(processor, number)?);
            }
        }
        Ok(entries)
    }

    fn counts_streams(&self) -> bool {
        self.streams
    }

    fn receives(&self) -> Result<u64> {
        self.total(Count::Receives as u32)
    }

    fn sockets(&self) -> Result<(u64, u64)> {
        let known = self.total(Count::Sockets as u32)?;
        Ok((known, u64::from(self.sizes.connections)))
    }

    fn reads(&self, goid: u64) -> bool {
        self.goroutines
            .get(&goid, 0)
            .is_ok_and(|role| role == abi::READS)
    }

    fn connections(&self) -> Vec<Last> {
        let found = self.connections.iter().filter_map(|found| {
            let (_, Bytes(bytes)) = found.ok()?;
            let (received, sent) = bytes.split_at(size_of::<Record>());
            Some(Last {
                received: kept(received, &self.meaning),
                sent: kept(sent, &self.meaning),
            })
        });
        found.collect()
    }

    fn entries(&mut self) -> Result<Vec<Event>> {
        let mut entries = Vec::new();
        let filled = self.filled()?;
        for (processor, filled) in filled.iter().enumerate() {
            let share = u64::from(self.sizes.share);
            let oldest = filled.saturating_sub(share).max(self.taken[processor]);
            for number in oldest..*filled {
                entries.extend(self.entry(processor, number)?);
            }
        }
        self.taken = filled;
        Ok(entries)
    }
}

/// Nothing where nothing was.
fn kept(bytes: &[u8], meaning: &Kernel) -> Option<Kept> {
    let event = decode(bytes, meaning).ok().filter(|event| event.at > 0)?;
    let flags = u16::from_ne_bytes([bytes[FLAGS], bytes[FLAGS + 1]]);
    Some(Kept {
        event,
        is_told: flags & HELD == 0,
    })
}

/// A map of the loaded object.
pub fn take(object: &mut Ebpf, map: &str) -> Result<Map> {
    object
        .take_map(map)
        .with_context(|| format!("the eBPF object has no map {map}"))
}

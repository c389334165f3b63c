//! The maps of capture mode: the mode, roles of sockets, and the buffers (`tracer-ebpf/src/buffering.rs`).

use std::{io, mem, net::SocketAddr};

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
    util::nr_cpus,
};
use log::debug;
use tracer_ebpf::{
    abi::{
        self, ANSWERED, BUFFERED, Connection, Count, Destination, EntryRecord, EntryRequest, Record,
    },
    capture::{Mode, READS_CONNECTION, Role, ring_slot},
};

use super::{
    KernelSide,
    destination::destination,
    restore::{BufferedConnection, BufferedEvent},
};
use crate::decode::{Kernel, decode};
use tracer_model::{BufferedTotals, Event, SocketId, Transport};

/// Entries that are buffered on all processors together: as many as a loaded server writes in a second.
const ENTRIES: u32 = 1 << 12;

/// Bounds of the capacity for connections.
const CONNECTIONS: (u32, u32) = (1 << 14, 1 << 18);

/// Newest entries of each processor that show the state of audit sockets: a server writes each to all its devices.
const NEWEST: u64 = 4;

/// Values of the counters, by [`Count`].
type Counts = [u64; abi::COUNTS as usize];

/// Offset of `Record::flags`.
const FLAGS: usize = mem::offset_of!(Record, flags);

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bytes<T>(T);
// SAFETY: arrays of bytes: no padding, any bytes are valid.
unsafe impl Pod for Bytes<[u8; size_of::<Connection>()]> {}
// SAFETY: as above.
unsafe impl Pod for Bytes<[u8; size_of::<EntryRecord>()]> {}
// SAFETY: without padding.
unsafe impl Pod for Bytes<Destination> {}
// SAFETY: without padding.
unsafe impl Pod for Bytes<EntryRequest> {}

/// Sizes of the maps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    connections: u32,
    /// Slots for entries of each processor, a power of two.
    slots: u32,
    processors: u32,
}

impl Sizes {
    /// For a server with this many open sockets. Fails if the number of processors is not known.
    pub(crate) fn of(sockets: usize) -> Result<Self> {
        let processors = nr_cpus()
            .map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))
            .context("cannot find out how many processors there are")?;
        let processors = u32::try_from(processors).unwrap_or(1).max(1);
        let sockets = u32::try_from(sockets).unwrap_or(u32::MAX);
        let (least, most) = CONNECTIONS;
        Ok(Self {
            connections: sockets
                .saturating_mul(4)
                .clamp(least, most)
                .next_power_of_two(),
            slots: (ENTRIES / processors.next_power_of_two()).max(64),
            processors,
        })
    }

    /// Sets them before the object is loaded.
    pub(crate) fn set<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        loader
            .map_max_entries("SOCKETS", self.connections)
            .map_max_entries("CONNECTIONS", self.connections)
            .map_max_entries("ENTRY_RING", self.slots * self.processors)
            .override_global("SLOTS_PER_CPU", &self.slots, true);
    }
}

/// The maps.
pub(crate) struct BufferMaps {
    mode: Array<MapData, u32>,
    roles: HashMap<MapData, u64, u32>,
    destinations: HashMap<MapData, Bytes<Destination>, u32>,
    entry_requests: HashMap<MapData, Bytes<EntryRequest>, u32>,
    roles_generation: Array<MapData, u32>,
    goroutine_roles: HashMap<MapData, u64, u32>,
    connections: HashMap<MapData, u64, Bytes<[u8; size_of::<Connection>()]>>,
    entry_ring: Array<MapData, Bytes<[u8; size_of::<EntryRecord>()]>>,
    ring_head: PerCpuArray<MapData, u64>,
    counters: PerCpuArray<MapData, u64>,
    sizes: Sizes,
    kernel: Kernel,
    counts_streams: bool,
    /// Heads of the rings up to which entries have been taken, by processor.
    taken: Vec<u64>,
    /// The counters when totals were last taken.
    before: Counts,
}

impl BufferMaps {
    /// Takes the maps out of the loaded object.
    pub(crate) fn new(object: &mut Ebpf, sizes: Sizes, counts_streams: bool) -> Result<Self> {
        let mut maps = Self {
            mode: Array::try_from(take(object, "CAPTURE_MODE")?)?,
            roles: HashMap::try_from(take(object, "ROLES")?)?,
            destinations: HashMap::try_from(take(object, "DESTINATIONS")?)?,
            entry_requests: HashMap::try_from(take(object, "ENTRY_REQUESTS")?)?,
            roles_generation: Array::try_from(take(object, "ROLES_GENERATION")?)?,
            goroutine_roles: HashMap::try_from(take(object, "GOROUTINE_ROLES")?)?,
            connections: HashMap::try_from(take(object, "CONNECTIONS")?)?,
            entry_ring: Array::try_from(take(object, "ENTRY_RING")?)?,
            ring_head: PerCpuArray::try_from(take(object, "RING_HEAD")?)?,
            counters: PerCpuArray::try_from(take(object, "COUNTERS")?)?,
            sizes,
            kernel: Kernel::default(),
            counts_streams,
            taken: Vec::new(),
            before: Counts::default(),
        };
        maps.taken = vec![0; maps.heads()?.len()];
        Ok(maps)
    }

    /// With what decoding needs to know of the running kernel.
    #[must_use]
    pub(crate) fn with(self, kernel: Kernel) -> Self {
        Self { kernel, ..self }
    }

    /// Makes the programs look up roles anew. Only the agent writes the number.
    fn invalidate_roles(&mut self) -> Result<(), MapError> {
        let generation = self.roles_generation.get(&0, 0)?;
        self.roles_generation.set(0, generation.wrapping_add(1), 0)
    }

    fn forget_role(&mut self, socket: SocketId) -> Result<(), MapError> {
        match self.roles.remove(&socket.born) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            result => result,
        }
    }

    fn counter(&self, index: u32) -> Result<u64> {
        let each = self.counters.get(&index, 0)?;
        Ok(each.iter().copied().fold(0, u64::wrapping_add))
    }

    fn counts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        for (index, count) in counts.iter_mut().enumerate() {
            *count = self.counter(index as u32)?;
        }
        Ok(counts)
    }

    fn totals_of(&self, counts: &Counts) -> BufferedTotals {
        let since_before = |count: Count| {
            let index = count as usize;
            counts[index].wrapping_sub(self.before[index])
        };
        let audits = since_before(Count::Entries) > 0;
        // Requests that other nodes forward are audited here, and answered where nobody sees it.
        let forwarded = audits && since_before(Count::Nodes) > 0;
        // Streams whose handlers write no entry that can be seen.
        let streams = since_before(Count::Streams);
        let has_unseen = since_before(Count::Frames) > 0 && (!self.counts_streams || streams == 0);
        BufferedTotals {
            requests: since_before(Count::Answers) + streams,
            at_least: has_unseen || (forwarded && !self.counts_streams),
            audit_writes: since_before(Count::Entries),
            failed: since_before(Count::FailedAnswers),
            unread: since_before(Count::UnreadAnswers) > 0,
            ..BufferedTotals::default()
        }
    }

    /// The entry that this processor wrote as its `number`th.
    fn entry(&self, processor: usize, number: u64) -> Result<Option<Event>> {
        let slot = ring_slot(u32::try_from(processor)?, number, self.sizes.slots);
        let Bytes(bytes) = self.entry_ring.get(&slot, 0)?;
        Ok(decode(&bytes, &self.kernel).ok().flatten())
    }

    /// Number of entries that each processor has written.
    fn heads(&self) -> Result<Vec<u64>> {
        Ok(self.ring_head.get(&0, 0)?.iter().copied().collect())
    }
}

impl KernelSide for BufferMaps {
    fn mode(&self) -> Result<Mode> {
        let mode = self
            .mode
            .get(&0, 0)
            .context("cannot read the capture mode of the eBPF programs")?;
        Ok(Mode::from_wire(mode))
    }

    fn set_mode(&mut self, mode: Mode) -> Result<()> {
        self.mode
            .set(0, mode as u32, 0)
            .context("cannot set the capture mode of the eBPF programs")
    }

    /// A role that is not set costs records, no more: the programs then send what they could drop or buffer.
    fn set_role(&mut self, socket: SocketId, role: Role) {
        let set = match role {
            // Where it leads, or its own bytes, may show another one.
            Role::Unknown => self.forget_role(socket),
            role => self.roles.insert(socket.born, role as u32, 0),
        };
        if let Err(error) = set.and_then(|()| self.invalidate_roles()) {
            debug!("the role of a socket was not set: {error}");
        }
    }

    /// The same.
    fn set_destination(&mut self, (transport, remote): (Transport, SocketAddr), role: Role) {
        let Some(destination) = destination(transport, remote) else {
            return;
        };
        let set = self.destinations.insert(Bytes(destination), role as u32, 0);
        if let Err(error) = set.and_then(|()| self.invalidate_roles()) {
            debug!("the role of an address was not set: {error}");
        }
    }

    /// The same.
    fn set_entry_request(&mut self, remote: SocketAddr, hash: u64) {
        let Some(destination) = destination(Transport::Tcp, remote) else {
            return;
        };
        let request = Bytes(EntryRequest { destination, hash });
        if let Err(error) = self.entry_requests.insert(request, 0, 0) {
            debug!("how requests with entries begin was not set: {error}");
        }
    }

    fn take_totals(&mut self) -> Result<BufferedTotals> {
        let counts = self.counts()?;
        let totals = self.totals_of(&counts);
        self.before = counts;
        Ok(totals)
    }

    fn totals(&self) -> Result<BufferedTotals> {
        Ok(self.totals_of(&self.counts()?))
    }

    fn take_entries(&mut self) -> Result<Vec<Event>> {
        let mut entries = Vec::new();
        let heads = self.heads()?;
        for (processor, head) in heads.iter().enumerate() {
            let oldest = head.saturating_sub(self.sizes.slots.into());
            for number in oldest.max(self.taken[processor])..*head {
                entries.extend(self.entry(processor, number)?);
            }
        }
        self.taken = heads;
        Ok(entries)
    }

    fn newest_entries(&self) -> Result<Vec<Event>> {
        let mut entries = Vec::new();
        for (processor, head) in self.heads()?.into_iter().enumerate() {
            for number in head.saturating_sub(NEWEST)..head {
                entries.extend(self.entry(processor, number)?);
            }
        }
        Ok(entries)
    }

    fn connections(&self) -> Vec<BufferedConnection> {
        let found = self.connections.iter().filter_map(|found| {
            let (_, Bytes(bytes)) = found.ok()?;
            let (received, sent) = bytes.split_at(size_of::<Record>());
            Some(BufferedConnection {
                received: buffered(received, &self.kernel),
                sent: buffered(sent, &self.kernel),
            })
        });
        found.collect()
    }

    fn counts_streams(&self) -> bool {
        self.counts_streams
    }

    fn is_reader(&self, goid: u64) -> bool {
        let role = self.goroutine_roles.get(&goid, 0);
        role.is_ok_and(|role| role == READS_CONNECTION)
    }

    fn receives(&self) -> Result<u64> {
        self.counter(Count::Receives as u32)
    }

    fn sockets(&self) -> Result<(u64, u64)> {
        let known = self.counter(Count::Sockets as u32)?;
        Ok((known, u64::from(self.sizes.connections)))
    }
}

/// `None` for a record of zeros: there was none yet.
fn buffered(bytes: &[u8], kernel: &Kernel) -> Option<BufferedEvent> {
    let event = decode(bytes, kernel)
        .ok()
        .flatten()
        .filter(|event| event.at > 0)?;
    let flags = u16::from_ne_bytes([bytes[FLAGS], bytes[FLAGS + 1]]);
    Some(BufferedEvent {
        event,
        was_sent: flags & BUFFERED == 0,
        was_answered: flags & ANSWERED != 0,
    })
}

/// Takes a map out of the loaded object.
pub(crate) fn take(object: &mut Ebpf, map: &str) -> Result<Map> {
    object
        .take_map(map)
        .with_context(|| format!("the eBPF object has no map {map}"))
}

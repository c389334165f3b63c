//! The maps of capture mode: the mode, roles of sockets, and the buffers (`tracer-ebpf/src/buffering.rs`).

use std::net::SocketAddr;

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
    util::nr_cpus,
};
use log::debug;
use tracer_ebpf::{
    abi::{
        self, BUFFERED, Control, Count, Counters, Destination, EntryRecord, EntryRequest, Record,
    },
    capture::{Mode, READS_CONNECTION, Role, ring_slot},
    known_socket::KnownSocket,
};

use super::{
    KernelSide,
    destination::destination,
    restore::{BufferedConnection, BufferedEvent},
};
use crate::decode::{Kernel, decode, decode_record};
use tracer_model::{BufferedTotals, Event, SocketId, Transport};

/// Entries that are buffered on all processors together: as many as a loaded server writes in a second.
const ENTRIES: u32 = 1 << 12;

/// Bounds of the capacity for connections.
const CONNECTIONS: (u32, u32) = (1 << 14, 1 << 18);

/// Newest entries of each processor that show the state of audit sockets: a server writes each to all its devices.
const NEWEST: u64 = 4;

const COUNTS: usize = abi::COUNTS as usize;

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Bytes<T>(T);
// SAFETY: numbers only, without padding.
unsafe impl Pod for Bytes<KnownSocket> {}
// SAFETY: as above.
unsafe impl Pod for Bytes<Counters> {}
// SAFETY: an array of bytes.
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
            .map_max_entries("ENTRY_RING", self.slots * self.processors)
            .override_global("SLOTS_PER_CPU", &self.slots, true);
    }
}

/// The maps.
pub(crate) struct BufferMaps {
    control: Array<MapData, u32>,
    roles: HashMap<MapData, u64, u32>,
    destinations: HashMap<MapData, Bytes<Destination>, u32>,
    entry_requests: HashMap<MapData, Bytes<EntryRequest>, u32>,
    goroutine_roles: HashMap<MapData, u64, u32>,
    sockets: HashMap<MapData, u64, Bytes<KnownSocket>>,
    ended_while_frozen: HashMap<MapData, [u64; 2], Bytes<KnownSocket>>,
    entry_ring: Array<MapData, Bytes<[u8; size_of::<EntryRecord>()]>>,
    counters: PerCpuArray<MapData, Bytes<Counters>>,
    sizes: Sizes,
    kernel: Kernel,
    counts_streams: bool,
    /// Heads of the rings up to which entries have been taken, by processor.
    taken: Vec<u64>,
    /// The counters when totals were last taken.
    before: [u64; COUNTS],
}

impl BufferMaps {
    /// Takes the maps out of the loaded object.
    pub(crate) fn new(object: &mut Ebpf, sizes: Sizes, counts_streams: bool) -> Result<Self> {
        let mut maps = Self {
            control: Array::try_from(take(object, "CONTROL")?)?,
            roles: HashMap::try_from(take(object, "ROLES")?)?,
            destinations: HashMap::try_from(take(object, "DESTINATIONS")?)?,
            entry_requests: HashMap::try_from(take(object, "ENTRY_REQUESTS")?)?,
            goroutine_roles: HashMap::try_from(take(object, "GOROUTINE_ROLES")?)?,
            sockets: HashMap::try_from(take(object, "SOCKETS")?)?,
            ended_while_frozen: HashMap::try_from(take(object, "ENDED_WHILE_FROZEN")?)?,
            entry_ring: Array::try_from(take(object, "ENTRY_RING")?)?,
            counters: PerCpuArray::try_from(take(object, "COUNTERS")?)?,
            sizes,
            kernel: Kernel::default(),
            counts_streams,
            taken: Vec::new(),
            before: [0; COUNTS],
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
        let index = Control::RolesGeneration as u32;
        let generation = self.control.get(&index, 0)?;
        self.control.set(index, generation.wrapping_add(1), 0)
    }

    /// Of each processor.
    fn counters(&self) -> Result<Vec<Counters>> {
        let counters = self.counters.get(&0, 0)?;
        Ok(counters.iter().map(|Bytes(counters)| *counters).collect())
    }

    fn counts(&self) -> Result<[u64; COUNTS]> {
        let mut sums = [0; COUNTS];
        for counters in self.counters()? {
            for (sum, count) in sums.iter_mut().zip(counters.counts) {
                *sum = count.wrapping_add(*sum);
            }
        }
        Ok(sums)
    }

    fn count(&self, of: Count) -> Result<u64> {
        Ok(self.counts()?[of as usize])
    }

    fn totals_of(&self, counts: &[u64; COUNTS]) -> BufferedTotals {
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

    /// `None` if its addresses are not known.
    fn buffered(&self, record: &Record) -> Option<BufferedEvent> {
        let event = decode_record(record, &self.kernel).ok()?;
        Some(BufferedEvent {
            event,
            was_sent: record.flags & BUFFERED == 0,
        })
    }

    /// Number of entries that each processor has written.
    fn heads(&self) -> Result<Vec<u64>> {
        let counters = self.counters()?.into_iter();
        Ok(counters.map(|counters| counters.ring_head).collect())
    }
}

impl KernelSide for BufferMaps {
    fn mode(&self) -> Result<Mode> {
        let mode = self
            .control
            .get(&(Control::Mode as u32), 0)
            .context("cannot read the capture mode of the eBPF programs")?;
        Ok(Mode::from_wire(mode))
    }

    fn set_mode(&mut self, mode: Mode) -> Result<()> {
        self.control
            .set(Control::Mode as u32, mode as u32, 0)
            .context("cannot set the capture mode of the eBPF programs")
    }

    /// A role that is not set costs records, no more: the programs then send what they could drop or buffer.
    fn set_role(&mut self, socket: SocketId, role: Role) {
        let set = self.roles.insert(socket.born, role as u32, 0);
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

    fn connections(&mut self) -> Vec<BufferedConnection> {
        let ended: Vec<_> = self.ended_while_frozen.iter().flatten().collect();
        for (key, _) in &ended {
            // What cannot be removed is taken for a connection that is idle.
            let _ = self.ended_while_frozen.remove(key);
        }
        let ended = ended.into_iter();
        let ended = ended.map(|([_, sock], Bytes(socket))| (sock, socket));
        let open = self.sockets.iter().flatten();
        let open = open.map(|(sock, Bytes(socket))| (sock, socket));
        let clients = ended.chain(open).filter(|(_, socket)| socket.accepted != 0);
        let connection = |(sock, socket): (u64, KnownSocket)| {
            let [received, sent] = socket.client_records(sock);
            BufferedConnection {
                received: received.and_then(|record| self.buffered(&record)),
                sent: sent.and_then(|record| self.buffered(&record)),
            }
        };
        clients.map(connection).collect()
    }

    fn counts_streams(&self) -> bool {
        self.counts_streams
    }

    fn is_reader(&self, goid: u64) -> bool {
        let role = self.goroutine_roles.get(&goid, 0);
        role.is_ok_and(|role| role == READS_CONNECTION)
    }

    fn receives(&self) -> Result<u64> {
        self.count(Count::Receives)
    }

    fn sockets(&self) -> Result<(u64, u64)> {
        let known = self.count(Count::Sockets)?;
        Ok((known, u64::from(self.sizes.connections)))
    }
}

/// Takes a map out of the loaded object.
pub(crate) fn take(object: &mut Ebpf, map: &str) -> Result<Map> {
    object
        .take_map(map)
        .with_context(|| format!("the eBPF object has no map {map}"))
}

//! The reading, on memory-up memory.

mod cluster;
mod damage;
mod dump;
pub(crate) mod fuzz;
mod handlers;
mod many;
mod requests;
mod waits;

use std::{cell::Cell, collections::HashMap};

use super::{
    device::FieldPath,
    device_kind::DeviceKind,
    functions::KnownFunction,
    list::MAX_ANCESTORS,
    roles::{DeviceCode, EntryPoint},
    *,
};
use crate::server::go::dwarf::Structures;
use tracer_model::{
    Device, EntryHead, GoroutineSample, HandlerSample, Phase, Transport, WaitReason,
};

const LIST: u64 = 0x10_0000;
const POINTERS: u64 = 0x20_0000;
const GOROUTINES: u64 = 0x30_0000;
const STACKS: u64 = 0x40_0000;
const DEVICE: u64 = 0x50_0000;
const INPUTS: u64 = 0x60_0000;
/// `runtime.waitReasonStrings`.
const REASONS: u64 = 0x70_0000;
/// Offset of `trackingSeq`.
const STOPS: u64 = 200;
const BACKEND: DeviceCode = DeviceCode {
    kind: DeviceKind::Socket,
    style: DeviceStyle::Backend,
};
const SINKS: DeviceCode = DeviceCode {
    kind: DeviceKind::Socket,
    style: DeviceStyle::Sink,
};
const AUDIT_BROKER: DeviceCode = DeviceCode {
    kind: DeviceKind::Broker,
    style: DeviceStyle::Backend,
};

fn device_layout() -> device::DeviceLayout {
    device::DeviceLayout {
        network: Some(0x20),
        address: FieldPath(vec![0x10]),
    }
}

/// Return addresses into functions.
const PARK: u64 = 0x104;
const LOCK: u64 = 0x204;
const REQUEST: u64 = 0x304;
const RECONNECT: u64 = 0x404;
const CONNECT: u64 = 0x504;
const SINK: u64 = 0x604;
const HANDLER: u64 = 0x704;
const BROKER: u64 = 0x804;
const GRAPH: u64 = 0x904;
const ACCEPT: u64 = 0xa04;
const NODES: u64 = 0xb04;
const FORWARD: u64 = 0xc04;
const GRPC_CLIENT: u64 = 0xd04;

/// Words by address; and one that changes between two reads.
#[derive(Default)]
struct FakeMemory {
    words: HashMap<u64, u64>,
    len: u64,
    changing: Option<(u64, Cell<u64>)>,
}

impl Memory for FakeMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        for (i, byte) in into.iter_mut().enumerate() {
            let at = address.wrapping_add(i as u64);
            let word = self.words.get(&(at & !7));
            *byte = word.ok_or(io::ErrorKind::InvalidData)?.to_le_bytes()[at as usize % 8];
            if let Some((_, read)) = self.changing.as_ref().filter(|(which, _)| *which == at) {
                *byte = byte.wrapping_add(read.replace(read.get() + 1) as u8);
            }
        }
        Ok(())
    }
}

impl FakeMemory {
    /// With a goroutine that waits, called by these, innermost first.
    fn goroutine(mut self, goid: u64, parent: u64, calls: &[u64]) -> Self {
        let (address, stack) = (GOROUTINES + 0x200 * self.len, STACKS + 0x1000 * self.len);
        self.words.insert(POINTERS + 8 * self.len, address);
        self.len += 1;
        self.fill(address, 0x200);
        self.fill(stack, 0x1000);
        self.words.extend([(LIST, POINTERS), (LIST + 8, self.len)]);
        let members = [
            (0, stack),
            (8, stack + 0x1000),
            (56, stack),
            (64, PARK),
            (96, stack),
        ];
        let own = [(144, 4), (152, goid), (280, parent)];
        let members = members.into_iter().chain(own);
        self.words
            .extend(members.map(|(at, word)| (address + at, word)));
        for (i, call) in calls.iter().enumerate() {
            let record = stack + 0x40 * i as u64;
            self.words
                .extend([(record, record + 0x40), (record + 8, *call)]);
        }
        self
    }

    fn fill(&mut self, address: u64, size: u64) {
        let words = (address..address + size).step_by(8);
        self.words.extend(words.map(|at| (at, 0)));
    }

    /// With this word in the goroutine that was added last.
    fn member(mut self, at: u64, word: u64) -> Self {
        self.words
            .insert(GOROUTINES + 0x200 * (self.len - 1) + at, word);
        self
    }

    /// With a device as the receiver of the outermost call of so many.
    fn device(mut self, calls: u64, network: &str, address: &str) -> Self {
        let stack = STACKS + 0x1000 * (self.len - 1);
        self.words.insert(stack + 0x40 * calls + 16, DEVICE);
        for (at, text) in [(0x20, network), (0x10, address)] {
            self.text(DEVICE + at, DEVICE + 0x100 * at, text);
        }
        self
    }

    /// A string whose bytes lie elsewhere.
    fn text(&mut self, at: u64, bytes: u64, text: &str) {
        self.words
            .extend([(at, bytes), (at + 8, text.len() as u64)]);
        for (i, chunk) in text.as_bytes().chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.words
                .insert(bytes + 8 * i as u64, u64::from_le_bytes(word));
        }
    }

    fn sampled(&self) -> Vec<GoroutineSample> {
        reader().sample(self).expect("a list").goroutines
    }
}

fn reader() -> GoroutineReader {
    let entry = |code, entry| Some(FunctionRole::Device(code, Some(entry)));
    let known = [
        (LOCK, Some(FunctionRole::Lock), "sync.(*Mutex).lockSlow"),
        (
            REQUEST,
            entry(BACKEND, EntryPoint::Request),
            "socket.(*Backend).LogRequest",
        ),
        (
            RECONNECT,
            Some(FunctionRole::Device(BACKEND, None)),
            "socket.(*Backend).reconnect",
        ),
        (CONNECT, Some(FunctionRole::Connect), "net.(*netFD).connect"),
        (
            SINK,
            entry(SINKS, EntryPoint::Other),
            "event.(*SocketSink).Process",
        ),
        (HANDLER, None, "http.(*conn).serve"),
        (ACCEPT, Some(FunctionRole::Accept), "poll.(*FD).Accept"),
        (
            NODES,
            Some(FunctionRole::ServesNodes),
            "cluster.(*Listener).Run.func2",
        ),
        (
            FORWARD,
            Some(FunctionRole::Forward),
            "vault.(*requestForwardingClient).ForwardRequest",
        ),
        (
            GRPC_CLIENT,
            Some(FunctionRole::GrpcClient),
            "transport.(*http2Client).reader",
        ),
        (
            BROKER,
            entry(AUDIT_BROKER, EntryPoint::Response),
            "vault.(*AuditBroker).LogResponse",
        ),
    ];
    let known = known.map(|(pc, role, name)| {
        let name = name.into();
        (pc - 4..pc + 4, KnownFunction { role, name })
    });
    let (variables, requests) = requests::requests(false);
    GoroutineReader {
        table: AuditTable::default(),
        log_writer: None,
        marks: BTreeSet::default(),
        version: VersionVariables::default(),
        list: LIST,
        layout: GoroutineLayout::new(&structures()).expect("described"),
        functions: Functions::new(known.to_vec()),
        devices: DeviceLayouts::for_test(false, vec![(BACKEND, device_layout())]),
        variables,
        requests,
        history: Mutex::default(),
        wait_reasons: Some(REASONS),
        parks: Some(PARK - 4..PARK + 4),
        shares_clock: true,
        assumed: None,
    }
}

/// Those of Go 1.27.
fn structures() -> Structures {
    let g = [
        ("goid", 152),
        ("parentGoid", 280),
        ("atomicstatus", 144),
        ("stack", 0),
        ("sched", 56),
        ("syscallsp", 104),
        ("syscallpc", 112),
        ("syscallbp", 120),
        ("trackingSeq", STOPS as u32),
        ("waitsince", 168),
        ("waitreason", 176),
    ];
    let gobuf = [("sp", 0), ("pc", 8), ("bp", 40)];
    let stack = [("lo", 0), ("hi", 8)];
    let all = [
        ("runtime.g", &g[..]),
        ("runtime.gobuf", &gobuf),
        ("runtime.stack", &stack),
    ];
    let named = |members: &[(&str, u32)]| {
        members
            .iter()
            .map(|(name, at)| ((*name).to_owned(), *at))
            .collect()
    };
    all.map(|(name, members)| (name.to_owned(), named(members)))
        .into()
}

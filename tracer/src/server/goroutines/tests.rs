//! The reading, on made-up memory.

mod damage;
mod handlers;
mod many;
mod requests;

use std::{cell::Cell, collections::HashMap};

use super::{
    device::Way,
    functions::Known,
    method::{Entry, Function, Part},
    *,
};
use crate::server::go::dwarf::Structures;

const LIST: u64 = 0x10_0000;
const POINTERS: u64 = 0x20_0000;
const GOROUTINES: u64 = 0x30_0000;
const STACKS: u64 = 0x40_0000;
const DEVICE: u64 = 0x50_0000;
const INPUTS: u64 = 0x60_0000;
/// Offset of `trackingSeq`.
const STOPS: u64 = 200;
const BACKEND: DeviceCode = DeviceCode {
    kind: Kind::Socket,
    style: Style::Backend,
};
const SINKS: DeviceCode = DeviceCode {
    kind: Kind::Socket,
    style: Style::Sink,
};
const AUDIT_BROKER: DeviceCode = DeviceCode {
    kind: Kind::Broker,
    style: Style::Backend,
};

fn device_layout() -> device::Layout {
    device::Layout {
        network: Some(0x20),
        address: Way(vec![0x10]),
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

/// Words by address; and one that changes when it is read for the second time.
#[derive(Default)]
struct Made {
    words: HashMap<u64, u64>,
    len: u64,
    changing: Option<(u64, Cell<u64>)>,
}

impl Memory for Made {
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

impl Made {
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

    fn waiting(&self) -> Vec<Waiting> {
        reader().sample(self).expect("a list").waiting
    }
}

fn reader() -> GoroutineReader {
    let entry = |code, entry| {
        let part = Part {
            entry: Some(entry),
            locks: true,
        };
        Some(Function::Device(code, part))
    };
    let known = [
        (LOCK, Some(Function::Lock), "sync.(*Mutex).lockSlow"),
        (
            REQUEST,
            entry(BACKEND, Entry::Request),
            "socket.(*Backend).LogRequest",
        ),
        (
            RECONNECT,
            Some(Function::Device(BACKEND, Part::default())),
            "socket.(*Backend).reconnect",
        ),
        (CONNECT, Some(Function::Connect), "net.(*netFD).connect"),
        (
            SINK,
            entry(SINKS, Entry::Other),
            "event.(*SocketSink).Process",
        ),
        (HANDLER, None, "http.(*conn).serve"),
        (
            BROKER,
            entry(AUDIT_BROKER, Entry::Response),
            "vault.(*AuditBroker).LogResponse",
        ),
    ];
    let known = known.map(|(pc, role, name)| {
        let name = name.into();
        (pc - 4..pc + 4, Known { role, name })
    });
    let (variables, requests) = requests::requests(false);
    GoroutineReader {
        list: LIST,
        layout: Layout::new(&structures()).expect("described"),
        functions: Functions::new(known.to_vec()),
        devices: Devices::made(false, vec![(BACKEND, device_layout())]),
        variables,
        requests,
        known: Mutex::default(),
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

fn places(made: &Made) -> Vec<(u64, WaitReason)> {
    made.waiting()
        .iter()
        .map(|waiting| (waiting.goid, waiting.at))
        .collect()
}

#[test]
fn one_connects_and_the_others_queue() {
    let made = Made::default()
        .goroutine(31, 1, &[LOCK, REQUEST, HANDLER])
        .goroutine(7, 1, &[HANDLER])
        .goroutine(30, 1, &[CONNECT, RECONNECT, REQUEST, HANDLER]);
    assert_eq!(
        places(&made),
        [(30, WaitReason::Connect), (31, WaitReason::Lock)]
    );
    let first = &made.waiting()[0];
    assert_eq!((&*first.ancestors, first.request), (&[1][..], Some(30)));
    assert_eq!((first.phase, &first.device), (Some(Phase::Request), &None));
}

#[test]
fn says_which_functions_are_on_the_stack() {
    let made = Made::default().goroutine(30, 1, &[CONNECT, RECONNECT, REQUEST, HANDLER]);
    let expected = [
        "net.(*netFD).connect",
        "socket.(*Backend).reconnect",
        "socket.(*Backend).LogRequest",
        "http.(*conn).serve",
    ];
    assert_eq!(made.waiting()[0].frames, expected);
}

#[test]
fn says_who_started_whom() {
    let made = Made::default()
        .goroutine(50, 49, &[LOCK, SINK])
        .goroutine(49, 48, &[HANDLER])
        .goroutine(48, 7, &[HANDLER])
        .goroutine(7, 1, &[HANDLER]);
    assert_eq!(made.waiting()[0].ancestors, [49, 48, 7, 1]);
    // Who started the one that is no more, nobody knows.
    let dead = made.member(144, 6);
    assert_eq!(dead.waiting()[0].ancestors, [49, 48, 7]);
    let endless = Made::default().goroutine(5, 5, &[LOCK, REQUEST]);
    assert_eq!(endless.waiting()[0].ancestors, [5; MAX_ANCESTORS]);
}

#[test]
fn a_sinks_request_is_two_generations_up() {
    let made = Made::default()
        .goroutine(50, 49, &[LOCK, SINK])
        .goroutine(49, 48, &[HANDLER]);
    let [sink] = &made.waiting()[..] else {
        panic!()
    };
    assert_eq!(
        (sink.at, sink.code, sink.request),
        (WaitReason::Lock, SINKS, Some(48))
    );
    // Unless the one between is gone.
    let orphan = made.member(144, 6);
    assert_eq!(orphan.waiting()[0].request, None);
}

#[test]
fn the_garbage_collector_is_no_hindrance() {
    let made = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
    assert_eq!(places(&made.member(144, 0x1004)), [(5, WaitReason::Lock)]);
}

#[test]
fn who_runs_is_not_looked_at() {
    for status in [1, 2, 3, 6, 9] {
        let made = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
        assert_eq!(places(&made.member(144, status)), [], "{status}");
    }
}

#[test]
fn a_system_call_is_looked_into_where_it_was_saved_whole() {
    let stack = STACKS;
    let made = Made::default()
        .goroutine(5, 1, &[CONNECT, RECONNECT, REQUEST])
        .member(144, 3);
    let made = made.member(104, stack).member(112, PARK);
    assert_eq!(places(&made), []);
    let made = made.member(120, stack);
    assert_eq!(places(&made), [(5, WaitReason::Connect)]);
}

#[test]
fn who_has_not_moved_is_not_looked_at_again() {
    let made = Made::default().goroutine(7, 1, &[HANDLER]);
    let reader = reader();
    assert_eq!(reader.sample(&made).expect("a list").waiting, []);
    let mut made = made.goroutine(5, 1, &[LOCK, REQUEST]);
    for _ in 0..2 {
        // Who waits for a device is, always.
        assert_eq!(reader.sample(&made).expect("a list").waiting.len(), 1);
    }
    // Its stack has become another, which only a count tells.
    let calls = [(8, LOCK), (0x40, STACKS + 0x80), (0x48, REQUEST)];
    made.words
        .extend(calls.map(|(at, word)| (STACKS + at, word)));
    assert_eq!(reader.sample(&made).expect("a list").waiting.len(), 1);
    made.words.insert(GOROUTINES + STOPS, 1);
    assert_eq!(reader.sample(&made).expect("a list").waiting.len(), 2);
}

#[test]
fn says_who_has_not_run_since_the_previous_look() {
    let reader = reader();
    let still = |made: &Made, reader: &GoroutineReader| {
        let waiting = reader.sample(made).expect("a list").waiting;
        waiting.iter().map(|w| w.still).collect::<Vec<_>>()
    };
    let mut made = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
    assert_eq!(still(&made, &reader), [false], "the first look");
    assert_eq!(still(&made, &reader), [true]);
    made = made.goroutine(6, 1, &[LOCK, REQUEST]);
    assert_eq!(still(&made, &reader), [true, false], "who has come");
    assert_eq!(still(&made, &reader), [true, true]);
    // It ran, and came back to the same place; then its structure became another goroutine's.
    for (member, word) in [(STOPS, 1), (152, 8)] {
        made = made.member(member, word);
        let moved = still(&made, &reader);
        assert_eq!(moved.iter().filter(|still| **still).count(), 1, "{member}");
        assert_eq!(still(&made, &reader), [true, true], "{member}");
    }
    // One that was elsewhere at the look between.
    let away = made.member(144, 2);
    assert_eq!(still(&away, &reader), [true]);
    let back = away.member(144, 4);
    assert_eq!(still(&back, &reader), [true, false]);
}

#[test]
fn nobody_is_known_to_stand_still_where_go_does_not_count() {
    let mut structures = structures();
    let g = structures.get_mut("runtime.g").expect("described");
    g.remove("trackingSeq");
    let reader = GoroutineReader {
        layout: Layout::new(&structures).expect("described"),
        ..reader()
    };
    let counted = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
    for _ in 0..2 {
        assert!(!reader.sample(&counted).expect("a list").waiting[0].still);
    }
}

#[test]
fn says_which_device_if_it_is_certain() {
    let with = |network, address| {
        let made = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
        made.device(2, network, address).waiting().remove(0).device
    };
    let device = with("tcp", "log.lab:1515").expect("certain");
    assert_eq!(
        (&*device.network, &*device.address),
        ("tcp", "log.lab:1515")
    );
    assert!(with("unix", "/run/log.sock").is_some());
    for (network, address) in [
        ("http", "log:1"),
        ("tcp", ""),
        ("tcp", "log"),
        ("tcp", "a\n:1"),
    ] {
        assert_eq!(with(network, address), None, "{network} {address}");
    }
}

#[test]
fn on_arm64_the_device_is_found_from_the_caller() {
    let made = Made::default().goroutine(5, 1, &[LOCK, REQUEST, HANDLER]);
    let made = made.device(3, "tcp", "log.lab:1515");
    assert_eq!(made.waiting()[0].device, None);
    let mut reader = reader();
    reader.devices = Devices::made(true, vec![(BACKEND, device_layout())]);
    let waiting = reader.sample(&made).expect("a list").waiting;
    assert!(waiting[0].device.is_some(), "{waiting:?}");
}

#[test]
fn unreadable_goroutines_and_stacks_are_left_out() {
    let made = Made::default()
        .goroutine(5, 1, &[LOCK, REQUEST])
        .member(56, 0)
        .goroutine(6, 1, &[LOCK, REQUEST])
        .member(8, u64::MAX)
        .goroutine(7, 1, &[LOCK, REQUEST])
        .goroutine(8, 1, &[LOCK, REQUEST]);
    let mut made = made;
    made.words.remove(&(GOROUTINES + 0x200 * 3));
    made.words.insert(POINTERS + 8, 0xdead_0000);
    assert_eq!(places(&made), [(7, WaitReason::Lock)]);
}

#[test]
fn who_moved_on_meanwhile_is_left_out() {
    let mut made = Made::default().goroutine(5, 1, &[LOCK, REQUEST]);
    made.changing = Some((GOROUTINES + 64, Cell::new(0)));
    assert_eq!(places(&made), []);
}

#[test]
fn what_is_assumed_of_a_stripped_program_is_verified() {
    let reader = GoroutineReader {
        assumed: Some("go1.27.3".to_owned()),
        ..reader()
    };
    let verified = |made: &Made| reader.verify(made).map_err(|error| error.to_string());
    let made = Made::default().goroutine(5, 1, &[HANDLER]);
    assert_eq!(verified(&made), Ok(()));
    assert!(reader.doubts().expect("doubts").contains("go1.27.3"));
    let elsewhere = made.member(64, HANDLER);
    let error = verified(&elsewhere).expect_err("not so");
    assert!(error.contains("go1.27.3"), "{error}");
    verified(&elsewhere.member(144, 6)).expect_err("nobody waits");
    verified(&Made::default()).expect_err("gone");
}

#[test]
fn a_server_that_is_gone_is_an_error() {
    assert!(reader().sample(&Made::default()).is_err());
}

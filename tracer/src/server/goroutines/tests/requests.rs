//! The requests that goroutines work on.

use std::cell::RefCell;

use super::{
    super::{
        requests::{ClientLayout, RequestLayout},
        roles::Variable,
    },
    *,
};
use crate::server::go::dwarf::local::Local;
use tracer_model::EntryKind;

pub(super) const ID: &str = "11111111-2222-3333-4444-0123456789aB";
pub(super) const LIST_KEYS: [&str; 3] = [ID, "list", "secret/metadata/app"];

/// The input is the second of the broker's parameters, the context the first of the graph's. On arm64 the
/// caller's frame has room for its link register below them.
pub(super) fn requests(by_caller: bool) -> (Variables, RequestReader) {
    let link = if by_caller { 8 } else { 0 };
    let function = |argument, pc, at| (argument, Local::in_frame(pc - 4..pc + 4, at));
    let functions = [
        function(Variable::Input(EntryKind::Response), BROKER, 24 + link),
        function(Variable::Context, GRAPH, 8 + link),
        function(Variable::WaitStart, LOCK, link),
    ];
    let fields = RequestLayout {
        request: 24,
        id: 0,
        operation: 32,
        path: 48,
        client: Some(ClientLayout {
            connection: 64,
            address: 0,
            port: 16,
        }),
    };
    (
        Variables::for_test(by_caller, functions.to_vec()),
        RequestReader::for_test(fields),
    )
}

impl FakeMemory {
    /// With a request's ID, operation and path as the input of the outermost call of so many.
    pub(super) fn input(mut self, calls: u64, texts: [&str; 3]) -> Self {
        let last = self.len - 1;
        let (stack, input) = (STACKS + 0x1000 * last, INPUTS + 0x8000 * last);
        let request = input + 0x100;
        self.words.insert(stack + 0x40 * calls + 40, input);
        self.words.insert(input + 24, request);
        for (at, text) in [0, 32, 48].into_iter().zip(texts) {
            self.text(request + at, request + 0x100 * (at + 1), text);
        }
        self
    }

    /// With this client of the request that was added last.
    fn client(mut self, address: &str, port: u64) -> Self {
        let request = INPUTS + 0x8000 * (self.len - 1) + 0x100;
        let connection = request + 0x4000;
        self.words
            .extend([(request + 64, connection), (connection + 16, port)]);
        self.text(connection, connection + 0x100, address);
        self
    }

    /// With this as the context of the outermost call of so many.
    pub(super) fn context(mut self, calls: u64, context: u64) -> Self {
        let stack = STACKS + 0x1000 * (self.len - 1);
        self.words.insert(stack + 0x40 * calls + 32, context);
        self
    }
}

fn entry_of(id: &str, operation: &str, path: Option<&str>) -> EntryHead {
    EntryHead {
        kind: Some(EntryKind::Response),
        id: Some(id.to_owned()),
        operation: Some(operation.to_owned()),
        path: path.map(str::to_owned),
        ..EntryHead::default()
    }
}

fn queued_with(texts: [&str; 3]) -> Option<EntryHead> {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    memory.input(3, texts).sampled().remove(0).entry
}

#[test]
fn the_client_of_a_forwarded_request_is_read() {
    let client = |address: &str, port| {
        let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
        let memory = memory.input(3, LIST_KEYS).client(address, port);
        let entry = memory.sampled().remove(0).entry.expect("an entry");
        (entry.remote_address, entry.remote_port)
    };
    for address in ["10.0.0.9", "fd00::9"] {
        let expected = (Some(address.to_owned()), Some(50222));
        assert_eq!(client(address, 50222), expected);
    }
    for (address, port) in [
        ("", 1),
        ("hvs.secret", 1),
        ("10.0.0.9", 0),
        ("10.0.0.9", 65536),
    ] {
        assert_eq!(client(address, port), (None, None), "{address}:{port}");
    }
}

#[test]
fn the_request_is_read() {
    let expected = entry_of(ID, "list", Some("secret/metadata/app"));
    assert_eq!(queued_with(LIST_KEYS), Some(expected));
}

#[test]
fn other_values_are_no_request() {
    for (id, operation) in [
        ("", "list"),
        ("11111111-2222-3333-4444-0123456789a", "list"),
        ("11111111-2222-3333-4444-0123456789ag", "list"),
        ("11111111-2222-3333-444450123456789ab", "list"),
        (ID, ""),
        (ID, "LIST"),
        (ID, "hvs.CAESIJ"),
    ] {
        assert_eq!(
            queued_with([id, operation, "path"]),
            None,
            "{id} {operation}"
        );
    }
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    assert_eq!(memory.sampled()[0].entry, None);
}

#[test]
fn a_request_is_known_without_a_readable_path() {
    let long = "x".repeat(2049);
    for (path, expected) in [("a\nb", None), (&*long, None), ("", Some(""))] {
        let entry = queued_with([ID, "read", path]);
        assert_eq!(entry, Some(entry_of(ID, "read", expected)), "{path:?}");
    }
}

#[test]
fn the_request_of_an_unmoved_goroutine_is_not_read_again() {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    let (reader, mut memory) = (reader(), memory.input(3, LIST_KEYS));
    let entry = |memory: &FakeMemory| {
        reader
            .sample(memory)
            .expect("a list")
            .goroutines
            .remove(0)
            .entry
    };
    let first = entry(&memory);
    assert!(first.is_some());
    let id = INPUTS + 0x100;
    memory.words.insert(id, 0);
    assert_eq!(entry(&memory), first);
    memory.words.insert(GOROUTINES + STOPS, 1);
    assert_eq!(entry(&memory), None);
}

/// A sink, what started it, and the request, which waits for all sinks.
fn sink(contexts: [u64; 2]) -> FakeMemory {
    let [own, of_request] = contexts;
    FakeMemory::default()
        .goroutine(50, 49, &[LOCK, SINK, GRAPH])
        .context(3, own)
        .goroutine(49, 48, &[HANDLER])
        .goroutine(48, 7, &[GRAPH, BROKER, HANDLER])
        .context(1, of_request)
        .input(2, LIST_KEYS)
}

#[test]
fn a_sink_has_the_request_that_waits_for_it() {
    let (reader, memory) = (reader(), sink([0xc0de, 0xc0de]));
    let expected = entry_of(ID, "list", Some("secret/metadata/app"));
    // The second time nothing has moved.
    for _ in 0..2 {
        let sample = reader.sample(&memory).expect("a list").goroutines.remove(0);
        assert_eq!(sample.entry.as_ref(), Some(&expected));
    }
}

#[test]
fn a_sink_keeps_its_request_when_that_has_continued() {
    let (reader, memory) = (reader(), sink([0xc0de, 0xc0de]));
    let first = reader.sample(&memory).expect("a list").goroutines.remove(0);
    assert!(first.entry.is_some());
    // The next request of this goroutine.
    let mut memory = memory.context(1, 0xbeef).member(STOPS, 1);
    assert_eq!(reader.sample(&memory).expect("a list").goroutines[0], first);
    // Nor is it read any more.
    memory = memory.member(144, 6);
    let alone = reader.sample(&memory).expect("a list").goroutines.remove(0);
    assert_eq!((alone.entry, alone.request), (first.entry, Some(48)));
    // Another sink in its place.
    memory.words.insert(GOROUTINES + 152, 60);
    let other = reader.sample(&memory).expect("a list").goroutines.remove(0);
    assert_eq!((other.goid, other.entry), (60, None));
}

#[test]
fn a_sink_that_outlived_its_request_does_not_get_the_next_one() {
    for contexts in [[0xc0de, 0xbeef], [0xc0de, 0]] {
        let sample = sink(contexts).sampled().remove(0);
        assert_eq!((sample.entry, sample.request), (None, Some(48)));
    }
}

#[test]
fn a_sink_whose_context_cannot_be_read_works_for_its_ancestor() {
    let sample = sink([0, 0]).sampled().remove(0);
    assert!(sample.entry.is_some());
    assert_eq!(sample.request, Some(48));
}

#[test]
fn behind_a_filter_the_request_is_the_one_that_waits() {
    // The goroutine between them has ended.
    let memory = sink([0xc0de, 0xc0de]).goroutine(51, 60, &[LOCK, SINK, GRAPH]);
    let sample = memory.context(3, 0xc0de).sampled().remove(1);
    assert_eq!((sample.goid, sample.request), (51, Some(48)));
    assert!(sample.entry.is_some());
    assert_eq!(sample.ancestors, [60, 48, 7]);
}

#[test]
fn if_two_seem_to_wait_for_a_sink_it_has_neither() {
    let memory = sink([0xc0de, 0xc0de]).goroutine(47, 7, &[GRAPH, BROKER, HANDLER]);
    let memory = memory.context(1, 0xc0de).input(2, LIST_KEYS);
    assert_eq!(memory.sampled()[0].entry, None);
}

impl FakeMemory {
    /// With this as the time since when the innermost of the calls waits.
    fn queued_since(mut self, since: u64) -> Self {
        let stack = STACKS + 0x1000 * (self.len - 1);
        self.words.insert(stack + 0x40 + 16, since);
        self
    }
}

#[test]
fn a_mutex_has_the_time_since_when_it_is_waited_for() {
    let since = |memory: FakeMemory| memory.sampled().remove(0).since;
    let queued = || FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    assert_eq!(since(queued().queued_since(4_711)), Some(4_711));
    assert_eq!(since(queued()), None);
    // A mutex further in, while it dials, is not the device's.
    let dials = FakeMemory::default().goroutine(5, 1, &[LOCK, CONNECT, REQUEST]);
    assert_eq!(since(dials.queued_since(4_711)), None);
}

#[test]
fn times_of_a_server_with_a_clock_of_its_own_are_not_used() {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    let mut reader = reader();
    reader.shares_clock = false;
    let found = reader
        .sample(&memory.queued_since(4_711))
        .expect("a list")
        .goroutines;
    assert_eq!(found[0].since, None);
}

#[test]
fn on_arm64_the_request_is_found_from_the_caller() {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER, HANDLER]);
    let memory = memory.input(4, LIST_KEYS);
    let mut reader = reader();
    let entry = |reader: &GoroutineReader| {
        reader
            .sample(&memory)
            .expect("a list")
            .goroutines
            .remove(0)
            .entry
    };
    assert_eq!(entry(&reader), None);
    (reader.variables, reader.requests) = requests(true);
    reader.history = Mutex::default();
    assert!(entry(&reader).is_some());
}

/// Records what is read.
struct Watched<'a>(&'a FakeMemory, RefCell<Vec<(u64, usize)>>);

impl Memory for Watched<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.1.borrow_mut().push((address, into.len()));
        self.0.read(address, into)
    }
}

/// Tokens lie beside these.
#[test]
fn nothing_else_of_the_request_is_read() {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, BROKER]);
    let memory = memory.input(3, LIST_KEYS).client("10.0.0.9", 1);
    let watched = Watched(&memory, RefCell::default());
    assert!(
        reader().sample(&watched).expect("a list").goroutines[0]
            .entry
            .is_some()
    );
    let mut read = watched.1.into_inner();
    read.retain(|(at, _)| *at >= INPUTS);
    read.sort_unstable();
    let (request, lengths) = (INPUTS + 0x100, LIST_KEYS.map(str::len));
    let headers = [0, 32, 48].map(|at| (request + at, 16));
    let texts = [0x100, 0x2100, 0x3100].map(|at| request + at);
    let mut expected = vec![(INPUTS + 24, 8)];
    expected.extend(headers);
    expected.extend(texts.into_iter().zip(lengths));
    let connection = request + 0x4000;
    expected.push((request + 64, 8));
    expected.extend([(connection, 16), (connection + 16, 8)]);
    expected.push((connection + 0x100, "10.0.0.9".len()));
    expected.sort_unstable();
    assert_eq!(read, expected);
}

//! Waits in the code of audit devices.

use super::*;

const NONE: [u64; 0] = [];

fn reasons(memory: &FakeMemory) -> Vec<(u64, WaitReason)> {
    memory
        .sampled()
        .iter()
        .map(|sample| (sample.goid, sample.place))
        .collect()
}

#[test]
fn one_connects_and_the_others_queue() {
    let memory = FakeMemory::default()
        .goroutine(31, 1, &[LOCK, REQUEST, HANDLER])
        .goroutine(7, 1, &[HANDLER])
        .goroutine(30, 1, &[CONNECT, RECONNECT, REQUEST, HANDLER]);
    assert_eq!(
        reasons(&memory),
        [(30, WaitReason::Connect), (31, WaitReason::Lock)]
    );
    let first = &memory.sampled()[0];
    assert_eq!((&*first.ancestors, first.request), (&[1][..], None));
    assert_eq!((first.phase, &first.device), (Some(Phase::Request), &None));
}

#[test]
fn functions_on_the_stack_are_named() {
    let memory = FakeMemory::default().goroutine(30, 1, &[CONNECT, RECONNECT, REQUEST, HANDLER]);
    let expected = [
        "net.(*netFD).connect",
        "socket.(*Backend).reconnect",
        "socket.(*Backend).LogRequest",
        "http.(*conn).serve",
    ];
    assert_eq!(memory.sampled()[0].frames, expected);
}

#[test]
fn ancestors_are_named_as_far_as_they_are_alive() {
    let memory = FakeMemory::default()
        .goroutine(50, 49, &[LOCK, SINK])
        .goroutine(49, 48, &[HANDLER])
        .goroutine(48, 7, &[HANDLER])
        .goroutine(7, 1, &[HANDLER]);
    assert_eq!(memory.sampled()[0].ancestors, [49, 48, 7, 1]);
    // What started the one that has ended is unknown.
    let dead = memory.member(144, 6);
    assert_eq!(dead.sampled()[0].ancestors, [49, 48, 7]);
    let endless = FakeMemory::default().goroutine(5, 5, &[LOCK, REQUEST]);
    assert_eq!(endless.sampled()[0].ancestors, [5; MAX_ANCESTORS]);
}

#[test]
fn a_sinks_request_is_two_generations_up() {
    let memory = FakeMemory::default()
        .goroutine(50, 49, &[LOCK, SINK])
        .goroutine(49, 48, &[HANDLER]);
    let [sink] = &memory.sampled()[..] else {
        panic!()
    };
    assert_eq!((sink.place, sink.request), (WaitReason::Lock, Some(48)));
    // Unless the one between is gone.
    let orphan = memory.member(144, 6);
    assert_eq!(orphan.sampled()[0].request, None);
}

#[test]
fn a_stack_that_is_scanned_is_read() {
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
    assert_eq!(
        reasons(&memory.member(144, 0x1004)),
        [(5, WaitReason::Lock)]
    );
}

#[test]
fn a_running_goroutine_waits_for_nothing() {
    for status in [1, 2, 3, 6, 9] {
        let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
        assert_eq!(reasons(&memory.member(144, status)), [], "{status}");
    }
}

#[test]
fn a_stack_is_read_in_a_system_call_that_saved_all() {
    let stack = STACKS;
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[CONNECT, RECONNECT, REQUEST])
        .member(144, 3);
    let memory = memory.member(104, stack).member(112, PARK);
    assert_eq!(reasons(&memory), []);
    let memory = memory.member(120, stack);
    assert_eq!(reasons(&memory), [(5, WaitReason::Connect)]);
}

#[test]
fn the_stack_of_an_unmoved_goroutine_is_not_read_again() {
    let memory = FakeMemory::default().goroutine(7, 1, &[HANDLER]);
    let reader = reader();
    assert_eq!(reader.sample(&memory).expect("a list").goroutines, []);
    let mut memory = memory.goroutine(5, 1, &[LOCK, REQUEST]);
    for _ in 0..2 {
        // Of one that waits for a device it is.
        assert_eq!(reader.sample(&memory).expect("a list").goroutines.len(), 1);
    }
    // Its stack has changed, which only the count shows.
    let calls = [(8, LOCK), (0x40, STACKS + 0x80), (0x48, REQUEST)];
    memory
        .words
        .extend(calls.map(|(at, word)| (STACKS + at, word)));
    assert_eq!(reader.sample(&memory).expect("a list").goroutines.len(), 1);
    memory.words.insert(GOROUTINES + STOPS, 1);
    assert_eq!(reader.sample(&memory).expect("a list").goroutines.len(), 2);
}

#[test]
fn goroutines_that_have_not_run_since_the_previous_sample_are_named() {
    let reader = reader();
    let unmoved = |memory: &FakeMemory, reader: &GoroutineReader| {
        reader.sample(memory).expect("a list").unmoved
    };
    let mut memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
    assert_eq!(unmoved(&memory, &reader), NONE, "the first sample");
    assert_eq!(unmoved(&memory, &reader), [5]);
    memory = memory.goroutine(6, 1, &[LOCK, REQUEST]);
    assert_eq!(unmoved(&memory, &reader), [5], "the other is new");
    assert_eq!(unmoved(&memory, &reader), [5, 6]);
    // It ran, and came back to the same place; then its structure became another goroutine's.
    for (member, word) in [(STOPS, 1), (152, 8)] {
        memory = memory.member(member, word);
        assert_eq!(unmoved(&memory, &reader).len(), 1, "{member}");
        assert_eq!(unmoved(&memory, &reader).len(), 2, "{member}");
    }
    // One that was elsewhere at the sample between.
    let away = memory.member(144, 2);
    assert_eq!(unmoved(&away, &reader), [5]);
    let back = away.member(144, 4);
    assert_eq!(unmoved(&back, &reader), [5]);
}

#[test]
fn without_the_count_of_go_none_is_unmoved() {
    let mut structures = structures();
    let g = structures.get_mut("runtime.g").expect("described");
    g.remove("trackingSeq");
    let reader = GoroutineReader {
        layout: GoroutineLayout::new(&structures).expect("described"),
        ..reader()
    };
    let counted = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
    for _ in 0..2 {
        let sampled = reader.sample(&counted).expect("a list");
        assert_eq!((sampled.goroutines.len(), sampled.unmoved), (1, vec![]));
    }
}

#[test]
fn the_device_is_named_if_it_is_certain() {
    let with = |network, address| {
        let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
        memory
            .device(2, network, address)
            .sampled()
            .remove(0)
            .device
    };
    let device = Device::configured(Transport::Tcp, "log.lab:1515");
    assert_eq!(with("tcp", "log.lab:1515"), Some(device));
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
    let memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST, HANDLER]);
    let memory = memory.device(3, "tcp", "log.lab:1515");
    assert_eq!(memory.sampled()[0].device, None);
    let mut reader = reader();
    reader.devices = DeviceLayouts::for_test(true, vec![(BACKEND, device_layout())]);
    let sampled = reader.sample(&memory).expect("a list").goroutines;
    assert!(sampled[0].device.is_some(), "{sampled:?}");
}

#[test]
fn unreadable_goroutines_and_stacks_are_left_out() {
    let memory = FakeMemory::default()
        .goroutine(5, 1, &[LOCK, REQUEST])
        .member(56, 0)
        .goroutine(6, 1, &[LOCK, REQUEST])
        .member(8, u64::MAX)
        .goroutine(7, 1, &[LOCK, REQUEST])
        .goroutine(8, 1, &[LOCK, REQUEST]);
    let mut memory = memory;
    memory.words.remove(&(GOROUTINES + 0x200 * 3));
    memory.words.insert(POINTERS + 8, 0xdead_0000);
    assert_eq!(reasons(&memory), [(7, WaitReason::Lock)]);
}

#[test]
fn a_goroutine_that_moves_while_it_is_read_is_left_out() {
    let mut memory = FakeMemory::default().goroutine(5, 1, &[LOCK, REQUEST]);
    memory.changing = Some((GOROUTINES + 64, Cell::new(0)));
    assert_eq!(reasons(&memory), []);
}

#[test]
fn what_is_assumed_of_a_stripped_program_is_verified() {
    let reader = GoroutineReader {
        assumed: Some("go1.27.3".to_owned()),
        ..reader()
    };
    let verified = |memory: &FakeMemory| reader.verify(memory).map_err(|error| error.to_string());
    let memory = FakeMemory::default().goroutine(5, 1, &[HANDLER]);
    assert_eq!(verified(&memory), Ok(()));
    assert!(reader.doubts().expect("doubts").contains("go1.27.3"));
    let elsewhere = memory.member(64, HANDLER);
    let error = verified(&elsewhere).expect_err("not so");
    assert!(error.contains("go1.27.3"), "{error}");
    verified(&elsewhere.member(144, 6)).expect_err("none waits");
    verified(&FakeMemory::default()).expect_err("gone");
}

#[test]
fn what_a_stripped_program_does_not_say_is_listed() {
    const DEVICES: &str = "which of several devices";
    const IDS: &str = "the IDs of requests";
    let stripped = || {
        let known = [(SINK, FunctionRole::Device(SINKS, Some(EntryPoint::Other)))];
        let known = known.map(|(pc, role)| {
            let role = Some(role);
            let name = "event.(*SocketSink).Process".into();
            (pc - 4..pc + 4, KnownFunction { role, name })
        });
        GoroutineReader {
            assumed: Some("go1.27.3".to_owned()),
            functions: Functions::new(known.to_vec()),
            ..reader()
        }
    };
    let doubts = |reader: &GoroutineReader| reader.doubts().expect("doubts");
    let all_described = doubts(&stripped());
    assert!(
        !all_described.contains(DEVICES) && !all_described.contains(IDS),
        "{all_described}"
    );
    assert!(
        all_described.contains("what its operator called"),
        "{all_described}"
    );
    let nothing_described = doubts(&GoroutineReader {
        devices: DeviceLayouts::default(),
        requests: RequestReader::default(),
        ..stripped()
    });
    assert!(nothing_described.contains(DEVICES) && nothing_described.contains(IDS));
    assert_eq!(reader().doubts(), None);
}

#[test]
fn a_server_that_has_ended_is_an_error() {
    assert!(reader().sample(&FakeMemory::default()).is_err());
}

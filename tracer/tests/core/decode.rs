//! Whatever bytes the ring buffer held: an event, or a reason why not.

use proptest::prelude::*;
use test_support::records;
use tracer::decode::{Kernel, decode};
use tracer_ebpf::abi::{EntryRecord, Kind, LogRecord, Record, StateRecord};
use tracer_model::EventKind;

/// Bytes as long as some record, a bit more or a bit less.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let sizes = [
        size_of::<Record>(),
        size_of::<StateRecord>(),
        size_of::<EntryRecord>(),
        size_of::<LogRecord>(),
    ];
    let size = prop::sample::select(sizes.to_vec());
    let len = (size, -8_isize..=8).prop_map(|(size, more)| size.saturating_add_signed(more));
    len.prop_flat_map(|len| prop::collection::vec(any::<u8>(), len))
}

/// The benchmark's, which nobody runs at each change.
#[test]
fn records_as_the_kernel_side_makes_them_decode() {
    for (name, bytes) in records::all() {
        let event = decode(&bytes, &Kernel::default());
        let event = event.ok().flatten();
        if let Some(EventKind::DevicesFailed { failures, .. }) = event.as_ref().map(|e| &e.what) {
            assert_eq!(failures.len(), 1, "{name}: {event:?}");
            continue;
        }
        let socket = event.as_ref().and_then(|event| event.socket());
        let remote = socket.and_then(|socket| socket.remote);
        assert_eq!(remote, "10.77.0.2:1515".parse().ok(), "{name}: {event:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_decode_or_say_why_not(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let _ = decode(&bytes, &Kernel::default());
    }

    /// Random bytes hardly ever name a kind of record: these always do.
    #[test]
    fn any_record_of_a_known_kind_decodes_or_says_why_not(
        mut bytes in bytes(),
        kind in prop::sample::select(Kind::ALL.to_vec()),
        family in prop::sample::select(vec![1_u16, 2, 10, 99]),
    ) {
        set(&mut bytes, std::mem::offset_of!(Record, kind), kind as u16);
        set(&mut bytes, std::mem::offset_of!(Record, name.family), family);
        if let Ok(Some(event)) = decode(&bytes, &Kernel::default()) {
            let text = serde_json::to_string(&event).expect("every event can be recorded");
            let back = serde_json::from_str(&text).expect("every recorded event can be read");
            prop_assert_eq!(event, back);
        }
    }
}

fn set(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
}

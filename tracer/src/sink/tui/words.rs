//! Words that several parts of the screen use.

use tracer_format::text::{clean, seconds};
use tracer_model::{DeviceSnapshot, Nanos, RequestInfo, Snapshot};

/// `0.4 s`, `12.3 s`, `4 min 05 s`, `3 h 10 min`
pub(super) fn duration(nanos: Nanos) -> String {
    let whole = nanos / 1_000_000_000;
    match whole {
        0..100 => format!("{:.1} s", seconds(nanos)),
        100..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// For how long the device has been in its condition, ns.
pub(super) fn condition_age(snapshot: &Snapshot, device: &DeviceSnapshot) -> Option<Nanos> {
    device.since.map(|since| snapshot.at.saturating_sub(since))
}

/// `read sys/mounts`, as far as known.
pub(super) fn request(request: &RequestInfo) -> String {
    let words = [request.operation.as_deref(), request.path.as_deref()];
    let words: Vec<_> = words.into_iter().flatten().map(clean).collect();
    if words.is_empty() {
        "a request".to_owned()
    } else {
        words.join(" ")
    }
}

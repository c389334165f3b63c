//! The first lines of the live view: which device is stalled now, for how long, why, and how many requests it blocks.

use super::model::{Level, ViewData};
use tracer_format::text::{cause, clean, seconds};
use tracer_model::{Cause, Condition, DeviceSnapshot, Nanos, Snapshot};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Headline {
    pub(super) level: Level,
    pub(super) status: String,
    /// The cause or the consequence.
    pub(super) detail: String,
}

/// About the device in the worst condition.
pub(super) fn headline(data: &ViewData) -> Headline {
    let Some(snapshot) = data.snapshot() else {
        return Headline {
            level: Level::Unknown,
            status: "Attached: waiting for the first sign of the server".to_owned(),
            detail: String::new(),
        };
    };
    let worst = snapshot
        .devices
        .iter()
        .filter(|device| Level::of(device.condition) >= Level::Warning)
        .max_by_key(|device| (Level::of(device.condition), condition_age(snapshot, device)));
    match worst {
        Some(device) => problem(data, snapshot, device),
        None => no_problem(data, snapshot),
    }
}

/// For how long the device has been in its condition, ns.
pub(super) fn condition_age(snapshot: &Snapshot, device: &DeviceSnapshot) -> Option<Nanos> {
    device.since.map(|since| snapshot.at.saturating_sub(since))
}

fn problem(data: &ViewData, snapshot: &Snapshot, device: &DeviceSnapshot) -> Headline {
    let name = device.device.to_string();
    let name = clean(&name);
    let why = device.cause.unwrap_or(Cause::Unknown);
    let age = condition_age(snapshot, device);
    let age = age.map_or(String::new(), |age| format!(" for {}", duration(age)));
    let explained = format!("{}: {}", why.name(), cause::hint(why));
    let (status, detail) = match device.condition {
        Some(Condition::Stalled) => {
            let blocked = match snapshot.held_up {
                1 => "1 request is held up".to_owned(),
                several => format!("{several} requests are held up"),
            };
            let more = match device.waiting {
                waiting if device.estimated && waiting > 0 => {
                    format!(", up to {waiting} more wait")
                }
                _ => String::new(),
            };
            (format!("STALLED  {name}{age}; {blocked}{more}"), explained)
        }
        Some(Condition::Filling) => {
            let detail = match data.full_in(&device.device) {
                Some(time) => format!(
                    "its send buffer is full in about {}: then requests hang",
                    duration(time)
                ),
                None => "when its send buffer is full, requests hang".to_owned(),
            };
            let status = format!("FILLING  {name} has acknowledged nothing{age}");
            (status, detail)
        }
        _ => (
            format!("FAILING  {name}{age}; nobody is held up now"),
            explained,
        ),
    };
    Headline {
        level: Level::of(device.condition),
        status,
        detail,
    }
}

fn no_problem(data: &ViewData, snapshot: &Snapshot) -> Headline {
    let before = match data.hang_count {
        0 => String::new(),
        1 => "; 1 hang before".to_owned(),
        several => format!("; {several} hangs before"),
    };
    if snapshot.devices.is_empty() {
        return Headline {
            level: Level::Unknown,
            status: format!("No audit device has been seen yet{before}"),
            detail: "each is known by the first entry that is written to it".to_owned(),
        };
    }
    Headline {
        level: Level::Good,
        status: format!("OK  no audit device stalls{before}"),
        detail: String::new(),
    }
}

/// `0.4 s`, `12.3 s`, `4 min 05 s`, `3 h 10 min`
pub(super) fn duration(nanos: Nanos) -> String {
    let whole = nanos / 1_000_000_000;
    match whole {
        0..100 => format!("{:.1} s", seconds(nanos)),
        100..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

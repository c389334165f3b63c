//! The first lines of the live view: which device is unresponsive now, for how long, why, how many
//! requests it blocks, and what to do.

use super::{
    model::{Level, ViewData},
    words::{condition_age, duration, request},
};
use crate::sink::outage::Outage;
use tracer_format::text::{cause, clean, count};
use tracer_model::{Cause, Condition, DeviceSnapshot, Snapshot};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Headline {
    pub(super) level: Level,
    pub(super) status: String,
    /// The cause or the consequence.
    pub(super) detail: String,
    /// Since when, how many requests, the worst of them.
    pub(super) outage: Option<String>,
    /// What to do.
    pub(super) remedy: Option<&'static str>,
}

/// About the device in the worst condition.
pub(super) fn headline(data: &ViewData) -> Headline {
    let Some(snapshot) = data.snapshot() else {
        return Headline {
            level: Level::Unknown,
            status: "Attached: nothing has been seen of the server yet".to_owned(),
            ..Headline::default()
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

fn problem(data: &ViewData, snapshot: &Snapshot, device: &DeviceSnapshot) -> Headline {
    let name = device.device.to_string();
    let name = clean(&name);
    let why = device.cause.unwrap_or(Cause::Unknown);
    let age = condition_age(snapshot, device);
    let age = age.map_or(String::new(), |age| format!(" for {}", duration(age)));
    let explained = format!("{}: {}", why.name(), cause::hint(why));
    let (status, detail) = match device.condition {
        Some(Condition::Stalled) => {
            let blocked = match snapshot.blocked {
                1 => "1 request is blocked".to_owned(),
                several => format!("{several} requests are blocked"),
            };
            let more = match device.waiting {
                waiting if device.estimated && waiting > 0 => {
                    format!(", up to {waiting} more wait")
                }
                _ => String::new(),
            };
            (
                format!("BLOCKED  {name} unresponsive{age}; {blocked}{more}"),
                explained,
            )
        }
        Some(Condition::Filling) => {
            let detail = match data.full_in(&device.device) {
                Some(time) => format!(
                    "its send buffer is full in about {}: then requests are blocked",
                    duration(time)
                ),
                None => "when its send buffer is full, requests are blocked".to_owned(),
            };
            let status = format!("FILLING  {name} has acknowledged nothing{age}");
            (status, detail)
        }
        _ => (
            format!("FAILING  {name}{age}; no request is blocked now"),
            explained,
        ),
    };
    let is_known = device.condition != Some(Condition::Filling) && why != Cause::Unknown;
    Headline {
        level: Level::of(device.condition),
        status,
        detail,
        outage: data
            .outages
            .of(&device.device)
            .and_then(|o| outage(data, o, device.condition)),
        remedy: is_known.then(|| cause::remedy(why)),
    }
}

/// `answered since 04:22:07Z: 2 requests blocked (3.01 s in all); worst 2.00 s: read sys/mounts, id ...`
fn outage(data: &ViewData, outage: &Outage, condition: Option<Condition>) -> Option<String> {
    if outage.blocked + outage.failed == 0 {
        return None;
    }
    // Others are blocked now.
    let answered = match condition {
        Some(Condition::Stalled) => "answered ",
        _ => "",
    };
    let since = data.clock.time(outage.since).strftime("%H:%M:%SZ");
    let worst = outage.worst.as_ref().map(|hang| {
        let id = hang
            .request
            .id
            .as_deref()
            .map(|id| format!(", id {}", clean(id)));
        let (took, what) = (duration(hang.duration), request(&hang.request));
        let worst = match outage.blocked {
            1 => ": ".to_owned(),
            _ => format!("; worst {took}: "),
        };
        format!("{worst}{what}{}", id.unwrap_or_default())
    });
    Some(format!(
        "{answered}since {since}: {}{}",
        outage.requests(),
        worst.unwrap_or_default()
    ))
}

fn no_problem(data: &ViewData, snapshot: &Snapshot) -> Headline {
    let before = match data.hang_count {
        0 => String::new(),
        several => format!("; {} before", count(several, "hang")),
    };
    if snapshot.devices.is_empty() {
        return Headline {
            level: Level::Unknown,
            status: format!("No audit device has been seen yet{before}"),
            detail: "a device is recognised by the first entry that is written to it".to_owned(),
            ..Headline::default()
        };
    }
    Headline {
        level: Level::Good,
        status: format!("OK  no audit device blocks a request{before}"),
        ..Headline::default()
    }
}

//! The first lines of the live view: whether something is stalled now, which device, for how long, why, and who waits.

use super::model::{Level, Picture};
use crate::sink::clean::clean;
use tracer_format::text::seconds;
use tracer_model::{Cause, Condition, DeviceSnapshot, Nanos, Snapshot};

/// What is the matter, and what that means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) level: Level,
    pub(super) what: String,
    pub(super) why: String,
}

impl Answer {
    fn new(level: Level, what: String, why: String) -> Self {
        Self { level, what, why }
    }
}

/// The answer that a picture gives.
pub(super) fn answer(picture: &Picture) -> Answer {
    let Some(state) = &picture.state else {
        let what = "Attached: waiting for the first sign of the server".to_owned();
        return Answer::new(Level::Unknown, what, String::new());
    };
    let worst = state
        .devices
        .iter()
        .filter(|device| Level::of(device.condition) >= Level::Warning)
        .max_by_key(|device| (Level::of(device.condition), lasts(state.at, device)));
    match worst {
        Some(device) => of_trouble(picture, state, device),
        None => of_calm(picture, state),
    }
}

/// Since when it is so, ns.
pub(super) fn lasts(at: Nanos, device: &DeviceSnapshot) -> Option<Nanos> {
    device.since.map(|since| at.saturating_sub(since))
}

fn of_trouble(picture: &Picture, state: &Snapshot, device: &DeviceSnapshot) -> Answer {
    let name = device.device.to_string();
    let name = clean(&name);
    let cause = device.cause.unwrap_or(Cause::Unknown);
    let lasts =
        lasts(state.at, device).map_or(String::new(), |lasts| format!(" for {}", time(lasts)));
    match device.condition {
        Some(Condition::Stalled) => {
            let more = match device.waiting {
                waiting if device.estimated && waiting > 0 => {
                    format!(", up to {waiting} more wait")
                }
                _ => String::new(),
            };
            let what = format!("STALLED  {name}{lasts}; {}{more}", held_up(state.held_up));
            Answer::new(
                Level::Bad,
                what,
                format!("{}: {}", cause.name(), meaning(cause)),
            )
        }
        Some(Condition::Filling) => {
            let what = format!("FILLING  {name} has acknowledged nothing{lasts}");
            let why = match picture.full_in(device) {
                Some(left) => format!(
                    "its send buffer is full in about {}: then requests hang",
                    time(left)
                ),
                None => "when its send buffer is full, requests hang".to_owned(),
            };
            Answer::new(Level::Warning, what, why)
        }
        _ => {
            let what = format!("FAILING  {name}{lasts}; nobody is held up now");
            Answer::new(
                Level::Warning,
                what,
                format!("{}: {}", cause.name(), meaning(cause)),
            )
        }
    }
}

fn of_calm(picture: &Picture, state: &Snapshot) -> Answer {
    let before = match picture.told {
        0 => String::new(),
        1 => "; 1 hang before".to_owned(),
        several => format!("; {several} hangs before"),
    };
    if state.devices.is_empty() {
        let what = format!("No audit device has been seen yet{before}");
        let why = "each is known by the first entry that is written to it".to_owned();
        return Answer::new(Level::Unknown, what, why);
    }
    Answer::new(
        Level::Good,
        format!("OK  no audit device stalls{before}"),
        String::new(),
    )
}

fn held_up(requests: u64) -> String {
    match requests {
        1 => "1 request is held up".to_owned(),
        several => format!("{several} requests are held up"),
    }
}

/// Where to look.
fn meaning(cause: Cause) -> &'static str {
    match cause {
        Cause::SynUnanswered => {
            "nothing answers: is the log server's host up, does a firewall swallow it?"
        }
        Cause::NoAck => "what is sent is not acknowledged: network, firewall, log server's host",
        Cause::ZeroWindow => "the log server does not read, or too slowly",
        Cause::LocalDrop => "this host itself drops the packets: look at its firewall",
        Cause::Refused => "nothing listens there",
        Cause::Reset => "the log server's end reset the connection",
        Cause::Unreachable => "no route, or no neighbour answers",
        Cause::Resolver => "the device's name is being looked up: look at the name server",
        Cause::PeerFull => "the reader of the Unix socket does not read",
        Cause::Unknown => "the cause cannot be told yet",
    }
}

/// `0.4 s`, `12.3 s`, `4 min 05 s`, `3 h 10 min`
pub(super) fn time(nanos: Nanos) -> String {
    let whole = nanos / 1_000_000_000;
    match whole {
        0..100 => format!("{:.1} s", seconds(nanos)),
        100..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

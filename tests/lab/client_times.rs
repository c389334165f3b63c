//! Whether a trace accounts for what every client waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::Measured;
use crate::truth;

/// How far the trace may be from what a client measured: this much, or 2 %.
const TOLERANCE: Duration = Duration::from_millis(100);
/// What the agent reports from, unless the command line says otherwise.
const THRESHOLD: Duration = Duration::from_millis(100);

/// One request's last look and the next one's first may cross over, ns.
const HANDOVER: i128 = 20_000_000;
/// What a busy machine may take to let who has left the device release its lock, ns.
const RELEASE: i128 = 500_000_000;

/// One request as its client saw it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientRequest {
    /// What the answer said, if there was one that said it.
    pub id: Option<String>,
    /// Unknown of programs that are not ours.
    pub port: Option<u16>,
    /// As audit entries give it.
    pub path: String,
    /// From the request to its answer.
    pub took: Duration,
    /// What of that is the devices'.
    pub part: Part,
}

/// All that clients measured while a trace ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientTimes {
    /// Every request.
    pub requests: Vec<ClientRequest>,
    /// The addresses of the devices that are dead, sorted.
    pub devices: Vec<String>,
    /// Whether devices work side by side for one request, as Vault's sinks do since 1.15, rather than one after the other.
    #[serde(default)]
    pub side_by_side: bool,
}

/// What the devices' part was in the time that a client measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// All of it.
    All,
    /// The server had other things to wait for.
    AtMost,
    /// The client did not wait for the end.
    AtLeast,
    /// None: no device blocked it, however long it took.
    Nothing,
}

impl From<&Measured> for ClientRequest {
    fn from(request: &Measured) -> Self {
        Self {
            id: request.request_id.clone(),
            port: Some(request.local_port),
            path: request.audit_path().to_owned(),
            took: request.duration,
            part: Part::All,
        }
    }
}

impl ClientRequest {
    /// The same with another part of the devices in it.
    #[must_use]
    pub fn with(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    /// Whether this hang says that it is of this request: by its id, where both know it, else by port and path, where
    /// nobody else has those.
    fn owns(&self, hang: &Value, all: &[Self]) -> bool {
        let said = &hang["request"];
        if let (Some(id), Some(ours)) = (said["id"].as_str(), &self.id) {
            return id == ours;
        }
        let could_be = |request: &Self| {
            let unknown = request.id.is_none() || said["id"].is_null();
            unknown
                && request.port.is_some_and(|port| said["client_port"] == port)
                && said["path"] == request.path.as_str()
        };
        could_be(self) && all.iter().filter(|other| could_be(other)).count() == 1
    }

    /// `open`: what is not known of the total, because the server's own timers were late, or an end lies between two samples.
    fn agrees_with(&self, total: Duration, open: Duration) -> bool {
        let tolerance = TOLERANCE.max(self.took / 50) + open;
        match self.part {
            Part::All => self.took.abs_diff(total) <= tolerance,
            Part::AtMost => total <= self.took,
            Part::AtLeast => total + tolerance >= self.took,
            Part::Nothing => total.is_zero(),
        }
    }
}

/// What our own clients measured, all of it the devices' part.
pub fn client_requests(measured: &[Measured]) -> Vec<ClientRequest> {
    measured.iter().map(ClientRequest::from).collect()
}

impl ClientTimes {
    /// Every request's hangs, one for each device, add up to what its client measured; a request that nothing blocked
    /// has none; and no hang is anybody else's.
    pub fn matches(&self, hangs: &[&Value]) -> Result<()> {
        let all = &self.requests;
        let mut wrong: Vec<_> = all
            .iter()
            .filter_map(|request| {
                let error = matches_own_hangs(request, hangs, self).err()?;
                Some(format!("{request:?}: {error:#}"))
            })
            .collect();
        let nobodys = hangs
            .iter()
            .filter(|hang| !all.iter().any(|request| request.owns(hang, all)));
        wrong.extend(nobodys.map(|hang| format!("nobody's: {hang}")));
        ensure!(
            wrong.is_empty(),
            "of {} requests and {} hangs:\n{}",
            all.len(),
            hangs.len(),
            wrong.join("\n")
        );
        check_lock_holders(hangs)
    }
}

fn matches_own_hangs(request: &ClientRequest, hangs: &[&Value], times: &ClientTimes) -> Result<()> {
    let own: Vec<_> = hangs
        .iter()
        .filter(|hang| request.owns(hang, &times.requests))
        .copied()
        .collect();
    let total = if times.side_by_side {
        truth::blocked(&own)
    } else {
        own.iter().map(|hang| duration(hang)).sum()
    };
    // Near the threshold, either is right; and who is slow by itself need not have been blocked.
    let unheld = match request.part {
        Part::AtMost => Duration::from_secs(1),
        Part::All | Part::AtLeast => THRESHOLD + TOLERANCE,
        Part::Nothing => Duration::MAX,
    };
    if own.is_empty() && request.took < unheld {
        return Ok(());
    }
    let open = lateness(&own, hangs) + truth::uncertainty(&own);
    ensure!(
        request.agrees_with(total, open),
        "{} hangs, {total:?} in all, {open:?} of it open, {:+} ms",
        own.len(),
        total.as_millis() as i64 - request.took.as_millis() as i64
    );
    let mut blamed: Vec<_> = own
        .iter()
        .filter_map(|hang| hang["device"]["address"].as_str())
        .collect();
    blamed.sort_unstable();
    ensure!(blamed == times.devices, "blamed are {blamed:?}");
    own.iter().try_for_each(|hang| identifies(hang, request))
}

/// By how much the dials of these hangs that timed out were longer than the shortest of all: a machine too busy to wake the server
/// in time keeps it from going on between its operations, too.
fn lateness(own: &[&Value], all: &[&Value]) -> Duration {
    let shortest = timed_out(all).min().unwrap_or_default();
    timed_out(own)
        .map(|dial| dial.saturating_sub(shortest))
        .sum()
}

fn timed_out(hangs: &[&Value]) -> impl Iterator<Item = Duration> {
    let stalls = hangs.iter().filter_map(|hang| hang["stalls"].as_array());
    let dials = stalls
        .flatten()
        .filter(|stall| stall["op"] == "connect" && stall["outcome"] == "timeout");
    dials.map(duration)
}

/// It says what the client and the audit entry know of the request.
fn identifies(hang: &Value, request: &ClientRequest) -> Result<()> {
    let said = &hang["request"];
    ensure!(said["id"].is_string(), "no id: {hang}");
    if let Some(id) = &request.id {
        ensure!(said["id"] == id.as_str(), "id: {hang}");
    }
    ensure!(said["path"] == request.path.as_str(), "path: {hang}");
    if let Some(port) = request.port {
        ensure!(said["client_port"] == port, "port: {hang}");
    }
    // A sink and the request that waits for it give up at the same moment; which of the two goes first is the scheduler's.
    let is_apart = said["tie"] == "lineage";
    let slack = Duration::from_millis(if is_apart { 50 } else { 1 });
    let within = duration(said) + slack;
    ensure!(duration(hang) <= within, "longer than its request: {hang}");
    Ok(())
}

/// Each wait for the lock names another of the requests, which was stalled in the device meanwhile; and `queued` is who
/// did nothing but wait for it.
fn check_lock_holders(hangs: &[&Value]) -> Result<()> {
    for hang in hangs {
        for lock in stalls(hang, &["lock"]) {
            let holder = lock["blocked_by"].as_str();
            let holder = holder.with_context(|| format!("blocked by nobody: {hang}"))?;
            ensure!(hang["request"]["id"] != holder, "blocked by itself: {hang}");
            let stalled = hangs.iter().any(|other| {
                other["request"]["id"] == holder
                    && other["device"] == hang["device"]
                    && is_stalled_during(other, lock)
            });
            ensure!(stalled, "{holder} held nothing then: {hang}");
        }
        let only_queued = stalls(hang, &["connect", "write"]).is_empty();
        ensure!(
            (hang["request"]["tie"] == "queued") == only_queued,
            "the tie: {hang}"
        );
    }
    Ok(())
}

/// Whether one of the hang's own stalls overlaps with this one of another request, or ended just before: the lock is free
/// only when its holder has left the device.
fn is_stalled_during(hang: &Value, lock: &Value) -> bool {
    let (begin, end) = span(lock);
    let own = stalls(hang, &["connect", "write"]);
    own.into_iter()
        .map(span)
        .any(|own| own.0 < end && begin < own.1 + RELEASE)
}

/// The device's mutex lets one request at a time in: no two requests were stalled in it at the same time.
pub fn check_one_at_a_time(hangs: &[&Value]) -> Result<()> {
    let address = |hang: &Value| hang["device"]["address"].as_str().map(ToOwned::to_owned);
    let devices: BTreeSet<_> = hangs.iter().map(|hang| address(hang)).collect();
    for device in devices {
        let on_it = hangs.iter().filter(|hang| address(hang) == device);
        let mut own: Vec<_> = on_it
            .flat_map(|hang| stalls(hang, &["connect", "write"]))
            .map(span)
            .collect();
        own.sort_unstable();
        for pair in own.windows(2) {
            ensure!(
                pair[0].1 <= pair[1].0 + HANDOVER,
                "{device:?} was held twice: {pair:?}"
            );
        }
    }
    Ok(())
}

/// From when to when, ns.
pub(crate) fn span(stall: &Value) -> (i128, i128) {
    let start: Timestamp = stall["start"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no time: {stall}"));
    let start = start.as_nanosecond();
    (start, start + duration(stall).as_nanos() as i128)
}

/// The stalls with one of these operations.
pub fn stalls<'a>(hang: &'a Value, operations: &[&str]) -> Vec<&'a Value> {
    let all = hang["stalls"].as_array().into_iter().flatten();
    all.filter(|stall| {
        stall["op"]
            .as_str()
            .is_some_and(|op| operations.contains(&op))
    })
    .collect()
}

/// Of a hang, a stall or a request.
pub fn duration(record: &Value) -> Duration {
    Duration::from_nanos(record["duration_ns"].as_u64().unwrap_or_default())
}

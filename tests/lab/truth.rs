//! What clients measured, beside what a trace says blocked them: for requests that waited for nothing but audit devices.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::client::Measured;
use crate::client_times::{duration, span};
use crate::tracer::Trace;

/// How far a wait may be from the truth whose begin and end were seen in the kernel.
pub const SEEN: Duration = Duration::from_millis(2);
/// What sampling may leave open of one wait, at most: its `uncertainty_ns`. It is half of the time between two samples, 0.15 s on
/// an idle machine; a busy one samples later, and the agent says so.
pub const SAMPLED: Duration = Duration::from_millis(900);
/// How late a client may be on a busy machine, after its answer was sent.
pub const LATE: Duration = Duration::from_millis(100);
/// What the agent reports from, unless the command line says otherwise.
const THRESHOLD: Duration = Duration::from_millis(100);

/// One request as its client measured it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Of the answer; unknown where the answer is not ours to read.
    pub id: Option<String>,
    /// Of the client, where it has one.
    pub port: Option<u16>,
    /// From the request to the last byte of its answer.
    pub took: Duration,
    /// Of that, how long the client itself had no processor.
    pub starved: Duration,
    /// Of that, what the server worked elsewhere: in a plugin, at its storage.
    pub worked: Duration,
}

impl From<&Measured> for Client {
    fn from(request: &Measured) -> Self {
        Self {
            id: request.request_id.clone(),
            port: Some(request.local_port),
            took: request.duration,
            starved: request.starved,
            worked: Duration::ZERO,
        }
    }
}

/// All devices work, and no request is reported that its client did not wait for. On a machine without a free processor one may
/// queue for another one that has none to run on.
pub fn no_false_alarm(clients: &[Client], trace: &Trace) -> Result<()> {
    let hangs = trace.hangs();
    let mut own = 0;
    for client in clients {
        let of_client = client.hangs(&hangs);
        client.is_not_exceeded_by(&of_client)?;
        own += of_client.len();
    }
    let has_failed = !trace.of_type("refusal").is_empty();
    let is_out_of_order = hangs.is_empty() && !trace.of_type("incident").is_empty();
    ensure!(
        own == hangs.len() && !has_failed && !is_out_of_order,
        "{}",
        trace.text
    );
    Ok(())
}

/// The same of requests of our own clients.
pub fn nobody_was_blocked(requests: &[Measured], trace: &Trace) -> Result<()> {
    let clients: Vec<_> = requests.iter().map(Client::from).collect();
    no_false_alarm(&clients, trace)
}

impl Client {
    /// Its hangs, one for each device: by the request's id where both know it, else by the client's port.
    pub fn hangs<'a>(&self, all: &[&'a Value]) -> Vec<&'a Value> {
        let is_own = |hang: &&&Value| {
            let request = &hang["request"];
            match (request["id"].as_str(), &self.id) {
                (Some(theirs), Some(own)) => theirs == own,
                _ => self.port.is_some_and(|port| request["client_port"] == port),
            }
        };
        all.iter().filter(is_own).copied().collect()
    }

    /// The client waited for all that its hangs say and for nothing else, to within `slack` beside what they leave open
    /// themselves and what a client may be [`LATE`] or starved; and no hang is longer than its request.
    pub fn agrees_with(&self, all: &[&Value], slack: Duration) -> Result<()> {
        let hangs = self.hangs(all);
        let late = LATE + self.starved;
        if hangs.is_empty() {
            ensure!(self.took < THRESHOLD + slack + late, "{self:?} has no hang");
            return Ok(());
        }
        self.is_not_exceeded_by(&hangs)?;
        let (blocked, open) = (blocked(&hangs), uncertainty(&hangs));
        ensure!(
            blocked + self.worked <= self.took + SEEN
                && blocked + self.worked + slack + open + late >= self.took,
            "{self:?}: its hangs say {blocked:?}, and leave {open:?} open: {hangs:?}"
        );
        // The server's own view of the request, where its end was seen.
        let request = &hangs[0]["request"];
        let seen = request["duration_is_lower_bound"] != true;
        ensure!(
            !seen || blocked + self.worked + slack + open + late >= duration(request),
            "{self:?}: shorter than its request: {blocked:?}, and {open:?} open: {hangs:?}"
        );
        Ok(())
    }

    /// No hang outlasts the request: neither as the trace has it nor as the client measured it.
    pub fn is_not_exceeded_by(&self, hangs: &[&Value]) -> Result<()> {
        for hang in hangs {
            let (told, request) = (duration(hang), duration(&hang["request"]));
            ensure!(told <= request, "longer than its request: {hang}");
            ensure!(told <= self.took + SEEN, "longer than {self:?}: {hang}");
        }
        Ok(())
    }
}

/// The time in which at least one device blocked the request: devices may do it side by side.
pub fn blocked(hangs: &[&Value]) -> Duration {
    let stalls = |hang: &&Value| hang["stalls"].as_array().cloned().unwrap_or_default();
    let mut spans: Vec<_> = hangs.iter().flat_map(stalls).map(|s| span(&s)).collect();
    spans.sort_unstable();
    let mut covered_to = i128::MIN;
    let mut total = 0;
    for (start, end) in spans {
        total += (end - start.max(covered_to)).max(0);
        covered_to = covered_to.max(end);
    }
    Duration::from_nanos(total as u64)
}

/// What sampling leaves open of these hangs.
pub fn uncertainty(hangs: &[&Value]) -> Duration {
    uncertainties(hangs).sum()
}

fn uncertainties(hangs: &[&Value]) -> impl Iterator<Item = Duration> {
    let stalls = hangs.iter().filter_map(|hang| hang["stalls"].as_array());
    let nanos = stalls
        .flatten()
        .filter_map(|s| s["uncertainty_ns"].as_u64());
    nanos.map(Duration::from_nanos)
}

/// All clients agree with these hangs, each wait is sampled well enough, and no hang is of anybody else.
pub fn all_agree(clients: &[Client], hangs: &[&Value], slack: Duration) -> Result<()> {
    for client in clients {
        client.agrees_with(hangs, slack)?;
    }
    all_are_known(clients, hangs)?;
    let worst = uncertainties(hangs).max().unwrap_or_default();
    ensure!(worst <= SAMPLED, "a wait is known to {worst:?} only");
    Ok(())
}

/// Each hang is of one of these clients.
pub fn all_are_known(clients: &[Client], hangs: &[&Value]) -> Result<()> {
    for hang in hangs {
        let is_own = |client: &Client| !client.hangs(&[hang]).is_empty();
        ensure!(clients.iter().any(is_own), "a hang of nobody: {hang}");
    }
    Ok(())
}

/// `truth.json` of a replay case: what the clients of a real Vault measured.
#[derive(Debug, Deserialize)]
pub struct Recorded {
    /// What happened.
    pub what: String,
    /// All of them, in no order.
    pub clients: Vec<RecordedClient>,
}

/// One request there.
#[derive(Debug, Deserialize)]
pub struct RecordedClient {
    /// Of the client.
    pub port: u16,
    /// From the request to the last byte of its answer.
    pub seconds: f64,
    /// HTTP status.
    pub status: u16,
}

impl Recorded {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("truth.json")
    }

    /// The clients, who do not know their requests' ids.
    pub fn clients(&self) -> Vec<Client> {
        let client = |client: &RecordedClient| Client {
            id: None,
            port: Some(client.port),
            took: Duration::from_secs_f64(client.seconds),
            starved: Duration::ZERO,
            worked: Duration::ZERO,
        };
        self.clients.iter().map(client).collect()
    }
}

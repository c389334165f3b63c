//! What a case showed: the truth beside what was reported. It passes from the process of the case to the one that counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kind::Kind;

/// One request as its client measured it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    /// Of the answer; a request that failed has none.
    pub(crate) id: Option<String>,
    pub(crate) port: u16,
    /// As audit entries have it.
    pub(crate) path: String,
    pub(crate) status: u16,
    /// When it was sent, ns since 1970.
    pub(crate) started: i128,
    pub(crate) took: Duration,
    /// Of that, outside of auditing.
    pub(crate) worked: Duration,
}

impl Request {
    pub(crate) fn ended(&self) -> i128 {
        self.started + self.took.as_nanos() as i128
    }

    /// What auditing and the machine took.
    pub(crate) fn waited(&self) -> Duration {
        self.took.saturating_sub(self.worked)
    }
}

/// What was measured without the agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Observed {
    pub(crate) requests: Vec<Request>,
    /// When the fault was first there, and when it was last lifted, ns since 1970.
    pub(crate) fault: Option<(i128, i128)>,
    /// Requests before the fault: the median and the longest.
    pub(crate) healthy: (Duration, Duration),
    /// Connections were reset when the fault began: that is a cause of its own.
    pub(crate) reset: bool,
    /// The machine was too busy with other things to say why a request took long.
    pub(crate) busy: bool,
    /// How late this machine woke a thread meanwhile, at most.
    pub(crate) late: Duration,
    /// Addresses of the devices that break, as the trace has them.
    pub(crate) devices: Vec<String>,
    /// IDs of the entries that the server wrote to its file and that the log server never got, one for each entry; `None` where that
    /// cannot be known.
    pub(crate) untaken: Option<Vec<String>>,
    /// IDs of requests that got HTTP 5xx are in no answer: those that the server's file or the log server has.
    pub(crate) audited: Vec<String>,
}

/// Records by cause: how many say which.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Cell {
    pub(crate) injected: String,
    pub(crate) reported: String,
}

/// How long a client waited beside what its hangs say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Length {
    pub(crate) took: Duration,
    /// The client's time less that of its hangs, and of a healthy request, ns.
    pub(crate) off: i64,
    /// What sampling leaves open, where that is not zero.
    pub(crate) open: Duration,
    /// It can be off by the longest healthy request, and by a client that was woken late.
    pub(crate) slack: Duration,
}

/// Entries that the log server never got.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entries {
    pub(crate) missing: u64,
    pub(crate) reported: u64,
    /// Without all probes, or from the middle of a trace on, fewer may be counted.
    pub(crate) is_lower_bound: bool,
}

/// What the comparison of one case gave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// One for each hang, refusal and incident.
    pub(crate) cells: Vec<Cell>,
    /// Hangs with the id of the request that waited.
    pub(crate) ties: u64,
    /// Hangs without an id.
    pub(crate) unnamed: u64,
    /// Requests that waited for longer than the threshold.
    pub(crate) blocked: u64,
    pub(crate) wrong_ids: Vec<String>,
    pub(crate) false_hangs: Vec<String>,
    pub(crate) missing_hangs: Vec<String>,
    pub(crate) wrong_devices: Vec<String>,
    pub(crate) wrong_lengths: Vec<String>,
    pub(crate) wrong_entries: Vec<String>,
    pub(crate) lengths: Vec<Length>,
    pub(crate) entries: Option<Entries>,
    pub(crate) requests: u64,
    /// Only what no load can excuse was compared.
    pub(crate) busy: bool,
}

impl Verdict {
    /// All that disagrees, in words.
    pub(crate) fn disagreements(&self) -> Vec<String> {
        let wrong_causes = self
            .cells
            .iter()
            .filter(|cell| cell.injected != cell.reported);
        let causes = wrong_causes
            .map(|cell| format!("cause: {} injected, {}", cell.injected, cell.reported));
        let lists = [
            ("id", &self.wrong_ids),
            ("false hang", &self.false_hangs),
            ("missing hang", &self.missing_hangs),
            ("device", &self.wrong_devices),
            ("length", &self.wrong_lengths),
            ("entries", &self.wrong_entries),
        ];
        let others = lists
            .into_iter()
            .flat_map(|(what, list)| list.iter().map(move |text| format!("{what}: {text}")));
        causes.chain(others).collect()
    }
}

/// What the process of a case leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    /// The case in words.
    pub(crate) case: String,
    pub(crate) verdict: Verdict,
}

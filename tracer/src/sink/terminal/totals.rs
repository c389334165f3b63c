//! What each device did, over the whole trace, and the lines that end it.

use std::{collections::BTreeMap, fmt::Write as _};

use tracer_format::text::{count, duration, explain};
use tracer_model::{Device, Nanos, Summary};

use super::{
    pace::Pace,
    words::{cleaned, wrapped},
};

/// What is known and was printed of one device.
#[derive(Debug, Default)]
pub(super) struct OfDevice {
    pub(super) pace: Pace,
    pub(super) outages: u64,
    pub(super) blocked: u64,
    pub(super) blocked_for: Nanos,
    pub(super) longest: Nanos,
    pub(super) failed: u64,
}

impl OfDevice {
    /// Takes a request that it blocked for so long.
    pub(super) fn add_blocked(&mut self, duration: Nanos) {
        self.blocked += 1;
        self.blocked_for += duration;
        self.longest = self.longest.max(duration);
    }

    pub(super) fn facts(&self) -> String {
        let mut facts = vec![count(self.outages, "outage")];
        if self.blocked > 0 {
            facts.push(format!(
                "{} blocked ({} in all, longest {})",
                count(self.blocked, "request"),
                duration(self.blocked_for),
                duration(self.longest)
            ));
        }
        if self.failed > 0 {
            facts.push(explain::failed_for(self.failed));
        }
        facts.join(", ")
    }
}

/// The last lines of a trace: what it saw in all, and of each device.
pub(super) fn closing(summary: &Summary, devices: &BTreeMap<Device, OfDevice>) -> String {
    let least = if summary.requests_at_least {
        "at least "
    } else {
        ""
    };
    let seen = format!(
        "{least}{}, {} to audit devices; {}, {} lost.",
        count(summary.requests, "request"),
        count(summary.audit_writes, "write"),
        count(summary.events, "event"),
        summary.events_lost,
    );
    let is_well = (summary.hangs, summary.refusals, summary.incidents) == (0, 0, 0);
    let answer = if is_well && summary.events_lost == 0 {
        explain::ALL_WELL.to_owned()
    } else {
        let refusals = summary.refusals;
        let failed = (refusals > 0).then(|| format!(", {}", count(refusals, "immediate failure")));
        format!(
            "{}{}",
            count(summary.hangs, "hang"),
            failed.unwrap_or_default()
        )
    };
    let mut text = format!(
        "\n{}\n",
        wrapped(&format!("{answer}. Seen: {seen}"), "", "  ")
    );
    for (device, totals) in devices {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}: {}", cleaned(device), totals.facts());
    }
    let failed = summary.failed_requests.filter(|_| is_well);
    if let Some(sentence) = failed.and_then(|f| explain::unexplained(f, summary.requests)) {
        let _ = writeln!(text, "  {sentence}");
    }
    if summary.events_lost > 0 {
        text.push_str("  Events were lost: durations and counts above are lower bounds.\n");
    }
    text
}

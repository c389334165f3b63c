//! The limits of what tracing may cost, and whether they are met.

use serde::Serialize;

use super::{
    summary::{FIGURES, Spread, Summary},
    variants::Launch,
};

/// Limits of the best strategy that ran: figure, whether it is a minimum, limit, and the target in words.
const LIMITS: [(&str, bool, f64, &str); 6] = [
    (
        "throughput_kept",
        true,
        0.98,
        "throughput at least 0.98 of untraced",
    ),
    ("p99_ratio", false, 1.02, "p99 at most 1.02 of untraced"),
    (
        "bpf_ns_per_request",
        false,
        5500.0,
        "at most 5.5 us a request in BPF programs",
    ),
    (
        "observer_percent",
        false,
        1.0,
        "at most 1 % of a core at full load",
    ),
    (
        "loaded_bytes",
        false,
        24e6,
        "at most 24 MB resident at full load",
    ),
    (
        "records_per_second",
        false,
        10.0,
        "at most 10 ring buffer records a second on a healthy server",
    ),
];
/// The strategy that may not slow down system calls of other processes.
const NO_BYSTANDERS: &str = "socket";
/// Repeated measurements of an unchanged system call differ by as much.
const BYSTANDER_NOISE: f64 = 1.03;

/// A target and whether it is met.
#[derive(Debug, Serialize)]
pub struct Target {
    #[serde(rename = "target")]
    pub text: String,
    pub found: String,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Verdict {
    pub fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "NOT MEASURED",
        }
    }
}

impl Target {
    /// `found`: the value in words, and whether it meets the target.
    fn new(text: String, found: Option<(String, bool)>) -> Self {
        let verdict = match found {
            Some((_, true)) => Verdict::Met,
            Some((_, false)) => Verdict::Missed,
            None => Verdict::NotMeasured,
        };
        let found = found.map_or_else(|| "no figure".to_owned(), |(found, _)| found);
        Self {
            text,
            found,
            verdict,
        }
    }
}

/// All targets.
pub fn targets(summaries: &[Summary]) -> Vec<Target> {
    let is_agent = |launch| matches!(launch, Launch::Agent { record: false, .. });
    let mut ran = summaries.iter().filter(|summary| summary.rounds > 0);
    let best = ran.find(|summary| is_agent(summary.variant.launch));
    let Some(best) = best else {
        return vec![Target::new("cost of the agent".to_owned(), None)];
    };
    let untraced = named(summaries, "untraced");
    let limits = LIMITS.iter().map(|limit| within(best, untraced, limit));
    let tools = summaries
        .iter()
        .filter(|summary| matches!(summary.variant.launch, Launch::Tool(_)));
    let ahead = tools.map(|tool| ahead(best, tool));
    limits
        .chain(ahead)
        .chain([bystanders(summaries, untraced)])
        .collect()
}

fn named<'a>(summaries: &'a [Summary], name: &str) -> Option<&'a Summary> {
    summaries.iter().find(|summary| summary.name == name)
}

fn within(
    best: &Summary,
    untraced: Option<&Summary>,
    (name, at_least, limit, words): &(&str, bool, f64, &str),
) -> Target {
    let figure = FIGURES.iter().find(|figure| figure.name == *name);
    let found = figure.and_then(|figure| {
        let text = |summary: &Summary| Some(figure.text(summary.figures.get(name)?));
        let value = figure.representative(best.figures.get(name)?);
        let noise = untraced.and_then(text);
        let noise = noise.map_or_else(String::new, |noise| format!("; untraced {noise}"));
        let met = if *at_least {
            value >= *limit
        } else {
            value <= *limit
        };
        Some((format!("{} {}{noise}", figure.heading, text(best)?), met))
    });
    Target::new(format!("{}: {words}", best.name), found)
}

fn ahead(best: &Summary, tool: &Summary) -> Target {
    let kept = |summary: &Summary| summary.figures.get("throughput_kept").copied();
    let found = kept(best)
        .zip(kept(tool))
        .map(|(own, other): (Spread, Spread)| {
            let doubt = if own.overlaps(&other) {
                "; their middle halves overlap"
            } else {
                ""
            };
            let text = format!("{:.3} and {:.3}{doubt}", own.median, other.median);
            (text, own.median >= other.median)
        });
    Target::new(
        format!("{}: throughput ahead of {}", best.name, tool.name),
        found,
    )
}

fn bystanders(summaries: &[Summary], untraced: Option<&Summary>) -> Target {
    let ratio = |name| {
        let [traced, untraced] = [named(summaries, NO_BYSTANDERS)?, untraced?]
            .map(|summary| summary.figures.get(name).map(|spread| spread.median));
        Some(traced? / untraced?)
    };
    let found = ratio("getppid_ns")
        .zip(ratio("write_ns"))
        .map(|(getppid, write)| {
            let text = format!("getppid {getppid:.3}, write {write:.3} of untraced");
            (text, getppid.max(write) <= BYSTANDER_NOISE)
        });
    let target = format!(
        "{NO_BYSTANDERS}: system calls of other processes at most {BYSTANDER_NOISE} of untraced (noise)"
    );
    Target::new(target, found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{
            measurement::samples::measurement, rounds::Measurements, summary::summaries, variants,
        },
        *,
    };

    /// Verdicts where the agent keeps `own` and strace `tool` of 1000 requests; bpftrace did not run.
    fn verdicts(own: usize, tool: usize) -> BTreeMap<String, Verdict> {
        let names = ["untraced", "socket", "strace", "bpftrace"];
        let mut variants = variants::all();
        variants.retain(|variant| names.contains(&variant.name));
        let results = Measurements {
            all: vec![
                measurement("untraced", 0, 1000),
                measurement("socket", 0, own),
                measurement("strace", 0, tool),
            ],
            ..Measurements::default()
        };
        targets(&summaries(&variants, &results))
            .into_iter()
            .map(|target| (target.text, target.verdict))
            .collect()
    }

    fn verdict(verdicts: &BTreeMap<String, Verdict>, word: &str) -> Verdict {
        let mut found = verdicts.iter().filter(|(target, _)| target.contains(word));
        let (_, verdict) = found.next().expect(word);
        assert_eq!(found.next(), None, "{word}: {verdicts:?}");
        *verdict
    }

    #[test]
    fn each_target_is_met_or_missed() {
        let met = verdicts(990, 400);
        assert_eq!(verdict(&met, "at least 0.98"), Verdict::Met);
        assert_eq!(verdict(&met, "ahead of strace"), Verdict::Met);
        assert_eq!(verdict(&met, "ahead of bpftrace"), Verdict::NotMeasured);
        for word in [
            "p99",
            "of a core",
            "MB resident",
            "records",
            "other processes",
            "5.5 us",
        ] {
            assert_eq!(verdict(&met, word), Verdict::Met, "{word}");
        }
        let missed = verdicts(970, 980);
        assert_eq!(verdict(&missed, "at least 0.98"), Verdict::Missed);
        assert_eq!(verdict(&missed, "ahead of strace"), Verdict::Missed);
    }

    #[test]
    fn without_measurements_no_target_is_met() {
        let targets = targets(&summaries(&variants::all(), &Measurements::default()));
        assert!(
            targets
                .iter()
                .all(|target| target.verdict == Verdict::NotMeasured)
        );
        assert!(!targets.is_empty());
    }
}

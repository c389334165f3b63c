//! The limits of what tracing may cost, and whether they are met.

use serde::Serialize;

use super::{
    summary::{FIGURES, Figure, Limit, Summary},
    variants::{Launch, Records},
};

/// The strategy that may not slow down system calls of other processes.
const NO_BYSTANDERS: &str = "socket";
/// Repeated measurements of an unchanged system call differ by as much.
const BYSTANDER_NOISE: f64 = 1.03;

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

pub fn targets(summaries: &[Summary]) -> Vec<Target> {
    let is_agent = |launch| {
        matches!(
            launch,
            Launch::Agent {
                records: Records::Nothing,
                ..
            }
        )
    };
    let mut ran = summaries.iter().filter(|summary| summary.rounds > 0);
    let best = ran.find(|summary| is_agent(summary.variant.launch));
    let Some(best) = best else {
        return vec![Target::new("cost of the agent".to_owned(), None)];
    };
    let untraced = named(summaries, "untraced");
    let limits = FIGURES
        .iter()
        .filter_map(|figure| limit(figure, best, untraced));
    let is_tool = |launch| matches!(launch, Launch::Tool(_));
    let tools = summaries
        .iter()
        .filter(|summary| is_tool(summary.variant.launch));
    let ahead = tools.map(|tool| ahead(best, tool));
    limits
        .chain(ahead)
        .chain([bystanders(summaries, untraced)])
        .collect()
}

fn named<'a>(summaries: &'a [Summary], name: &str) -> Option<&'a Summary> {
    summaries.iter().find(|summary| summary.name == name)
}

fn limit(figure: &Figure, best: &Summary, untraced: Option<&Summary>) -> Option<Target> {
    let spread = best.figures.get(figure.name);
    let value = spread.map(|spread| figure.representative(spread));
    let (words, limit, met) = match figure.limit? {
        Limit::AtLeast(limit) => ("at least", limit, value.is_some_and(|value| value >= limit)),
        Limit::AtMost(limit) => ("at most", limit, value.is_some_and(|value| value <= limit)),
    };
    let noise = untraced.and_then(|untraced| untraced.figures.get(figure.name));
    let noise = noise.map(|noise| format!("; untraced {}", figure.summary_text(noise)));
    let found = spread.map(|spread| figure.summary_text(spread) + &noise.unwrap_or_default());
    let target = format!(
        "{}: {} {words} {}",
        best.name,
        figure.heading,
        figure.text(limit)
    );
    Some(Target::new(target, found.map(|found| (found, met))))
}

fn ahead(best: &Summary, tool: &Summary) -> Target {
    let kept = |summary: &Summary| Some(summary.figures.get("throughput_kept")?.median);
    let found = kept(best).zip(kept(tool));
    let found = found.map(|(own, other)| (format!("{own:.3} and {other:.3}"), own >= other));
    Target::new(
        format!("{}: throughput ahead of {}", best.name, tool.name),
        found,
    )
}

fn bystanders(summaries: &[Summary], untraced: Option<&Summary>) -> Target {
    let ratio = |name| {
        let [traced, untraced] = [named(summaries, NO_BYSTANDERS)?, untraced?]
            .map(|summary| Some(summary.figures.get(name)?.median));
        Some(traced? / untraced?)
    };
    let ratios = ratio("getppid_ns").zip(ratio("write_ns"));
    let found = ratios.map(|(getppid, write)| {
        let text = format!("getppid {getppid:.3}, write {write:.3} of untraced");
        (text, getppid.max(write) <= BYSTANDER_NOISE)
    });
    let target = format!("{NO_BYSTANDERS}: other processes at most {BYSTANDER_NOISE} of untraced");
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
            "CPU %",
            "MB at most 24.0",
            "records/s",
            "other processes",
            "BPF us",
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

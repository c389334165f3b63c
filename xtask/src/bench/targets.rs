//! What tracing may cost, and whether it is met. A target that is missed is told like one that is met.

use serde::Serialize;

use super::{
    figures::Spread,
    summary::{Row, Summary, UNTRACED},
    variants::How,
};

/// At the least, of the untraced throughput.
const KEPT: f64 = 0.98;
/// At the most, of the untraced p99.
const P99: f64 = 1.02;
/// Of one core, in percent.
const CPU_PERCENT: f64 = 1.0;
const RESIDENT_BYTES: u64 = 24_000_000;
/// While all is well.
const RECORDS_PER_SECOND: f64 = 10.0;
/// What a system call of another process may seem to cost more: repeated measurements of nothing differ by as much.
const OTHERS_NOISE: f64 = 1.03;
/// The way of probing that must cost others nothing.
const FREE: &str = "socket";

/// A target.
#[derive(Debug, Serialize)]
pub struct Target {
    pub what: String,
    pub found: String,
    pub verdict: Verdict,
}

/// Whether it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Verdict {
    /// For the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "NOT MEASURED",
        }
    }

    fn of(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }
}

/// All targets, for the best way of probing that ran.
pub fn targets(rows: &[Row]) -> Vec<Target> {
    let is_agent = |row: &&Row| matches!(row.variant.how, How::Agent { record: false, .. });
    let best = rows.iter().filter(is_agent).find_map(Row::summary);
    let Some(best) = best else {
        return vec![Target {
            what: "what the agent costs".to_owned(),
            found: "no variant of the agent ran".to_owned(),
            verdict: Verdict::NotMeasured,
        }];
    };
    let noise = rows.iter().find(|row| row.variant.name == UNTRACED);
    let noise = noise.and_then(Row::summary);
    let mut targets = vec![kept(best, noise)];
    targets.extend(peers(rows).map(|peer| ahead(best, peer)));
    targets.extend([
        p99(best, noise),
        cpu(best),
        resident(best),
        records(best),
        others(rows),
    ]);
    targets
}

fn peers(rows: &[Row]) -> impl Iterator<Item = &Row> {
    rows.iter()
        .filter(|row| matches!(row.variant.how, How::Peer(_)))
}

fn kept(best: &Summary, noise: Option<&Summary>) -> Target {
    let kept = best.throughput_kept;
    Target {
        what: format!("{}: throughput at least {KEPT} of untraced", best.variant),
        found: between(&kept) + &beside(noise.map(|noise| &noise.throughput_kept)),
        verdict: Verdict::of(kept.median >= KEPT),
    }
}

fn ahead(best: &Summary, peer: &Row) -> Target {
    let what = format!(
        "{}: throughput ahead of {}",
        best.variant, peer.variant.name
    );
    match peer.summary() {
        None => Target {
            what,
            found: format!("{} did not run", peer.variant.name),
            verdict: Verdict::NotMeasured,
        },
        Some(peer) => {
            let (own, other) = (best.throughput_kept, peer.throughput_kept);
            let doubt = if own.overlaps(&other) {
                "; their middle halves overlap"
            } else {
                ""
            };
            Target {
                what,
                found: format!("{:.3} and {:.3}{doubt}", own.median, other.median),
                verdict: Verdict::of(own.median >= other.median),
            }
        }
    }
}

fn p99(best: &Summary, noise: Option<&Summary>) -> Target {
    Target {
        what: format!("{}: p99 at most {P99} of untraced", best.variant),
        found: between(&best.p99_ratio) + &beside(noise.map(|noise| &noise.p99_ratio)),
        verdict: Verdict::of(best.p99_ratio.median <= P99),
    }
}

fn cpu(best: &Summary) -> Target {
    let found = best.observer_percent;
    Target {
        what: format!(
            "{}: less than {CPU_PERCENT} % of a core at full load",
            best.variant
        ),
        found: found.map_or_else(nothing, |cpu| format!("{:.1} %", cpu.median)),
        verdict: judge(found, |cpu| cpu.median < CPU_PERCENT),
    }
}

fn resident(best: &Summary) -> Target {
    let found = best.loaded_bytes;
    Target {
        what: format!(
            "{}: less than {} MB resident at full load",
            best.variant,
            RESIDENT_BYTES / 1_000_000
        ),
        found: found.map_or_else(nothing, |bytes| format!("{:.1} MB", bytes as f64 / 1e6)),
        verdict: judge(found, |bytes| bytes < RESIDENT_BYTES),
    }
}

fn records(best: &Summary) -> Target {
    let found = best.records_per_second;
    Target {
        what: format!(
            "{}: at most {RECORDS_PER_SECOND} ring buffer records a second while all is well",
            best.variant
        ),
        found: found.map_or_else(nothing, |rate| format!("{:.0} a second", rate.median)),
        verdict: judge(found, |rate| rate.median <= RECORDS_PER_SECOND),
    }
}

fn others(rows: &[Row]) -> Target {
    let mut ran = rows.iter().filter(|row| row.variant.name == FREE);
    let free = ran.find_map(Row::summary);
    let ratios = free.and_then(|free| Some((free.getppid_ratio?, free.write_ratio?)));
    Target {
        what: format!(
            "{FREE}: system calls of other processes pay nothing (at most {OTHERS_NOISE}, the noise)"
        ),
        found: ratios.map_or_else(nothing, |(getppid, write)| {
            format!(
                "getppid {:.3}, write {:.3} of untraced",
                getppid.median, write.median
            )
        }),
        verdict: judge(ratios, |(getppid, write)| {
            getppid.median <= OTHERS_NOISE && write.median <= OTHERS_NOISE
        }),
    }
}

fn judge<T>(found: Option<T>, met: impl FnOnce(T) -> bool) -> Verdict {
    found.map_or(Verdict::NotMeasured, |found| Verdict::of(met(found)))
}

fn between(spread: &Spread) -> String {
    format!(
        "{:.3} (middle half {:.3} to {:.3})",
        spread.median, spread.lower_quartile, spread.upper_quartile
    )
}

/// What the same figure of nothing at all is.
fn beside(noise: Option<&Spread>) -> String {
    noise.map_or_else(String::new, |noise| {
        format!("; of the untraced server itself {}", between(noise))
    })
}

fn nothing() -> String {
    "no figure".to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{figures::samples::measurement, rounds::Results, summary::rows, variants},
        *,
    };

    /// Verdicts where the agent keeps `own` and strace `peer` of 1000 requests; bpftrace did not run.
    fn verdicts(own: usize, peer: usize) -> BTreeMap<String, Verdict> {
        let names = ["untraced", "socket", "strace", "bpftrace"];
        let mut variants = variants::all();
        variants.retain(|variant| names.contains(&variant.name));
        let results = Results {
            measurements: vec![
                measurement("untraced", 0, 1000),
                measurement("socket", 0, own),
                measurement("strace", 0, peer),
            ],
            ..Results::default()
        };
        let rows = rows(&variants, &results);
        let targets = targets(&rows);
        targets
            .into_iter()
            .map(|target| (target.what, target.verdict))
            .collect()
    }

    fn verdict(verdicts: &BTreeMap<String, Verdict>, word: &str) -> Verdict {
        let found: Vec<_> = verdicts
            .iter()
            .filter(|(what, _)| what.contains(word))
            .collect();
        assert_eq!(found.len(), 1, "{word}: {verdicts:?}");
        *found[0].1
    }

    #[test]
    fn each_target_is_told_met_or_missed() {
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
        ] {
            assert_eq!(verdict(&met, word), Verdict::Met, "{word}");
        }
        let missed = verdicts(970, 980);
        assert_eq!(verdict(&missed, "at least 0.98"), Verdict::Missed);
        assert_eq!(verdict(&missed, "ahead of strace"), Verdict::Missed);
    }

    #[test]
    fn nothing_measured_is_nothing_met() {
        let variants = variants::all();
        let targets = targets(&rows(&variants, &Results::default()));
        assert!(
            targets
                .iter()
                .all(|target| target.verdict == Verdict::NotMeasured)
        );
        assert!(!targets.is_empty());
    }
}

//! All rounds of a variant, figure by figure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{rounds::Measurements, variants::Variant};

/// A column of the table, and a name in `bench.json`.
pub struct Figure {
    pub name: &'static str,
    pub heading: &'static str,
    /// The unit of the table, in that of the value.
    unit: f64,
    decimals: usize,
    shown: Shown,
    /// The target for the agent's best strategy.
    pub limit: Option<Limit>,
}

/// Which of all rounds' values stands for them.
#[derive(Clone, Copy)]
enum Shown {
    Median,
    /// The median and, in brackets, the range of the middle half.
    Quartiles,
    Max,
}

#[derive(Clone, Copy)]
pub enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

use Limit::{AtLeast, AtMost};
use Shown::{Max, Median, Quartiles};

const fn figure(
    name: &'static str,
    heading: &'static str,
    unit: f64,
    decimals: usize,
    shown: Shown,
) -> Figure {
    Figure {
        name,
        heading,
        unit,
        decimals,
        shown,
        limit: None,
    }
}

/// Ratios are to the untraced server beside each measurement.
pub const FIGURES: [Figure; 13] = [
    figure("throughput_kept", "throughput kept", 1.0, 3, Quartiles).limited(AtLeast(0.98)),
    figure("requests_per_second", "req/s", 1.0, 0, Median),
    figure("p99_ns", "p99 ms", 1e6, 2, Median),
    figure("p99_ratio", "p99 ratio", 1.0, 3, Quartiles).limited(AtMost(1.02)),
    figure("server_ns", "server us/req", 1e3, 1, Median),
    figure("observer_percent", "CPU %", 1.0, 1, Median).limited(AtMost(1.0)),
    figure("loaded_bytes", "MB", 1e6, 1, Max).limited(AtMost(24e6)),
    figure("bpf_ns_per_request", "BPF us/req", 1e3, 1, Median).limited(AtMost(5500.0)),
    figure("bpf_runs_per_request", "runs/req", 1.0, 1, Median),
    figure("getppid_ns", "getppid ns", 1.0, 0, Median),
    figure("write_ns", "write ns", 1.0, 0, Median),
    figure("records_per_second", "records/s", 1.0, 0, Median).limited(AtMost(10.0)),
    figure("records_lost", "lost", 1.0, 0, Max),
];

impl Figure {
    const fn limited(mut self, limit: Limit) -> Self {
        self.limit = Some(limit);
        self
    }

    /// In the table's unit.
    pub fn text(&self, value: f64) -> String {
        format!("{:.*}", self.decimals, value / self.unit)
    }

    /// In the table's unit, with the quartiles where they are shown.
    pub fn summary_text(&self, spread: &Spread) -> String {
        let text = self.text(self.representative(spread));
        match self.shown {
            Median | Max => text,
            Quartiles => format!(
                "{text} ({:.2}-{:.2})",
                spread.lower_quartile, spread.upper_quartile
            ),
        }
    }

    /// The value that is compared with the limit.
    pub fn representative(&self, spread: &Spread) -> f64 {
        match self.shown {
            Max => spread.max,
            Median | Quartiles => spread.median,
        }
    }
}

/// The distribution of one figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub lower_quartile: f64,
    pub upper_quartile: f64,
    pub max: f64,
}

impl Spread {
    /// `None` without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5)?,
            lower_quartile: quantile(&values, 0.25)?,
            upper_quartile: quantile(&values, 0.75)?,
            max: *values.last()?,
        })
    }
}

/// Interpolated between the two nearest of sorted values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let [below, above] = [place.floor(), place.ceil()].map(|place| sorted[place as usize]);
    Some(below + (above - below) * place.fract())
}

/// A variant over all its rounds.
#[derive(Serialize)]
pub struct Summary {
    #[serde(skip)]
    pub variant: Variant,
    #[serde(rename = "variant")]
    pub name: &'static str,
    pub rounds: usize,
    /// By their names; a figure that the variant does not have is absent.
    #[serde(flatten)]
    pub figures: BTreeMap<&'static str, Spread>,
    /// Why it did not run, or not in all rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One summary a variant.
pub fn summaries(variants: &[Variant], results: &Measurements) -> Vec<Summary> {
    let summary = |variant: &Variant| {
        let own = results.all.iter().filter(|one| one.variant == variant.name);
        let own: Vec<_> = own.collect();
        let figures = FIGURES.iter().filter_map(|figure| {
            let values = own.iter().filter_map(|one| one.figure(figure.name));
            Some((figure.name, Spread::of(values)?))
        });
        let failure = results.failures.get(variant.name).cloned();
        Summary {
            variant: *variant,
            name: variant.name,
            rounds: own.len(),
            figures: figures.collect(),
            failure: failure.or_else(|| own.is_empty().then(|| "no round was finished".into())),
        }
    };
    variants.iter().map(summary).collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::{measurement::samples::measurement, variants},
        *,
    };

    #[test]
    fn quartiles_of_values() {
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([3.0]).unwrap();
        assert_eq!(
            (one.lower_quartile, one.median, one.upper_quartile),
            (3.0, 3.0, 3.0)
        );
        let five = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            (
                five.lower_quartile,
                five.median,
                five.upper_quartile,
                five.max
            ),
            (2.0, 3.0, 4.0, 5.0)
        );
        assert!((Spread::of([1.0, 2.0]).unwrap().median - 1.5).abs() < 1e-9);
    }

    #[test]
    fn a_variant_that_did_not_run_has_a_reason_and_is_not_left_out() {
        let names = ["untraced", "socket", "strace", "bpftrace", "perf-trace"];
        let mut variants = variants::all();
        variants.retain(|variant| names.contains(&variant.name));
        let results = Measurements {
            all: vec![
                measurement("untraced", 0, 1000),
                measurement("socket", 0, 900),
                measurement("socket", 1, 990),
                measurement("socket", 2, 1000),
                measurement("bpftrace", 0, 500),
            ],
            failures: BTreeMap::from([
                ("strace", "no apt".to_owned()),
                ("bpftrace", "crashed".to_owned()),
            ]),
        };
        let found: BTreeMap<_, _> = summaries(&variants, &results)
            .into_iter()
            .map(|summary| (summary.name, summary))
            .collect();
        let socket = &found["socket"];
        assert_eq!((socket.rounds, &socket.failure), (3, &None));
        assert!((socket.figures["throughput_kept"].median - 0.99).abs() < 1e-9);
        assert!(socket.figures["records_lost"].max.abs() < 1e-9);
        let failure = |name: &str| found[name].failure.as_deref();
        assert!(found["strace"].figures.is_empty() && failure("strace") == Some("no apt"));
        assert!(!found["bpftrace"].figures.is_empty() && failure("bpftrace") == Some("crashed"));
        assert_eq!(failure("perf-trace"), Some("no round was finished"));
    }
}

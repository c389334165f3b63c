//! All rounds of a variant, figure by figure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    measurement::{Load, Measurement},
    rounds::Measurements,
    variants::Variant,
};

/// A figure that the tables and `bench.json` show.
pub struct Figure {
    /// Its name in `bench.json`.
    pub name: &'static str,
    pub heading: &'static str,
    shown: Shown,
    /// The unit of the table, in that of `value`.
    unit: f64,
    decimals: usize,
    value: fn(&Measurement) -> Option<f64>,
}

/// Which of all rounds' values stands for them.
#[derive(Clone, Copy)]
enum Shown {
    Median,
    /// The median and, in brackets, the range of the middle half.
    MedianAndQuartiles,
    Max,
}

use Shown::{Max, Median, MedianAndQuartiles};

const fn figure(
    name: &'static str,
    (heading, unit, decimals): (&'static str, f64, usize),
    shown: Shown,
    value: fn(&Measurement) -> Option<f64>,
) -> Figure {
    Figure {
        name,
        heading,
        shown,
        unit,
        decimals,
        value,
    }
}

/// Ratios are to the untraced server beside each measurement.
pub const FIGURES: [Figure; 14] = [
    figure(
        "throughput_kept",
        ("throughput kept", 1.0, 3),
        MedianAndQuartiles,
        |m| Some(m.ratio(Load::rate)),
    ),
    figure("requests_per_second", ("req/s", 1.0, 0), Median, |m| {
        Some(m.attached.load.rate())
    }),
    figure("p99_ns", ("p99 ms", 1e6, 2), Median, |m| {
        Some(m.attached.load.p99_ns as f64)
    }),
    figure(
        "p99_ratio",
        ("p99 ratio", 1.0, 3),
        MedianAndQuartiles,
        |m| Some(m.ratio(|load| load.p99_ns as f64)),
    ),
    figure("server_ns", ("server us/req", 1e3, 1), Median, |m| {
        Some(m.attached.load.server_ns())
    }),
    figure("observer_percent", ("CPU %", 1.0, 1), Median, |m| {
        m.attached.load.observer_percent()
    }),
    figure("loaded_bytes", ("MB", 1e6, 1), Max, |m| {
        Some(m.attached.resident.as_ref()?.loaded_bytes as f64)
    }),
    figure("starting_bytes", ("MB at start", 1e6, 1), Max, |m| {
        Some(m.attached.resident.as_ref()?.starting_bytes as f64)
    }),
    figure(
        "bpf_ns_per_request",
        ("BPF us/req", 1e3, 1),
        Median,
        Measurement::bpf_ns,
    ),
    figure(
        "bpf_runs_per_request",
        ("runs/req", 1.0, 1),
        Median,
        Measurement::bpf_runs,
    ),
    figure("getppid_ns", ("getppid ns", 1.0, 0), Median, |m| {
        Some(m.attached.bystander.getppid_ns)
    }),
    figure("write_ns", ("write ns", 1.0, 0), Median, |m| {
        Some(m.attached.bystander.write_ns)
    }),
    figure(
        "records_per_second",
        ("records/s", 1.0, 0),
        Median,
        Measurement::records_per_second,
    ),
    figure("records_lost", ("lost", 1.0, 0), Max, |m| {
        Some(m.attached.records.as_ref()?.lost as f64)
    }),
];

impl Figure {
    /// In the table's unit.
    pub fn text(&self, spread: &Spread) -> String {
        let number = |value: f64, decimals: usize| format!("{:.decimals$}", value / self.unit);
        let shown = number(self.representative(spread), self.decimals);
        match self.shown {
            Median | Max => shown,
            MedianAndQuartiles => format!(
                "{shown} ({}-{})",
                number(spread.lower_quartile, 2),
                number(spread.upper_quartile, 2)
            ),
        }
    }

    /// The value that a target is compared with.
    pub fn representative(&self, spread: &Spread) -> f64 {
        match self.shown {
            Max => spread.max,
            Median | MedianAndQuartiles => spread.median,
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

    /// Whether the interquartile ranges overlap, so that the medians may differ by chance.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lower_quartile <= other.upper_quartile && other.lower_quartile <= self.upper_quartile
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
            let values = own.iter().filter_map(|one| (figure.value)(one));
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
        assert!(one.overlaps(&five));
        assert!(!Spread::of([4.5]).unwrap().overlaps(&five));
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

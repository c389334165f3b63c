//! All rounds of a variant as one.

use serde::Serialize;

use super::{
    figures::{Load, Measurement, Resident, Spread},
    rounds::Results,
    variants::Variant,
};

/// The name of the variant that others are held against.
pub const UNTRACED: &str = "untraced";

/// A variant over all rounds. Ratios are to the untraced server beside it.
#[derive(Debug, Serialize)]
pub struct Summary {
    pub variant: &'static str,
    pub rounds: usize,
    pub throughput_kept: Spread,
    pub requests_per_second: Spread,
    pub p50_ns: Spread,
    pub p99_ns: Spread,
    pub p999_ns: Spread,
    pub p50_ratio: Spread,
    pub p99_ratio: Spread,
    pub p999_ratio: Spread,
    /// CPU time of the server for one request.
    pub server_ns: Spread,
    pub server_ratio: Spread,
    /// Of who looks: CPU in percent of one core, and memory.
    pub observer_percent: Option<Spread>,
    pub starting_bytes: Option<u64>,
    pub loaded_bytes: Option<u64>,
    pub program_ns_per_request: Option<Spread>,
    pub program_runs_per_request: Option<Spread>,
    pub getppid_ns: Spread,
    pub write_ns: Spread,
    /// To the same round of the untraced variant.
    pub getppid_ratio: Option<Spread>,
    pub write_ratio: Option<Spread>,
    pub records_per_second: Option<Spread>,
    pub records_per_request: Option<Spread>,
    pub records_lost: Option<u64>,
}

/// A variant and what became of it.
pub struct Row {
    pub variant: Variant,
    pub outcome: Outcome,
}

/// What became of a variant.
pub enum Outcome {
    Ran(Box<Summary>),
    /// In some of the rounds; and why not in the others.
    GivenUp(Box<Summary>, String),
    NotRun(String),
}

impl Row {
    /// What was measured, if anything.
    pub fn summary(&self) -> Option<&Summary> {
        match &self.outcome {
            Outcome::Ran(summary) | Outcome::GivenUp(summary, _) => Some(summary),
            Outcome::NotRun(_) => None,
        }
    }

    /// Why it did not run, or not in all rounds.
    pub fn trouble(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Ran(_) => None,
            Outcome::GivenUp(_, reason) | Outcome::NotRun(reason) => Some(reason),
        }
    }
}

/// One row a variant.
pub fn rows(variants: &[Variant], results: &Results) -> Vec<Row> {
    let row = |variant: &Variant| {
        let summary = summarise(variant.name, &results.measurements).map(Box::new);
        let outcome = match (summary, results.given_up.get(variant.name)) {
            (Some(summary), None) => Outcome::Ran(summary),
            (Some(summary), Some(reason)) => Outcome::GivenUp(summary, reason.clone()),
            (None, Some(reason)) => Outcome::NotRun(reason.clone()),
            (None, None) => Outcome::NotRun("no round was finished".to_owned()),
        };
        Row {
            variant: *variant,
            outcome,
        }
    };
    variants.iter().map(row).collect()
}

fn summarise(variant: &'static str, all: &[Measurement]) -> Option<Summary> {
    let own: Vec<_> = all.iter().filter(|one| one.variant == variant).collect();
    let spread = |figure: &dyn Fn(&Measurement) -> Option<f64>| {
        Spread::of(own.iter().filter_map(|measurement| figure(measurement)))
    };
    let load = |figure: fn(&Load) -> f64| spread(&|one| Some(figure(&one.traced)));
    let ratio = |figure: fn(&Load) -> f64| spread(&|one| Some(one.ratio(figure)));
    let others = |figure: fn(&Measurement) -> f64| {
        spread(&|one| {
            let is_base = |base: &&Measurement| base.variant == UNTRACED && base.round == one.round;
            Some(figure(one) / figure(all.iter().find(is_base)?))
        })
    };
    let per_request = |one: &Measurement| {
        let records = one.records.as_ref()?;
        Some((records.events + records.lost) as f64 / one.requests_traced as f64)
    };
    let peak = |bytes: fn(&Resident) -> u64| {
        own.iter()
            .filter_map(|one| one.resident.as_ref())
            .map(bytes)
            .max()
    };
    let lost: Vec<_> = own
        .iter()
        .filter_map(|one| Some(one.records.as_ref()?.lost))
        .collect();
    Some(Summary {
        variant,
        rounds: own.len(),
        throughput_kept: ratio(Load::rate)?,
        requests_per_second: load(Load::rate)?,
        p50_ns: load(|load| load.p50_ns as f64)?,
        p99_ns: load(|load| load.p99_ns as f64)?,
        p999_ns: load(|load| load.p999_ns as f64)?,
        p50_ratio: ratio(|load| load.p50_ns as f64)?,
        p99_ratio: ratio(|load| load.p99_ns as f64)?,
        p999_ratio: ratio(|load| load.p999_ns as f64)?,
        server_ns: load(Load::server_ns)?,
        server_ratio: ratio(Load::server_ns)?,
        observer_percent: spread(&|one| one.traced.observer_percent()),
        starting_bytes: peak(|resident| resident.starting_bytes),
        loaded_bytes: peak(|resident| resident.loaded_bytes),
        program_ns_per_request: spread(&Measurement::program_ns),
        program_runs_per_request: spread(&Measurement::program_runs),
        getppid_ns: spread(&|one| Some(one.others.getppid_ns))?,
        write_ns: spread(&|one| Some(one.others.write_ns))?,
        getppid_ratio: others(|one| one.others.getppid_ns),
        write_ratio: others(|one| one.others.write_ns),
        records_per_second: spread(&Measurement::records_per_second),
        records_per_request: spread(&per_request),
        records_lost: (!lost.is_empty()).then(|| lost.iter().sum()),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{figures::samples::measurement, variants::all},
        *,
    };

    #[test]
    fn what_did_not_run_says_why_and_is_not_left_out() {
        let names = ["untraced", "socket", "strace", "bpftrace"];
        let mut variants = all();
        variants.retain(|variant| names.contains(&variant.name));
        let results = Results {
            measurements: vec![
                measurement("untraced", 0, 1000),
                measurement("socket", 0, 900),
                measurement("socket", 1, 990),
                measurement("socket", 2, 1000),
                measurement("bpftrace", 0, 500),
            ],
            given_up: BTreeMap::from([
                ("strace", "no apt".to_owned()),
                ("bpftrace", "crashed".to_owned()),
            ]),
        };
        let rows = rows(&variants, &results);
        let socket = rows[1].summary().unwrap();
        assert_eq!((socket.rounds, rows[1].trouble()), (3, None));
        assert!((socket.throughput_kept.median - 0.99).abs() < 1e-9);
        // One round only has an untraced one beside it.
        assert!((socket.getppid_ratio.unwrap().median - 1.0).abs() < 1e-9);
        assert_eq!(socket.records_lost, Some(0));
        assert!(rows[2].summary().is_none() && rows[2].trouble() == Some("no apt"));
        assert!(rows[3].summary().is_some() && rows[3].trouble() == Some("crashed"));
    }
}

//! What is measured, as it was measured: raw figures, each with its unit. And how many of them become one.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests under load, as the clients saw them (`tests/examples/bench/load.rs`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Of the time measured.
    pub seconds: f64,
    /// That ended in it.
    pub requests: usize,
    /// From sending a request to the last byte of its answer.
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    /// CPU time of the server, and of who looks at it.
    pub cpu_ns: Vec<u64>,
    /// With those before the time measured.
    pub all_requests: usize,
}

impl Load {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// CPU time of the server for one request, BPF programs that run in its system calls included, in nanoseconds.
    pub fn server_ns(&self) -> f64 {
        self.cpu_ns[0] as f64 / self.requests as f64
    }

    /// CPU time of who looks at the server, in percent of one core.
    pub fn observer_percent(&self) -> Option<f64> {
        let used = Duration::from_nanos(*self.cpu_ns.get(1)?);
        Some(100.0 * used.as_secs_f64() / self.seconds)
    }
}

/// What a system call of any other process costs, in nanoseconds: the best of many batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Others {
    pub getppid_ns: f64,
    pub write_ns: f64,
}

/// What BPF programs took, by the kernel's own count (`BPF_ENABLE_STATS`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Programs {
    pub run_ns: u64,
    pub runs: u64,
}

impl Programs {
    /// Of all programs among a process's descriptors, by `/proc/PID/fdinfo`; `None` if there are none.
    pub fn sum(descriptors: impl Iterator<Item = String>) -> Option<Self> {
        let add = |sum: Self, one: Self| Self {
            run_ns: sum.run_ns + one.run_ns,
            runs: sum.runs + one.runs,
        };
        descriptors.filter_map(|text| Self::of(&text)).reduce(add)
    }

    fn of(fdinfo: &str) -> Option<Self> {
        let number = |name: &str| {
            let line = fdinfo.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse().ok()
        };
        Some(Self {
            run_ns: number("run_time_ns:")?,
            runs: number("run_cnt:")?,
        })
    }

    /// What was added since.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            run_ns: self.run_ns - before.run_ns,
            runs: self.runs - before.runs,
        }
    }
}

/// The most memory that a process had resident: until it was at work, and from then on, under load.
#[derive(Clone, Debug, Serialize)]
pub struct Resident {
    pub starting_bytes: u64,
    pub loaded_bytes: u64,
}

/// What went through the agent's ring buffer, by the `summary` of its trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Records {
    pub events: u64,
    pub lost: u64,
}

impl Records {
    /// `None` if the record is no summary.
    pub fn of_summary(record: &Value) -> Option<Self> {
        Some(Self {
            events: record["events"].as_u64()?,
            lost: record["events_lost"].as_u64()?,
        })
    }
}

/// One variant in one round: the server with it between the server without.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub round: usize,
    pub variant: &'static str,
    /// The untraced server just before and just after.
    pub before: Load,
    pub traced: Load,
    pub after: Load,
    pub others: Others,
    /// Of who looks; `None` for nobody.
    pub resident: Option<Resident>,
    /// During a load of its own, since counting costs time too.
    pub programs: Option<Programs>,
    pub requests_with_programs_counted: usize,
    /// Of the agent.
    pub records: Option<Records>,
    /// What the records are of.
    pub requests_traced: usize,
    /// How long the server was under load while it was traced.
    pub seconds_traced: f64,
}

impl Measurement {
    /// A figure of the traced server in terms of the untraced one beside it.
    pub fn ratio(&self, figure: impl Fn(&Load) -> f64) -> f64 {
        2.0 * figure(&self.traced) / (figure(&self.before) + figure(&self.after))
    }

    /// CPU time inside BPF programs for one request, in nanoseconds.
    pub fn program_ns(&self) -> Option<f64> {
        let programs = self.programs.as_ref()?;
        Some(programs.run_ns as f64 / self.requests_with_programs_counted as f64)
    }

    /// Runs of BPF programs for one request.
    pub fn program_runs(&self) -> Option<f64> {
        let programs = self.programs.as_ref()?;
        Some(programs.runs as f64 / self.requests_with_programs_counted as f64)
    }

    /// Records a second of load.
    pub fn records_per_second(&self) -> Option<f64> {
        let records = self.records.as_ref()?;
        Some((records.events + records.lost) as f64 / self.seconds_traced)
    }
}

/// Many values of one figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    /// A quarter of the values is below, a quarter above these.
    pub lower_quartile: f64,
    pub upper_quartile: f64,
}

impl Spread {
    /// `None` of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5)?,
            lower_quartile: quantile(&values, 0.25)?,
            upper_quartile: quantile(&values, 0.75)?,
        })
    }

    /// Whether the middle halves of two sets of values have something in common: their medians may then be apart by chance.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.lower_quartile <= other.upper_quartile && other.lower_quartile <= self.upper_quartile
    }
}

/// Between the two nearest of sorted values.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share * (sorted.len().checked_sub(1)?) as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
pub mod samples {
    use super::*;

    /// A second of load with so many requests; the server takes 100 us for each, the slowest percentile 10 times that.
    pub fn load(requests: usize, observer_ns: Option<u64>) -> Load {
        let server = requests as u64 * 100_000;
        Load {
            seconds: 1.0,
            requests,
            p50_ns: 100_000,
            p99_ns: 1_000_000,
            p999_ns: 2_000_000,
            cpu_ns: [server].into_iter().chain(observer_ns).collect(),
            all_requests: requests,
        }
    }

    /// A variant that keeps this many of 1000 requests a second.
    pub fn measurement(variant: &'static str, round: usize, requests: usize) -> Measurement {
        Measurement {
            round,
            variant,
            before: load(900, None),
            traced: load(requests, Some(5_000_000)),
            after: load(1100, None),
            others: Others {
                getppid_ns: 150.0,
                write_ns: 200.0,
            },
            resident: Some(Resident {
                starting_bytes: 100_000_000,
                loaded_bytes: 10_500_000,
            }),
            programs: Some(Programs {
                run_ns: 2_000_000,
                runs: 8000,
            }),
            requests_with_programs_counted: 1000,
            records: Some(Records { events: 4, lost: 0 }),
            requests_traced: 2000,
            seconds_traced: 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    #[test]
    fn the_middle_of_values() {
        assert_eq!(Spread::of([]), None);
        let one = Spread::of([3.0]).unwrap();
        assert_eq!(
            (one.lower_quartile, one.median, one.upper_quartile),
            (3.0, 3.0, 3.0)
        );
        let five = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(
            (five.lower_quartile, five.median, five.upper_quartile),
            (2.0, 3.0, 4.0)
        );
        assert!((Spread::of([1.0, 2.0]).unwrap().median - 1.5).abs() < 1e-9);
        assert!(one.overlaps(&five));
        assert!(!Spread::of([4.5]).unwrap().overlaps(&five));
    }

    #[test]
    fn a_ratio_is_to_the_untraced_server_on_either_side() {
        let measurement = measurement("socket", 0, 980);
        assert!((measurement.ratio(Load::rate) - 0.98).abs() < 1e-9);
        assert!((measurement.ratio(Load::server_ns) - 1.0).abs() < 1e-9);
        assert_eq!(measurement.traced.observer_percent(), Some(0.5));
        assert_eq!(measurement.before.observer_percent(), None);
        assert_eq!(measurement.program_ns(), Some(2000.0));
        assert_eq!(measurement.program_runs(), Some(8.0));
        assert_eq!(measurement.records_per_second(), Some(2.0));
    }

    #[test]
    fn programs_are_read_from_descriptors() {
        let program = |ns: u64, runs: u64| {
            format!("pos:\t0\nprog_type:\t17\nprog_id:\t7\nrun_time_ns:\t{ns}\nrun_cnt:\t{runs}\n")
        };
        let descriptors = [
            program(10, 1),
            "pos:\t0\nmap_type:\t27\n".to_owned(),
            program(5, 2),
        ];
        let before = Programs::sum(descriptors.into_iter()).unwrap();
        assert_eq!(
            before,
            Programs {
                run_ns: 15,
                runs: 3
            }
        );
        let later = Programs {
            run_ns: 20,
            runs: 5,
        };
        assert_eq!(later.since(&before), Programs { run_ns: 5, runs: 2 });
        assert_eq!(Programs::sum(["pos:\t0\n".to_owned()].into_iter()), None);
    }

    #[test]
    fn records_are_those_of_a_summary() {
        let summary = serde_json::json!({ "type": "summary", "events": 7, "events_lost": 1 });
        assert_eq!(
            Records::of_summary(&summary),
            Some(Records { events: 7, lost: 1 })
        );
        assert_eq!(
            Records::of_summary(&serde_json::json!({ "type": "hang" })),
            None
        );
    }
}

//! Raw figures as they were measured, each with its unit.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Requests under load, as the clients saw them (`tests/examples/bench/load.rs`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Length of the measurement.
    pub seconds: f64,
    /// Requests that were answered in it.
    pub requests: usize,
    /// From sending a request to the last byte of its answer.
    pub p50_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    /// CPU time of the server, and of the observer if there is one.
    pub cpu_ns: Vec<u64>,
    /// With the requests of the warm-up.
    pub all_requests: usize,
}

impl Load {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// CPU time of the server for one request, in nanoseconds. It includes BPF programs in its system calls.
    pub fn server_ns(&self) -> f64 {
        self.cpu_ns[0] as f64 / self.requests as f64
    }
}

/// What a system call costs a process that has nothing to do with the server: the best of many batches.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bystander {
    pub getppid_ns: f64,
    pub write_ns: f64,
}

/// Run time of BPF programs, as the kernel counts it (`BPF_ENABLE_STATS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BpfRuns {
    pub run_ns: u64,
    pub runs: u64,
}

impl BpfRuns {
    /// The sum over all programs among a process's descriptors, by `/proc/PID/fdinfo`; `None` without programs.
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
}

/// Records of the agent's ring buffer, by the `summary` of its trace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingRecords {
    pub events: u64,
    pub lost: u64,
}

impl RingRecords {
    /// `None` if the record is not a summary.
    pub fn of_summary(record: &Value) -> Option<Self> {
        Some(Self {
            events: record["events"].as_u64()?,
            lost: record["events_lost"].as_u64()?,
        })
    }
}

/// What was measured while a variant was attached.
#[derive(Clone, Debug, Serialize)]
pub struct Attached {
    pub load: Load,
    pub bystander: Bystander,
    /// The most memory that the observer had resident under load; `None` without one.
    pub loaded_bytes: Option<u64>,
    /// During a load of its own, since counting costs time too; with the requests of that load.
    pub bpf: Option<(BpfRuns, usize)>,
    /// Of the agent.
    pub records: Option<RingRecords>,
    /// How long the server was under load while it was traced.
    pub seconds: f64,
}

/// One variant in one round: the server with it, between two measurements of the server without.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub round: usize,
    pub variant: &'static str,
    pub before: Load,
    pub attached: Attached,
    pub after: Load,
}

impl Measurement {
    /// A figure of the traced server, divided by that of the untraced one beside it.
    pub fn ratio(&self, figure: impl Fn(&Load) -> f64) -> f64 {
        2.0 * figure(&self.attached.load) / (figure(&self.before) + figure(&self.after))
    }

    /// A figure of [`super::summary::FIGURES`]; `None` where this variant does not have it.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let Attached {
            load,
            loaded_bytes,
            records,
            ..
        } = &self.attached;
        let bpf = |figure: fn(BpfRuns) -> u64| {
            let (runs, requests) = self.attached.bpf?;
            Some(figure(runs) as f64 / requests as f64)
        };
        match name {
            "throughput_kept" => Some(self.ratio(Load::rate)),
            "requests_per_second" => Some(load.rate()),
            "p99_ns" => Some(load.p99_ns as f64),
            "p99_ratio" => Some(self.ratio(|load| load.p99_ns as f64)),
            "server_ns" => Some(load.server_ns()),
            "observer_percent" => Some(*load.cpu_ns.get(1)? as f64 / 1e7 / load.seconds),
            "loaded_bytes" => Some((*loaded_bytes)? as f64),
            "bpf_ns_per_request" => bpf(|runs| runs.run_ns),
            "bpf_runs_per_request" => bpf(|runs| runs.runs),
            "getppid_ns" => Some(self.attached.bystander.getppid_ns),
            "write_ns" => Some(self.attached.bystander.write_ns),
            "records_per_second" => {
                let records = records.as_ref()?;
                Some((records.events + records.lost) as f64 / self.attached.seconds)
            }
            "records_lost" => Some(records.as_ref()?.lost as f64),
            _ => None,
        }
    }
}

#[cfg(test)]
pub mod samples {
    use super::*;

    /// A second of load with so many requests; the server takes 100 us for each, p99 is 10 times that.
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
        let bpf = BpfRuns {
            run_ns: 2_000_000,
            runs: 8000,
        };
        Measurement {
            round,
            variant,
            before: load(900, None),
            attached: Attached {
                load: load(requests, Some(5_000_000)),
                bystander: Bystander {
                    getppid_ns: 150.0,
                    write_ns: 200.0,
                },
                loaded_bytes: Some(10_500_000),
                bpf: Some((bpf, 1000)),
                records: Some(RingRecords { events: 4, lost: 0 }),
                seconds: 2.0,
            },
            after: load(1100, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{samples::*, *};

    #[test]
    fn a_ratio_is_to_the_untraced_server_on_either_side() {
        let measurement = measurement("socket", 0, 980);
        assert!((measurement.ratio(Load::rate) - 0.98).abs() < 1e-9);
        assert!((measurement.ratio(Load::server_ns) - 1.0).abs() < 1e-9);
        assert_eq!(measurement.figure("observer_percent"), Some(0.5));
        assert_eq!(measurement.figure("bpf_ns_per_request"), Some(2000.0));
        assert_eq!(measurement.figure("bpf_runs_per_request"), Some(8.0));
        assert_eq!(measurement.figure("records_per_second"), Some(2.0));
        let all = super::super::summary::FIGURES;
        assert!(
            all.iter()
                .all(|figure| measurement.figure(figure.name).is_some())
        );
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
        let sum = BpfRuns::sum(descriptors.into_iter());
        assert_eq!(
            sum,
            Some(BpfRuns {
                run_ns: 15,
                runs: 3
            })
        );
        assert_eq!(BpfRuns::sum(["pos:\t0\n".to_owned()].into_iter()), None);
    }

    #[test]
    fn records_are_those_of_a_summary() {
        let summary = serde_json::json!({ "type": "summary", "events": 7, "events_lost": 1 });
        assert_eq!(
            RingRecords::of_summary(&summary),
            Some(RingRecords { events: 7, lost: 1 })
        );
        let hang = serde_json::json!({ "type": "hang" });
        assert_eq!(RingRecords::of_summary(&hang), None);
    }
}

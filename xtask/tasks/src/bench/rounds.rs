//! Rounds of all variants, each variant between two measurements of the untraced server.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use lab::wait;

use super::{
    measurement::{Attached, BpfRuns, Load, Measurement},
    observer::Observer,
    variants::{Launch, Records, Variant, order},
    workload::{WARM_UP, Workload},
};

/// Share of a load during which the kernel counts the run time of BPF programs: an average over thousands of runs.
const COUNTED_SHARE: f64 = 0.5;

#[derive(Default)]
pub struct Measurements {
    pub all: Vec<Measurement>,
    /// Why a variant did not run, or not in all rounds.
    pub failures: BTreeMap<&'static str, String>,
}

impl Measurements {
    /// Leaves a variant out from now on. Printed at once, since the table may be an hour away.
    pub fn give_up(&mut self, variant: &Variant, reason: &anyhow::Error) {
        let reason = format!("{reason:#}");
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("bench: {}: NOT RUN: {reason}", variant.name);
        self.failures.insert(variant.name, reason);
    }
}

pub struct Rounds<'a> {
    pub workload: &'a Workload<'a>,
    pub agent: &'a Path,
    /// The example program `bench`.
    pub helper: &'a Path,
    /// Length of each load.
    pub measured: Duration,
    /// The hooks of each of the agent's strategies, as KIND:HOOK.
    pub hooks: BTreeMap<&'static str, Vec<String>>,
}

impl Rounds<'_> {
    /// Attaches the agent once by each strategy that a variant needs. Variants whose strategy fails are given up.
    pub fn find_hooks(&mut self, variants: &[Variant], results: &mut Measurements) -> Result<()> {
        for variant in variants {
            let Some(probes) = variant.launch.probes() else {
                continue;
            };
            if !self.hooks.contains_key(probes) {
                match self.hooks_of(probes) {
                    Ok(hooks) => drop(self.hooks.insert(probes, hooks)),
                    Err(error) => results.give_up(variant, &error),
                }
                wait::check_interrupt()?;
            }
        }
        Ok(())
    }

    fn hooks_of(&self, probes: &str) -> Result<Vec<String>> {
        let observer = Observer::agent(self.agent, probes, Records::Nothing, self.workload.pid())?;
        let trace = observer.trace();
        let probes = trace
            .first()
            .and_then(|session| session["probes"].as_array());
        let hook = |probe: &serde_json::Value| {
            let (kind, hook) = (probe["kind"].as_str()?, probe["hook"].as_str()?);
            Some(format!("{kind}:{hook}"))
        };
        let hooks = probes.and_then(|probes| probes.iter().map(hook).collect());
        hooks.context("the agent's trace does not say what it is attached to")
    }

    pub fn run(
        &self,
        variants: &[Variant],
        rounds: usize,
        results: &mut Measurements,
    ) -> Result<()> {
        let started = Instant::now();
        for round in 0..rounds {
            let order = order(variants.len(), round).into_iter();
            self.round(round, order.map(|place| &variants[place]), results)?;
            eprintln!(
                "bench: round {} of {rounds} done after {:.0} s",
                round + 1,
                started.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    /// Measures each variant once. One that fails is given up, and the others go on.
    fn round<'a>(
        &self,
        round: usize,
        variants: impl Iterator<Item = &'a Variant>,
        results: &mut Measurements,
    ) -> Result<()> {
        let mut before = self.load(None)?;
        for variant in variants {
            if results.failures.contains_key(variant.name) {
                continue;
            }
            let attached = self.measure(variant);
            // An interrupt is not the variant's failure.
            wait::check_interrupt()?;
            let after = self.load(None)?;
            match attached {
                Ok(attached) => results.all.push(Measurement {
                    round,
                    variant: variant.name,
                    before,
                    attached,
                    after: after.clone(),
                }),
                Err(error) => results.give_up(variant, &error),
            }
            before = after;
        }
        Ok(())
    }

    fn load(&self, observer: Option<u32>) -> Result<Load> {
        self.workload.load(self.measured, observer)
    }

    fn measure(&self, variant: &Variant) -> Result<Attached> {
        let pid = self.workload.pid();
        let observer = match variant.launch {
            Launch::Untraced => return self.untraced(),
            Launch::Agent { probes, records } => Observer::agent(self.agent, probes, records, pid),
            Launch::EmptyPrograms { probes } => {
                let hooks = self.hooks.get(probes);
                let hooks = hooks.ok_or_else(|| anyhow!("--probes {probes} does not work here"))?;
                Observer::helper(self.helper, "empty", hooks)
            }
            Launch::Tool(tool) => Observer::tool(tool, pid),
        };
        self.observed_by(observer?)
    }

    fn untraced(&self) -> Result<Attached> {
        Ok(Attached {
            load: self.load(None)?,
            bystander: self.workload.bystander()?,
            loaded_bytes: None,
            bpf: None,
            records: None,
            seconds: self.measured.as_secs_f64(),
        })
    }

    fn observed_by(&self, observer: Observer) -> Result<Attached> {
        observer.reset_peak()?;
        let load = self.load(Some(observer.pid()))?;
        let bystander = self.workload.bystander()?;
        let counted = self.count_bpf(&observer)?;
        let loaded_bytes = Some(observer.peak_resident()?);
        let loads = [Some(&load), counted.as_ref().map(|(_, load)| load)];
        let seconds = loads
            .into_iter()
            .flatten()
            .map(|load| load.seconds + WARM_UP.as_secs_f64());
        Ok(Attached {
            seconds: seconds.sum(),
            bystander,
            loaded_bytes,
            bpf: counted.map(|(bpf, load)| (bpf, load.all_requests)),
            records: observer.end()?,
            load,
        })
    }

    /// Run time of the observer's BPF programs during a load of its own: counting costs time.
    fn count_bpf(&self, observer: &Observer) -> Result<Option<(BpfRuns, Load)>> {
        if observer.bpf_runs()?.is_none() {
            return Ok(None);
        }
        let counting = Observer::helper(self.helper, "stats", &[])?;
        let before = observer.bpf_runs()?.unwrap_or_default();
        let load = self
            .workload
            .load(self.measured.mul_f64(COUNTED_SHARE), None)?;
        let after = observer.bpf_runs()?.unwrap_or_default();
        drop(counting);
        let added = BpfRuns {
            run_ns: after.run_ns - before.run_ns,
            runs: after.runs - before.runs,
        };
        Ok(Some((added, load)))
    }
}

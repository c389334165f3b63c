//! The measuring itself: rounds of all variants, each between two measurements of the untraced server.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use lab::wait;

use super::{
    figures::{Load, Measurement, Others, Programs, Records, Resident},
    observer::Observer,
    subject::{Subject, WARM_UP},
    variants::{How, Variant, order},
};

/// Of the load during which the run time of BPF programs is counted: it is an average over thousands of runs.
const COUNTED_SHARE: f64 = 0.5;

/// What has been measured.
#[derive(Default)]
pub struct Results {
    pub measurements: Vec<Measurement>,
    /// Why a variant was given up.
    pub not_run: BTreeMap<&'static str, String>,
}

/// Measures.
pub struct Rounds<'a> {
    pub subject: &'a Subject<'a>,
    pub agent: &'a Path,
    pub parts: &'a Path,
    /// Of each load.
    pub measured: Duration,
    /// What `--probes WAY` hangs on here, as KIND:HOOK, or why it cannot be had.
    pub hooks: BTreeMap<&'static str, Result<Vec<String>, String>>,
}

/// What was measured while a variant was attached.
struct Visit {
    traced: Load,
    others: Others,
    resident: Option<Resident>,
    counted: Option<(Programs, Load)>,
    records: Option<Records>,
}

impl<'a> Rounds<'a> {
    /// Finds out what the agent's ways of probing hang on.
    pub fn new(
        subject: &'a Subject<'a>,
        agent: &'a Path,
        parts: &'a Path,
        measured: Duration,
        variants: &[Variant],
    ) -> Result<Self> {
        let ways = variants.iter().filter_map(|variant| match variant.how {
            How::Agent { probes, .. } | How::Empty { probes } => Some(probes),
            How::Nothing | How::Peer(_) => None,
        });
        let mut hooks = BTreeMap::new();
        for way in ways {
            if !hooks.contains_key(way) {
                hooks.insert(way, hooks_of(agent, way, subject.pid()));
                wait::check_interrupt()?;
            }
        }
        Ok(Self {
            subject,
            agent,
            parts,
            measured,
            hooks,
        })
    }

    /// Runs them all. A variant that fails is given up, and the others go on.
    pub fn run(
        &self,
        variants: &[Variant],
        rounds: usize,
        not_run: BTreeMap<&'static str, String>,
    ) -> Result<Results> {
        let mut results = Results {
            not_run,
            ..Results::default()
        };
        let begun = Instant::now();
        for round in 0..rounds {
            let mut before = self.untraced()?;
            for place in order(variants.len(), round) {
                let variant = &variants[place];
                if results.not_run.contains_key(variant.name) {
                    continue;
                }
                match self.visit(variant) {
                    Ok(visit) => {
                        let after = self.untraced()?;
                        let measurement = visit.between(before, after.clone(), round, variant);
                        results.measurements.push(measurement);
                        before = after;
                    }
                    Err(error) => {
                        // The end of the bench is not the variant's failure.
                        wait::check_interrupt()?;
                        let reason = one_line(&format!("{error:#}"));
                        eprintln!("bench: {}: NOT RUN: {reason}", variant.name);
                        results.not_run.insert(variant.name, reason);
                        before = self.untraced()?;
                    }
                }
            }
            eprintln!(
                "bench: round {} of {rounds} done after {:.0} s",
                round + 1,
                begun.elapsed().as_secs_f64()
            );
        }
        Ok(results)
    }

    fn untraced(&self) -> Result<Load> {
        self.subject.load(self.measured, None)
    }

    fn visit(&self, variant: &Variant) -> Result<Visit> {
        let Some(observer) = self.attach(variant)? else {
            return Ok(Visit {
                traced: self.untraced()?,
                others: self.subject.others()?,
                resident: None,
                counted: None,
                records: None,
            });
        };
        let starting_bytes = observer.peak_resident()?;
        observer.forget_peak()?;
        let traced = self.subject.load(self.measured, Some(observer.pid()))?;
        let others = self.subject.others()?;
        let counted = self.counted(&observer)?;
        let resident = Resident {
            starting_bytes,
            loaded_bytes: observer.peak_resident()?,
        };
        Ok(Visit {
            traced,
            others,
            resident: Some(resident),
            counted,
            records: observer.end()?,
        })
    }

    fn attach(&self, variant: &Variant) -> Result<Option<Observer>> {
        let pid = self.subject.pid();
        Ok(Some(match variant.how {
            How::Nothing => return Ok(None),
            How::Agent { probes, record } => {
                self.hooks(probes)?;
                Observer::agent(self.agent, probes, record, pid)?
            }
            How::Empty { probes } => {
                let mut arguments = vec!["empty".to_owned()];
                arguments.extend_from_slice(self.hooks(probes)?);
                Observer::part(self.parts, &arguments)?
            }
            How::Peer(peer) => Observer::peer(peer, pid)?,
        }))
    }

    fn hooks(&self, probes: &str) -> Result<&[String]> {
        match &self.hooks[probes] {
            Ok(hooks) => Ok(hooks),
            Err(reason) => Err(anyhow!("{reason}")),
        }
    }

    /// What the observer's BPF programs take during a load of their own. Nobody counts otherwise: it costs time.
    fn counted(&self, observer: &Observer) -> Result<Option<(Programs, Load)>> {
        if observer.programs()?.is_none() {
            return Ok(None);
        }
        let counting = Observer::part(self.parts, &["stats".to_owned()])?;
        let before = observer.programs()?.unwrap_or_default();
        let load = self
            .subject
            .load(self.measured.mul_f64(COUNTED_SHARE), None)?;
        let after = observer.programs()?.unwrap_or_default();
        drop(counting);
        Ok(Some((after.since(&before), load)))
    }
}

impl Visit {
    /// With what was measured on either side.
    fn between(self, before: Load, after: Load, round: usize, variant: &Variant) -> Measurement {
        let warm_up = Duration::from_millis(WARM_UP).as_secs_f64();
        let (programs, counted) = self.counted.unzip();
        let loads = || [Some(&self.traced), counted.as_ref()].into_iter().flatten();
        Measurement {
            round,
            variant: variant.name,
            requests_traced: loads().map(|load| load.all_requests).sum(),
            seconds_traced: loads().map(|load| load.seconds + warm_up).sum(),
            requests_with_programs_counted: counted.as_ref().map_or(0, |load| load.all_requests),
            before,
            after,
            others: self.others,
            resident: self.resident,
            programs,
            records: self.records,
            traced: self.traced,
        }
    }
}

/// By the trace of an agent that is attached so.
fn hooks_of(agent: &Path, way: &str, pid: u32) -> Result<Vec<String>, String> {
    let attached =
        Observer::agent(agent, way, false, pid).map_err(|error| one_line(&format!("{error:#}")))?;
    let trace = attached.trace();
    let probes = trace
        .first()
        .and_then(|session| session["probes"].as_array());
    let hook = |probe: &serde_json::Value| {
        Some(format!(
            "{}:{}",
            probe["kind"].as_str()?,
            probe["hook"].as_str()?
        ))
    };
    let hooks: Option<Vec<_>> = probes.and_then(|probes| probes.iter().map(hook).collect());
    hooks.ok_or_else(|| "the agent's trace does not say what it is attached to".to_owned())
}

/// For a table.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

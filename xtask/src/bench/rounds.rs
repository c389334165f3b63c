//! The measuring itself: rounds of all variants, each between two measurements of the untraced server.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use lab::wait;

use super::{
    figures::{Load, Measurement, Others, Programs, Records, Resident},
    observer::Observer,
    subject::{Subject, WARM_UP},
    variants::{How, Variant, order},
    ways::Ways,
};

/// Of the load during which the run time of BPF programs is counted: it is an average over thousands of runs.
const COUNTED_SHARE: f64 = 0.5;

/// What has been measured.
#[derive(Default)]
pub struct Results {
    pub measurements: Vec<Measurement>,
    /// Why a variant did not run, or not in all rounds.
    pub given_up: BTreeMap<&'static str, String>,
}

impl Results {
    /// A variant does not run from here on; said at once, since it may be an hour until the table.
    pub fn give_up(&mut self, variant: &Variant, reason: &str) {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        eprintln!("bench: {}: NOT RUN: {reason}", variant.name);
        self.given_up.insert(variant.name, reason);
    }
}

/// Measures.
pub struct Rounds<'a> {
    pub subject: &'a Subject<'a>,
    pub agent: &'a Path,
    pub parts: &'a Path,
    pub ways: &'a Ways,
    /// Of each load.
    pub measured: Duration,
}

/// What was measured while a variant was attached.
struct Visit {
    traced: Load,
    others: Others,
    resident: Option<Resident>,
    counted: Option<(Programs, Load)>,
    records: Option<Records>,
}

impl Rounds<'_> {
    /// Runs them all.
    pub fn run(&self, variants: &[Variant], rounds: usize, results: &mut Results) -> Result<()> {
        let begun = Instant::now();
        for round in 0..rounds {
            let order = order(variants.len(), round);
            self.round(
                round,
                order.into_iter().map(|place| &variants[place]),
                results,
            )?;
            eprintln!(
                "bench: round {} of {rounds} done after {:.0} s",
                round + 1,
                begun.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    /// Each variant once. One that fails is given up, and the others go on.
    fn round<'a>(
        &self,
        round: usize,
        variants: impl Iterator<Item = &'a Variant>,
        results: &mut Results,
    ) -> Result<()> {
        let mut before = self.untraced()?;
        for variant in variants {
            if results.given_up.contains_key(variant.name) {
                continue;
            }
            let visit = self.visit(variant);
            // Our own end is not the variant's failure.
            wait::check_interrupt()?;
            let after = self.untraced()?;
            match visit {
                Ok(visit) => {
                    let measurement = visit.between(before, after.clone(), round, variant);
                    results.measurements.push(measurement);
                }
                Err(error) => results.give_up(variant, &format!("{error:#}")),
            }
            before = after;
        }
        Ok(())
    }

    fn untraced(&self) -> Result<Load> {
        self.subject.load(self.measured, None)
    }

    fn visit(&self, variant: &Variant) -> Result<Visit> {
        match self.attach(variant)? {
            Some(observer) => self.watched_by(observer),
            None => Ok(Visit {
                traced: self.untraced()?,
                others: self.subject.others()?,
                resident: None,
                counted: None,
                records: None,
            }),
        }
    }

    fn attach(&self, variant: &Variant) -> Result<Option<Observer>> {
        let pid = self.subject.pid();
        Ok(Some(match variant.how {
            How::Nothing => return Ok(None),
            How::Agent { probes, record } => Observer::agent(self.agent, probes, record, pid)?,
            How::Empty { probes } => {
                let mut arguments = vec!["empty".to_owned()];
                arguments.extend_from_slice(self.ways.hooks(probes));
                Observer::part(self.parts, &arguments)?
            }
            How::Peer(peer) => Observer::peer(peer, pid)?,
        }))
    }

    fn watched_by(&self, observer: Observer) -> Result<Visit> {
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

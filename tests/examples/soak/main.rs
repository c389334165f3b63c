//! Faults drawn at random against a running agent and its server, while clients measure: `cargo xtask soak` builds and runs it.
//!
//! Whatever happens, no hang may be of a request that was not blocked, nor longer than its request; losses are said; nothing
//! stays attached; and descriptors, threads and memory do not grow.

mod agent;
mod collector;
mod control_group;
mod faults;
mod load;
mod scene;
mod table;
mod truth;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use lab::wait;

use self::{
    faults::Fault,
    scene::Scene,
    table::{Row, Table},
};

#[derive(Parser)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// Draws the faults [default: the time]
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults with this in their name
    #[arg(long)]
    only: Option<String>,
    /// Write the table of this page
    #[arg(long, value_name = "FILE")]
    update: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    wait::catch_interrupts()?;
    let now = jiff::Timestamp::now().as_second().unsigned_abs();
    let seed = options.seed.unwrap_or(now);
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let word = options.only.as_deref().unwrap_or_default();
    let faults: Vec<_> = Fault::ALL
        .into_iter()
        .filter(|it| it.name().contains(word))
        .collect();
    ensure!(!faults.is_empty(), "no fault has a name with {word}");
    let mut scene = Scene::start()?;
    let mut table = Table::default();
    let end = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    // Each at least once, in an order of its own; then any.
    let mut first = faults.clone();
    rng.shuffle(&mut first);
    while Instant::now() < end {
        let drawn = first.pop().or_else(|| rng.choice(&faults).copied());
        let fault = drawn.context("there is one")?;
        let begun = Instant::now();
        let ended = fault.inflict(&mut scene);
        let seconds = begun.elapsed().as_secs_f64();
        println!("{seconds:6.1} s  {}: {}", fault.name(), shown(&ended));
        table.add(fault, &Row::of(&ended));
        if ended.is_err() {
            scene.renew()?;
        }
        wait::check_interrupt()?;
    }
    let requests = scene.requests.answered();
    let last = scene.finish();
    println!("{}", shown(&last));
    let text = table.text(seed, options.minutes, requests);
    print!("{text}");
    if let Some(page) = &options.update {
        table::update(page, &text)?;
    }
    last?;
    ensure!(
        table.failures() == 0,
        "{} faults had another effect than expected; seed {seed}",
        table.failures()
    );
    Ok(())
}

fn shown(ended: &Result<String>) -> String {
    match ended {
        Ok(what) => what.clone(),
        Err(error) => format!("FAILED: {error:#}"),
    }
}

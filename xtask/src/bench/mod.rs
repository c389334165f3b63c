//! `cargo xtask bench`: what tracing costs a real server, side by side with what a user would take instead.
//!
//! One run measures all: untraced, traced by us in each way, programs that do nothing on the same hooks, and the
//! tools of others. Each is measured between two measurements of the untraced server, round after round in another
//! order, since the machine may be noisy: only what is next to each other is compared.

mod figures;
mod machine;
mod observer;
mod offline;
mod output;
mod peers;
mod plot;
mod priority;
mod rounds;
mod subject;
mod summary;
mod table;
mod targets;
mod tracefs;
mod variants;
mod ways;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::wait;

use self::{
    machine::Machine,
    rounds::{Results, Rounds},
    subject::{REQUEST, Subject},
    summary::UNTRACED,
    variants::{How, Variant},
    ways::Ways,
};
use crate::setup::workspace;

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// How often everything is measured
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// How long each measurement takes
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Connections that ask at the same time
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Measure these variants only, beside `untraced`: socket, socket+record, strace, ...
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Run the benchmarks of the agent's code alone, which need no server and no root
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Do not run those
    #[arg(long)]
    online: bool,
}

fn seconds(word: &str) -> Result<f64, String> {
    match word.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 600".to_owned()),
    }
}

impl Options {
    /// Whether there is anything to do that needs root.
    pub fn needs_server(&self) -> bool {
        !self.offline
    }

    /// Runs what needs neither root nor a server.
    pub fn run_offline(&self) -> Result<()> {
        if self.online { Ok(()) } else { offline::run() }
    }

    fn variants(&self) -> Result<Vec<Variant>> {
        let mut variants = variants::all();
        let known: Vec<_> = variants.iter().map(|variant| variant.name).collect();
        for name in &self.only {
            ensure!(
                known.contains(&name.as_str()),
                "--only: no variant {name}; there are {}",
                known.join(", ")
            );
        }
        variants.retain(|variant| {
            let chosen = self.only.is_empty() || self.only.iter().any(|name| name == variant.name);
            // Others are held against it.
            chosen || variant.name == UNTRACED
        });
        Ok(variants)
    }
}

/// The part that needs root.
pub fn run(agent: &Path, bao: &Path, parts: &Path, options: &Options) -> Result<()> {
    wait::catch_interrupts()?;
    let variants = options.variants()?;
    let mut results = Results::default();
    install_peers(&variants, &mut results)?;
    let (rounds, clients) = (usize::from(options.rounds), usize::from(options.clients));
    let machine = Machine::look(bao, REQUEST, clients, rounds, options.seconds)?;
    priority::raise();
    let subject = Subject::start(bao, parts, clients).context("the server did not start")?;
    let ways = Ways::find(agent, subject.pid(), &variants)?;
    for variant in &variants {
        if let Some(obstacle) = ways.obstacle(variant) {
            results.give_up(variant, obstacle);
        }
    }
    let measuring = Rounds {
        subject: &subject,
        agent,
        parts,
        ways: &ways,
        measured: Duration::from_secs_f64(options.seconds),
    };
    measuring.run(&variants, rounds, &mut results)?;
    let rows = summary::rows(&variants, &results);
    let targets = targets::targets(&rows);
    let directory = workspace().join("target/bench");
    output::tell(&directory, &machine, &rows, &targets, &results.measurements)
}

fn install_peers(variants: &[Variant], results: &mut Results) -> Result<()> {
    for variant in variants {
        if let How::Peer(peer) = variant.how
            && let Err(reason) = peer.install()
        {
            results.give_up(variant, &reason);
        }
        wait::check_interrupt()?;
    }
    Ok(())
}

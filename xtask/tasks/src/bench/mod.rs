//! `cargo xtask bench`: what tracing costs a real server, compared with what a user would take instead.
//!
//! Each variant is measured between two measurements of the untraced server, in another order each round: the machine
//! may be noisy, so only neighbouring measurements are compared.

mod measurement;
mod observer;
mod other_tools;
mod report;
mod rounds;
mod summary;
mod targets;
mod variants;
mod workload;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::wait;
use nix::libc::{PRIO_PROCESS, setpriority};

use self::{
    report::Report,
    rounds::{Measurements, Rounds},
    variants::{Launch, Variant},
    workload::Workload,
};
use crate::{
    setup::{self, cargo, workspace},
    ui::Step,
};

/// Limit of the benchmarks of the agent's code.
const OFFLINE_LIMIT: Duration = Duration::from_mins(30);
/// Gives the bench three times the share of an ordinary process. More would keep others from working at all.
const NICE: i32 = -5;

#[derive(clap::Args)]
pub struct BenchOptions {
    /// Number of rounds; each measures every variant once
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Length of each measurement
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    seconds: f64,
    /// Concurrent client connections
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Measure these variants only, beside `untraced`: socket, socket+record, strace, ...
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    only: Vec<String>,
    /// Run only the benchmarks of the agent's code, which need no server and no root
    #[arg(long, conflicts_with = "online")]
    offline: bool,
    /// Run only those with a server
    #[arg(long)]
    online: bool,
    /// Measure this `vault` or `bao` executable instead of the downloaded OpenBao
    #[arg(long, value_name = "PATH", conflicts_with = "offline")]
    server: Option<PathBuf>,
}

fn seconds(word: &str) -> Result<f64, String> {
    match word.parse() {
        Ok(seconds) if (0.1..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0.1 to 600".to_owned()),
    }
}

impl BenchOptions {
    /// Whether there is anything to do that needs root.
    pub fn needs_server(&self) -> bool {
        !self.offline
    }

    /// The server to be measured.
    pub fn server(&self) -> Result<PathBuf> {
        setup::server(self.server.as_deref())
    }

    /// Runs the benchmarks that need neither root nor a server.
    pub fn run_offline(&self) -> Result<()> {
        if self.online {
            return Ok(());
        }
        let mut bench = cargo();
        bench.args(["bench", "--locked", "--package", "vault-tracer"]);
        Step::visible("the offline benchmarks", &mut bench, OFFLINE_LIMIT)
    }

    /// The chosen variants and `untraced`, which the others are compared with.
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
            chosen || matches!(variant.launch, Launch::Untraced)
        });
        Ok(variants)
    }
}

pub fn run(agent: &Path, bao: &Path, helper: &Path, options: &BenchOptions) -> Result<()> {
    wait::catch_interrupts()?;
    let variants = options.variants()?;
    let mut results = Measurements::default();
    install_tools(&variants, &mut results)?;
    let (rounds, clients) = (usize::from(options.rounds), usize::from(options.clients));
    let setting = report::setting(bao, clients, rounds, options.seconds)?;
    raise_priority();
    let workload = Workload::start(bao, helper, clients).context("the server did not start")?;
    let mut measuring = Rounds {
        workload: &workload,
        agent,
        helper,
        measured: Duration::from_secs_f64(options.seconds),
        hooks: BTreeMap::new(),
    };
    measuring.find_hooks(&variants, &mut results)?;
    measuring.run(&variants, rounds, &mut results)?;
    let summaries = summary::summaries(&variants, &results);
    let report = Report {
        setting,
        variants: &summaries,
        targets: &targets::targets(&summaries),
        measurements: &results.all,
    };
    report.write(&workspace().join("target/bench"))
}

fn install_tools(variants: &[Variant], results: &mut Measurements) -> Result<()> {
    for variant in variants {
        if let Launch::Tool(tool) = variant.launch
            && let Err(error) = tool.install()
        {
            results.give_up(variant, &error);
        }
        wait::check_interrupt()?;
    }
    Ok(())
}

/// For this process and all that it starts: server, clients and observers alike.
fn raise_priority() {
    // SAFETY: takes numbers only; 0 is this process.
    if unsafe { setpriority(PRIO_PROCESS, 0, NICE) } != 0 {
        eprintln!("bench: cannot raise its priority: other work on this machine adds noise");
    }
}

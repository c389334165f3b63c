//! What the agent can do, one file a command.

mod completions;
mod doctor;
mod man;
mod outputs;
mod progress;
mod replay;
mod report;
mod stacks;
mod stops;
mod trace;

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write},
};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    cli::{Cli, Command, ReportFormat},
    probe::{privilege, tracefs::Tracefs},
    sandbox::{Privilege, Sandbox},
};

/// Runs what was asked for.
pub fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Trace(_) => {} // Decides by its options.
        Command::Doctor(_) => {
            Tracefs::provide();
            privilege::sandbox().reserve(Privilege::SysAdmin).enter();
        }
        Command::Stacks(_) => {
            let sandbox = Sandbox::default().keep(Privilege::SysPtrace);
            sandbox.keep(Privilege::DacReadSearch).enter();
        }
        _ => Sandbox::of_files().enter(),
    }
    match &cli.command {
        Command::Trace(args) => trace::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Report(args) => report::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Stacks(args) => stacks::run(args),
        Command::Completions { shell } => completions::run(*shell),
        Command::Man { directory } => man::run(directory),
    }
}

/// Prints a report in the format that was asked for.
fn print_report(report: &(impl Display + Serialize), format: ReportFormat) -> Result<()> {
    let text = match format {
        ReportFormat::Text => report.to_string(),
        ReportFormat::Json => serde_json::to_string_pretty(report)? + "\n",
    };
    write_answer(io::stdout().lock(), text.as_bytes())
}

/// That nobody reads on is no failure.
fn write_answer(mut to: impl Write, answer: &[u8]) -> Result<()> {
    match to.write_all(answer) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the answer"),
    }
}

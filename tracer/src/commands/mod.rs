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

use anyhow::Result;

use crate::{
    cli::{Cli, Command},
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

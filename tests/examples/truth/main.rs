//! A confusion matrix: faults drawn at random from a seed are injected in the lab, and what the agent reports is compared with what clients
//! measured, what log servers received and what the server wrote to its file. `cargo xtask truth` builds and runs it.

mod case;
mod compare;
mod driver;
mod fault;
mod kind;
mod load;
mod outcome;
mod receivers;
mod run;
mod scene;
mod table;
mod tally;

use std::{path::PathBuf, process::ExitCode, str::FromStr};

use anyhow::{Context, Result};
use clap::Parser;

use self::{case::Case, kind::Kind};

#[derive(Parser)]
pub(crate) struct Options {
    /// Cases at most; each takes some seconds
    #[arg(long, default_value_t = 1000)]
    cases: u64,
    /// Seed of the first case; each further one has the next. Without it the date is: 20261130 is followed by four digits
    #[arg(long)]
    seed: Option<u64>,
    /// Begin no case after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
    /// Labs side by side
    #[arg(long, default_value_t = 3)]
    labs: usize,
    /// Only this kind of fault, such as `OutputDropped`; may be given several times
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kind>,
    /// Record the agent's events in each case, not only in those that draw it
    #[arg(long)]
    record: bool,
    /// Write the tables to this file, as Markdown; without it they are printed
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Where trace, recording and measurements of a case that disagrees are kept, in a directory named by its seed
    #[arg(long, value_name = "DIR", default_value = "target/truth")]
    keep: PathBuf,
    /// Keep all cases
    #[arg(long)]
    keep_all: bool,
    /// Print the cases, and run none
    #[arg(long)]
    list: bool,
    /// Run the one case of `--seed`, and leave its outcome here
    #[arg(long, value_name = "FILE", hide = true)]
    one: Option<PathBuf>,
}

impl FromStr for Kind {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::all().find(|kind| format!("{kind:?}") == name);
        let all: Vec<_> = Self::all().map(|kind| format!("{kind:?}")).collect();
        found.with_context(|| format!("there are {}", all.join(", ")))
    }
}

impl Options {
    /// The case of a seed; where kinds are given, one of these.
    fn case(&self, seed: u64) -> Case {
        let count = self.kind.len() as u64;
        let kind = (count > 0).then(|| self.kind[(seed % count) as usize]);
        let mut case = Case::draw(seed, kind);
        case.record |= self.record;
        case
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.one {
        Some(file) => driver::run_one(&options, file).map(|()| true),
        None if options.list => {
            driver::list(&options);
            Ok(true)
        }
        None => driver::run_all(&options),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

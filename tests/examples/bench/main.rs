//! Helper processes of `cargo xtask bench`: clients, log server, bystander, empty BPF programs. Unlike xtask they are
//! compiled with optimisations.

mod bystander;
mod empty;
mod load;

use std::{io::Write, net::SocketAddr};

use anyhow::{Context, Result};
use aya::sys::{Stats, enable_stats};
use clap::Parser;
use lab::{Endpoint, log_server};
use serde::Serialize;

#[derive(Parser)]
enum Command {
    /// Send requests for some time; print figures as JSON
    Load(load::Options),
    /// Make system calls that have nothing to do with the server; print their durations as JSON
    Bystander,
    /// Attach programs that return at once, print `ready`, and stay
    Empty {
        /// KIND:HOOK, as in the trace's `probes`
        hooks: Vec<empty::Hook>,
    },
    /// Have the kernel count the run time of all BPF programs while this process lives; print `ready`, and stay
    Stats,
    /// Run the log server
    LogServer { listen: SocketAddr },
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Load(options) => print(&load::run(&options)?),
        Command::Bystander => print(&bystander::run()?),
        Command::Empty { hooks } => {
            let _attached = empty::attach(&hooks)?;
            stay()
        }
        Command::Stats => {
            // Of this descriptor, and not of the sysctl, which would outlive a bench that is killed.
            let _counting = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
            stay()
        }
        Command::LogServer { listen } => log_server::serve(Endpoint::Tcp(listen)),
    }
}

fn print(result: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(result)?);
    Ok(())
}

/// Until killed.
fn stay() -> Result<()> {
    println!("ready");
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}

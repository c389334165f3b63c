//! The processes of `cargo xtask bench` that are not to be slowed down by it, nor it by them: who asks the server, who
//! it logs to, a bystander, programs that do nothing. Compiled with optimisations, which xtask is not.

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
enum Part {
    /// Ask the server for so long; prints what that took, as JSON
    Load(load::Options),
    /// Make system calls that have nothing to do with the server; prints what they take, as JSON
    Bystander,
    /// Attach programs that return at once, say so, and stay
    Empty {
        /// KIND:HOOK, as in the trace's `probes`
        hooks: Vec<empty::Hook>,
    },
    /// Have the kernel count the run time of all BPF programs for as long as this lives; say so, and stay
    Stats,
    /// Read what the server logs
    LogServer { listen: SocketAddr },
}

fn main() -> Result<()> {
    match Part::parse() {
        Part::Load(options) => print(&load::run(&options)?),
        Part::Bystander => print(&bystander::run()?),
        Part::Empty { hooks } => {
            let _attached = empty::attach(&hooks)?;
            stay()
        }
        Part::Stats => {
            // Of this descriptor, and not of the sysctl, which would outlive a bench that is killed.
            let _counting = enable_stats(Stats::RunTime).context("BPF_ENABLE_STATS")?;
            stay()
        }
        Part::LogServer { listen } => log_server::serve(Endpoint::Tcp(listen)),
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

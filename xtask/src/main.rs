//! Tasks of the project: `cargo xtask --help`. This file only dispatches; one file a task.
#![allow(
    unreachable_pub,
    reason = "a binary has no outside: `pub` means for its other files"
)]

mod bench;
mod build;
mod demo;
mod eventlogger;
mod lab;
mod run;
mod setup;
mod test;
mod ui;
mod vm;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set-up, build, demo, lab and tests of vault-tracer. What is missing is prepared by itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(flatten)]
    prepared: run::Prepared,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the agent with its eBPF programs: target/release/vault-tracer
    Build,
    /// Build, then trace the Vault or OpenBao server on this host (root, or sudo)
    Run {
        /// Trace a disposable OpenBao instead, with a log server that is made to go silent
        #[arg(long)]
        demo: bool,
        /// Arguments for `vault-tracer trace`
        #[arg(last = true, value_name = "TRACER ARGS")]
        tracer_args: Vec<OsString>,
    },
    /// Everything CI runs: format, lints, unit and replay tests, build, live tests (root, or sudo)
    Test(test::Options),
    /// What tracing costs a real server, side by side with what a user would take instead (root, or sudo)
    Bench(bench::Options),
    /// The live tests inside stock Debian kernels, under QEMU's software emulation
    Vm(vm::Options),
    /// Build the tests' own server, which audits as Vault 1.15 and later does: target/eventlogger
    Eventlogger,
    /// The reproduction by hand: a Vault host, a log host and the fault between them (root, or sudo)
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

fn dispatch(cli: Cli) -> Result<()> {
    match cli.task {
        Task::Build => build::run(),
        Task::Run {
            demo: false,
            tracer_args,
        } => run::trace(&tracer_args),
        Task::Run {
            demo: true,
            tracer_args,
        } => run::demo(cli.prepared, &tracer_args),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => run::bench(cli.prepared, &options),
        Task::Vm(options) => vm::run(&options),
        Task::Eventlogger => eventlogger::run(),
        Task::Lab(command) => run::lab(cli.prepared, command),
    }
}

fn main() -> ExitCode {
    // SAFETY: the process has a single thread here.
    unsafe { setup::extend_path() };
    match dispatch(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

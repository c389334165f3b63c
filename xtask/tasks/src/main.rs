//! Tasks of the project: `cargo xtask --help`, whose first stage (`xtask/src`) builds and starts this program. This file
//! only dispatches; one file a task.
#![allow(
    unreachable_pub,
    reason = "a binary has no outside: `pub` means for its other files"
)]

mod bench;
mod budget;
mod build;
mod cpu_time;
mod demo;
mod dist;
mod eventlogger;
mod fuzz;
mod lab;
mod libraries;
mod machine;
mod root;
mod run;
mod setup;
mod test;
mod ui;
mod vm;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Builds, demonstrates, tests and measures vault-tracer. Downloads and caches what is missing.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(flatten)]
    programs: run::ProgramPaths,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build the agent with its eBPF programs: target/release/vault-tracer
    Build,
    /// Build, then trace the Vault or OpenBao server on this host (root, or sudo); --demo, --recorded
    Run {
        /// Trace a disposable OpenBao instead, whose log server stops answering
        #[arg(long)]
        demo: bool,
        /// With --demo: show a recording of it, where tracing is not possible; needs neither root nor eBPF
        #[arg(long, requires = "demo", conflicts_with = "tracer_args")]
        recorded: bool,
        /// Arguments for `vault-tracer trace`
        #[arg(last = true, value_name = "TRACER ARGS")]
        tracer_args: Vec<OsString>,
    },
    /// Run what CI runs: format, lints, unit and replay tests, build, live tests (root, or sudo); or less, or more
    Test(test::TestOptions),
    /// Measure what tracing costs a real server, compared with other tools (root, or sudo)
    Bench(bench::BenchOptions),
    /// Build what is released: packages, archive, image, checksums, SBOM in target/dist
    Dist(dist::DistOptions),
    /// Look for false alarms: a server with a device of each kind, clients, logins, changes, restarts (root, or sudo)
    Healthy {
        /// Its options: --requests, --rate, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Draw faults against a running agent and its server at random, two minutes or --minutes (root, or sudo)
    Soak {
        /// Its options: --minutes, --seed, --only, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Feed what reads bytes of others with mutations, for as long as you like: no panic, no more memory or time than allowed
    Fuzz(fuzz::FuzzOptions),
    /// Break devices at random, and compare what is reported with what happened (root, or sudo)
    Truth {
        /// Its options: --cases, --seed, --seconds, --help
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<OsString>,
    },
    /// Compare what the build costs with its limits: compiled units, size of the executable
    Budget,
    /// Run live tests inside stock Debian kernels, under QEMU's software emulation
    Vm(vm::VmOptions),
    /// Build the tests' own server, which writes audit entries as Vault 1.15 and later does: target/eventlogger
    Eventlogger,
    /// Reproduce the hang by hand: a Vault host, a log host and a fault between them (root, or sudo)
    #[command(subcommand)]
    Lab(lab::LabCommand),
}

fn dispatch(cli: Cli) -> Result<()> {
    match cli.task {
        Task::Build => build::run(),
        Task::Run { recorded: true, .. } => run::recorded(cli.programs),
        Task::Run {
            demo: false,
            tracer_args,
            ..
        } => run::trace(&tracer_args),
        Task::Run {
            demo: true,
            tracer_args,
            ..
        } => run::demo(cli.programs, &tracer_args),
        Task::Dist(options) => vm::installed::release(&options),
        Task::Healthy { options } => run::healthy(&options),
        Task::Soak { options } => run::soak(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Truth { options } => run::truth(&options),
        Task::Budget => budget::run(),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => run::bench(cli.programs, &options),
        Task::Vm(options) => vm::run(&options),
        Task::Eventlogger => eventlogger::run(),
        Task::Lab(command) => run::lab(&cli.programs, command),
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

#[cfg(test)]
mod tests {
    use std::{env, fs};

    use anyhow::Context;
    use clap::{CommandFactory, Parser, error::ErrorKind};
    use test_support::documentation::{Call, calls, pages};

    use super::Cli;

    /// `tracer/tests/documentation` tests those of the agent.
    #[test]
    fn the_tasks_take_every_command_line_of_the_documentation() -> anyhow::Result<()> {
        let mut count = 0;
        for page in pages()? {
            for line in page.command_lines() {
                for call in calls(&line)? {
                    let Call::Tasks(arguments) = call else {
                        continue;
                    };
                    let name = "cargo xtask".to_owned();
                    let parsed = Cli::try_parse_from([vec![name], arguments].concat());
                    let error = parsed.err();
                    // Of `cargo xtask lab` too, which a sentence may name.
                    let shown = [
                        ErrorKind::DisplayHelp,
                        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                    ];
                    let error = error.filter(|error| !shown.contains(&error.kind()));
                    error.map_or(Ok(()), Err).with_context(|| line.clone())?;
                    count += 1;
                }
            }
        }
        anyhow::ensure!(count > 20, "only {count} command lines");
        Ok(())
    }

    /// The first stage prints it without building the tasks.
    #[test]
    fn the_first_stage_has_the_help_of_the_tasks() -> anyhow::Result<()> {
        let path = super::setup::workspace().join("xtask/help.txt");
        let help = Cli::command().render_help().to_string();
        if env::var_os("UPDATE_HELP").is_some() {
            fs::write(&path, &help)?;
        }
        assert_eq!(fs::read_to_string(path)?, help);
        Ok(())
    }
}

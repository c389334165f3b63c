//! The tasks that need root: `cargo xtask run`, `run --demo`, `lab`, `bench` and `healthy`. Everything is set up and built as the user;
//! only the finished program runs under sudo.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    bench, build, demo, lab,
    root::{become_root_program, is_root, root_command},
    setup,
    ui::Step,
};

/// Paths of programs, handed by the user's half of a task to its root half, which builds and downloads nothing.
#[derive(clap::Args, Default)]
pub struct ProgramPaths {
    #[arg(long = "agent-path", hide = true)]
    agent: Option<PathBuf>,
    #[arg(long = "bao-path", hide = true)]
    bao: Option<PathBuf>,
    #[arg(long = "bench-helper-path", hide = true)]
    bench_helper: Option<PathBuf>,
}

const AGENT: &str = "--agent-path";
const BAO: &str = "--bao-path";
const BENCH_HELPER: &str = "--bench-helper-path";

/// Of two minutes, and the fault that was begun last.
const SOAK_LIMIT: Duration = Duration::from_mins(5);

/// Builds the agent and becomes it, so that signals and the exit status are the agent's.
pub fn trace(arguments: &[OsString]) -> Result<()> {
    let agent = build::agent()?;
    let mut words = vec![OsStr::new("trace")];
    words.extend(arguments.iter().map(OsString::as_os_str));
    become_root_program(&agent, &words)
}

pub fn demo(paths: ProgramPaths, arguments: &[OsString]) -> Result<()> {
    let (agent, bao) = match (paths.agent, paths.bao) {
        (Some(agent), Some(bao)) => (agent, bao),
        _ => (build::agent()?, setup::OPENBAO.executable()?),
    };
    as_root(&[(AGENT, &agent), (BAO, &bao)], || {
        demo::run(&agent, &bao, arguments)
    })
}

/// The demo as it was recorded, as the user.
pub fn recorded(paths: ProgramPaths) -> Result<()> {
    let agent = paths.agent.map_or_else(build::agent_without_ebpf, Ok)?;
    demo::recorded::run(&agent)
}

/// The benchmarks; as the user, those that need no root come first.
pub fn bench(paths: ProgramPaths, options: &bench::BenchOptions) -> Result<()> {
    let (agent, bao, helper) = if let (Some(agent), Some(bao), Some(helper)) =
        (paths.agent, paths.bao, paths.bench_helper)
    {
        (agent, bao, helper)
    } else {
        options.run_offline()?;
        if !options.needs_server() {
            return Ok(());
        }
        let agent = build::agent()?;
        (agent, setup::OPENBAO.executable()?, build::bench_helper()?)
    };
    let programs = [(AGENT, &*agent), (BAO, &bao), (BENCH_HELPER, &helper)];
    as_root(&programs, || bench::run(&agent, &bao, &helper, options))
}

/// A long time in which nothing is wrong, with these options.
pub fn healthy(options: &[OsString]) -> Result<()> {
    become_in_lab(build::healthy_run, options)
}

/// Faults drawn at random, with these options.
pub fn soak(options: &[OsString]) -> Result<()> {
    become_in_lab(build::soak, options)
}

/// Becomes a program that uses the lab, as root.
fn become_in_lab(build: fn() -> Result<PathBuf>, options: &[OsString]) -> Result<()> {
    let words = lab_command(build)?;
    let words = words.iter().chain(options).map(OsString::as_os_str);
    become_root_program(Path::new("env"), &words.collect::<Vec<_>>())
}

/// Arguments of `env`: what a program that uses the lab has to know, and the program.
fn lab_command(build: fn() -> Result<PathBuf>) -> Result<Vec<OsString>> {
    let programs = [
        ("VAULT_TRACER_AGENT", build::agent()?),
        (setup::OPENBAO.variable, setup::OPENBAO.executable()?),
    ];
    let program = build()?;
    // sudo keeps no variables.
    let variables = programs.map(|(name, path)| format!("{name}={}", path.display()).into());
    Ok(variables.into_iter().chain([program.into()]).collect())
}

/// The same without an end of this program, for `cargo xtask test --full`.
pub fn short_soak(minutes: &str) -> Result<()> {
    let words = lab_command(build::soak)?;
    let options = ["--minutes", minutes].map(OsString::from);
    let words: Vec<_> = words
        .iter()
        .chain(&options)
        .map(OsString::as_os_str)
        .collect();
    let mut command = root_command(Path::new("env"), &words)?;
    Step::visible("faults at random", &mut command, SOAK_LIMIT)
}

/// A step of the lab. As root, OpenBao is prepared only by the step that needs it.
pub fn lab(paths: &ProgramPaths, command: lab::LabCommand) -> Result<()> {
    let bao = || {
        paths
            .bao
            .clone()
            .map_or_else(|| setup::OPENBAO.executable(), Ok)
    };
    if is_root() {
        return as_root(&[], || lab::run(command, &bao));
    }
    as_root(&[(BAO, &bao()?)], || Ok(()))
}

/// Runs `task`; as another user this very command again under sudo, with the paths of the programs.
fn as_root(programs: &[(&str, &Path)], task: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_root() {
        setup::require(setup::LAB)?;
        return task();
    }
    let xtask = env::current_exe().context("cannot find the running xtask")?;
    let own: Vec<_> = env::args_os().skip(1).collect();
    let mut words = Vec::new();
    for (option, path) in programs {
        words.extend([OsStr::new(option), path.as_os_str()]);
    }
    words.extend(own.iter().map(OsString::as_os_str));
    become_root_program(&xtask, &words)
}

//! The tasks that need root: `cargo xtask run`, `run --demo`, `lab`, `bench`, `healthy` and `truth`. Everything is set up and built as the user;
//! only the finished program runs under sudo.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    bench, build, demo, eventlogger, lab,
    root::{become_root_program, is_root, root_command},
    setup,
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
    let variables = tested_programs(&build::agent()?)?;
    become_with(&variables, &build::healthy_run()?, options)
}

/// Faults at random, and what is reported beside what happened, with these options.
pub fn truth(options: &[OsString]) -> Result<()> {
    let variables = truth_programs(&build::agent()?)?;
    become_with(&variables, &build::truth_run()?, options)
}

/// The same as a command, with an agent that is built already.
pub fn truth_command(agent: &Path, options: &[&str]) -> Result<Command> {
    let variables = truth_programs(agent)?;
    let program = build::truth_run()?;
    let mut words: Vec<_> = variables.iter().map(OsStr::new).collect();
    words.push(program.as_os_str());
    words.extend(options.iter().map(OsStr::new));
    root_command(Path::new("env"), &words)
}

/// `NAME=VALUE` of the programs that a run of the lab needs: sudo keeps no variables.
fn tested_programs(agent: &Path) -> Result<Vec<String>> {
    let bao = setup::OPENBAO.executable()?;
    let programs = [
        ("VAULT_TRACER_AGENT", agent),
        (setup::OPENBAO.variable, &*bao),
    ];
    Ok(programs
        .map(|(name, path)| format!("{name}={}", path.display()))
        .into())
}

/// The same with the tests' own server.
fn truth_programs(agent: &Path) -> Result<Vec<String>> {
    let mut variables = tested_programs(agent)?;
    let servers = eventlogger::programs()?;
    variables.push(format!("{}={}", eventlogger::VARIABLE, servers.display()));
    Ok(variables)
}

fn become_with(variables: &[String], program: &Path, options: &[OsString]) -> Result<()> {
    let mut words: Vec<_> = variables.iter().map(OsStr::new).collect();
    words.push(program.as_os_str());
    words.extend(options.iter().map(OsString::as_os_str));
    become_root_program(Path::new("env"), &words)
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

//! The tasks that need root: `cargo xtask run`, `run --demo`, `lab`, `bench`, `healthy`, `soak` and `truth`. Everything is set up and
//! built as the user; only the finished program runs under sudo.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    bench, build, demo, eventlogger, lab,
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
        (agent, options.server()?, build::bench_helper()?)
    };
    let programs = [(AGENT, &*agent), (BAO, &bao), (BENCH_HELPER, &helper)];
    as_root(&programs, || bench::run(&agent, &bao, &helper, options))
}

/// A long time in which nothing is wrong, with these options.
pub fn healthy(options: &[OsString]) -> Result<()> {
    let variables = tested_programs(&build::agent()?)?;
    become_with(&variables, &build::healthy_run()?, options)
}

/// Faults of the host, drawn at random, with these options.
pub fn soak(options: &[OsString]) -> Result<()> {
    let variables = tested_programs(&build::agent()?)?;
    become_with(&variables, &build::soak()?, options)
}

/// Faults of devices, drawn at random, and what is reported beside what happened, with these options.
pub fn truth(options: &[OsString]) -> Result<()> {
    let variables = truth_programs(&build::agent()?)?;
    become_with(&variables, &build::truth_run()?, options)
}

/// For `cargo xtask test --full`: with an agent that is built already.
pub fn short_soak(agent: &Path, minutes: &str) -> Result<()> {
    let options = ["--minutes", minutes].map(OsString::from);
    let mut command = command_with(&tested_programs(agent)?, &build::soak()?, &options)?;
    Step::visible("faults at random", &mut command, SOAK_LIMIT)
}

/// The same of [`truth`], as a command.
pub fn truth_command(agent: &Path, options: &[&str]) -> Result<Command> {
    let options: Vec<_> = options.iter().map(OsString::from).collect();
    command_with(&truth_programs(agent)?, &build::truth_run()?, &options)
}

/// `NAME=VALUE` of the programs that a run of the lab needs: sudo keeps no variables.
fn tested_programs(agent: &Path) -> Result<Vec<OsString>> {
    let bao = setup::OPENBAO.executable()?;
    let programs = [
        ("VAULT_TRACER_AGENT", agent),
        (setup::OPENBAO.variable, &*bao),
    ];
    let variable = |(name, path): (&str, &Path)| format!("{name}={}", path.display()).into();
    Ok(programs.map(variable).into())
}

/// The same with the tests' own server.
fn truth_programs(agent: &Path) -> Result<Vec<OsString>> {
    let mut variables = tested_programs(agent)?;
    let servers = eventlogger::programs()?;
    variables.push(format!("{}={}", eventlogger::VARIABLE, servers.display()).into());
    Ok(variables)
}

/// Arguments of `env`.
fn words<'a>(
    variables: &'a [OsString],
    program: &'a Path,
    options: &'a [OsString],
) -> Vec<&'a OsStr> {
    let variables = variables.iter().map(OsString::as_os_str);
    let options = options.iter().map(OsString::as_os_str);
    variables
        .chain([program.as_os_str()])
        .chain(options)
        .collect()
}

fn become_with(variables: &[OsString], program: &Path, options: &[OsString]) -> Result<()> {
    become_root_program(Path::new("env"), &words(variables, program, options))
}

fn command_with(variables: &[OsString], program: &Path, options: &[OsString]) -> Result<Command> {
    root_command(Path::new("env"), &words(variables, program, options))
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

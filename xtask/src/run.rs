//! `cargo xtask run`, `run --demo`, `lab` and `bench`: what needs root. Everything is set up and built as
//! the user; only the finished program runs under sudo.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Uid;

use crate::{bench, build, demo, lab, setup, ui};

/// The options of [`Prepared`].
const AGENT: &str = "--prepared-agent";
const BAO: &str = "--prepared-bao";
const PARTS: &str = "--prepared-parts";

/// What the user's half of a task hands to its root half, which builds and downloads nothing.
#[derive(clap::Args, Default)]
pub struct Prepared {
    /// The agent
    #[arg(long = "prepared-agent", hide = true)]
    agent: Option<PathBuf>,
    /// The OpenBao server
    #[arg(long = "prepared-bao", hide = true)]
    bao: Option<PathBuf>,
    /// The parts of the bench
    #[arg(long = "prepared-parts", hide = true)]
    parts: Option<PathBuf>,
}

/// Builds the agent and becomes it, so that signals and the exit status are the agent's.
pub fn trace(arguments: &[OsString]) -> Result<()> {
    let agent = build::agent()?;
    let mut words = vec![OsStr::new("trace")];
    words.extend(arguments.iter().map(OsString::as_os_str));
    become_root_program(&agent, &words)
}

/// The demo: as root at once, or through sudo once everything is there.
pub fn demo(prepared: Prepared, arguments: &[OsString]) -> Result<()> {
    let Prepared {
        agent: Some(agent),
        bao: Some(bao),
        ..
    } = prepared
    else {
        let (agent, bao) = (build::agent()?, setup::bao()?);
        let prepared = [(AGENT, agent.as_path()), (BAO, &bao)];
        return as_root(&prepared, || demo_as_root(&agent, &bao, arguments));
    };
    ensure_root()?;
    demo_as_root(&agent, &bao, arguments)
}

fn demo_as_root(agent: &Path, bao: &Path, arguments: &[OsString]) -> Result<()> {
    setup::lab_programs()?;
    demo::run(agent, bao, arguments)
}

/// The benchmarks: those that need no root first, as the user.
pub fn bench(prepared: Prepared, options: &bench::Options) -> Result<()> {
    let Prepared {
        agent: Some(agent),
        bao: Some(bao),
        parts: Some(parts),
    } = prepared
    else {
        options.run_offline()?;
        if !options.needs_server() {
            return Ok(());
        }
        let (agent, parts, bao) = (build::agent()?, build::bench_parts()?, setup::bao()?);
        let prepared = [(AGENT, agent.as_path()), (BAO, &bao), (PARTS, &parts)];
        return as_root(&prepared, || bench_as_root(&agent, &bao, &parts, options));
    };
    ensure_root()?;
    bench_as_root(&agent, &bao, &parts, options)
}

fn bench_as_root(agent: &Path, bao: &Path, parts: &Path, options: &bench::Options) -> Result<()> {
    setup::lab_programs()?;
    bench::run(agent, bao, parts, options)
}

/// A step of the lab. As root, OpenBao is looked for only by the steps that need it.
pub fn lab(prepared: Prepared, command: lab::LabCommand) -> Result<()> {
    if let Some(bao) = prepared.bao {
        ensure_root()?;
        return lab_as_root(command, &|| Ok(bao.clone()));
    }
    if is_root() {
        return lab_as_root(command, &setup::bao);
    }
    restart_as_root(&[(BAO, &setup::bao()?)])
}

fn lab_as_root(command: lab::LabCommand, bao: &dyn Fn() -> Result<PathBuf>) -> Result<()> {
    setup::lab_programs()?;
    lab::run(command, bao)
}

/// Whether this process may do everything itself.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

fn ensure_root() -> Result<()> {
    ensure!(
        is_root(),
        "the --prepared options are for the half of a task that runs as root"
    );
    Ok(())
}

fn as_root(prepared: &[(&str, &Path)], task: impl FnOnce() -> Result<()>) -> Result<()> {
    if is_root() {
        task()
    } else {
        restart_as_root(prepared)
    }
}

/// Runs this very task again under sudo, with what was prepared, each under its option of [`Prepared`].
fn restart_as_root(prepared: &[(&str, &Path)]) -> Result<()> {
    let xtask = env::current_exe().context("cannot find the running xtask")?;
    let options = prepared
        .iter()
        .flat_map(|(option, path)| [OsString::from(option), OsString::from(path)]);
    let words: Vec<_> = options.chain(env::args_os().skip(1)).collect();
    let words: Vec<_> = words.iter().map(OsString::as_os_str).collect();
    become_root_program(&xtask, &words)
}

/// Replaces this process by `program`, through sudo if need be. Returns only if that fails.
fn become_root_program(program: &Path, arguments: &[&OsStr]) -> Result<()> {
    let mut command = root_command(program, arguments)?;
    if !is_root() {
        eprintln!("run: this needs root: {}", ui::shown(&command));
    }
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", ui::shown(&command)))
}

/// `program` as root: directly or by sudo.
pub fn root_command(program: &Path, arguments: &[&OsStr]) -> Result<Command> {
    let mut direct = Command::new(program);
    direct.args(arguments);
    if is_root() {
        return Ok(direct);
    }
    if setup::find_program("sudo").is_none() {
        bail!(
            "this needs root (CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH), and there is no sudo here\n  \
             what to do: run as root: {}",
            ui::shown(&direct)
        );
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(program).args(arguments);
    Ok(command)
}

/// Under sudo, the file belongs to root and nobody else may read it.
pub fn give_to_user(path: &Path) -> Result<()> {
    let id = |name| env::var(name).ok().and_then(|id| id.parse().ok());
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(user), Some(group))
        .with_context(|| format!("cannot give {} to you", path.display()))
}

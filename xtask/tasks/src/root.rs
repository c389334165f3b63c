//! Running programs as root, with sudo where need be.

use std::{env, ffi::OsStr, os::unix::process::CommandExt, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use nix::unistd::Uid;

use crate::{setup, ui};

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Replaces this process by `program`, through sudo if need be. Returns only if that fails.
pub fn become_root_program(program: &Path, arguments: &[&OsStr]) -> Result<()> {
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

/// Under sudo a new file belongs to root, and the user may not read it.
pub fn give_to_user(path: &Path) -> Result<()> {
    let id = |name| env::var(name).ok().and_then(|id| id.parse().ok());
    let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) else {
        return Ok(());
    };
    std::os::unix::fs::chown(path, Some(user), Some(group))
        .with_context(|| format!("cannot give {} to you", path.display()))
}

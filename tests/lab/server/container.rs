//! A container without a container runtime: mounts and processes of its own, made by util-linux's `unshare`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::Files;
use crate::netns::Namespace;

/// Where the server finds its files there. On the host there is nothing of the kind.
const INSIDE: &str = "/mnt";
/// `$1` is the directory on the host, the rest what is to be run in it.
const ENTER: &str = r#"mount --bind "$1" /mnt && cd /mnt && shift && exec "$@""#;

/// The server's files as it sees them.
pub(super) fn files() -> Files {
    Files(INSIDE.into())
}

/// What runs `program`, one of the server's files, inside; arguments are to be added.
pub(super) fn command(namespace: &Namespace, files: &Files, program: &Path) -> Result<Command> {
    let name = program.file_name().context("a program without a name")?;
    let mut command = namespace.command("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .args(["sh", "-c", ENTER, "sh"])
        .arg(&files.0)
        .arg(Path::new(INSIDE).join(name));
    Ok(command)
}

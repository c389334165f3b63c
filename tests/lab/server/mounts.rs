//! The files a server sees in place of the host's.

use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::Files;

/// Gives the process a mount namespace in which the resolver's files are ours.
pub(super) fn with_resolver_files(command: &mut Command, files: &Files) -> Result<()> {
    let source = |path: PathBuf| CString::new(path.as_os_str().as_bytes());
    let (hosts, resolv_conf) = (source(files.hosts())?, source(files.resolv_conf())?);
    let prepare = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Nothing mounted here may show anywhere else.
        mount(
            None::<&CStr>,
            c"/",
            None::<&CStr>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&CStr>,
        )?;
        bind(&hosts, c"/etc/hosts")?;
        bind(&resolv_conf, c"/etc/resolv.conf")
    };
    // SAFETY: system calls on strings made beforehand; nothing is allocated between fork and exec.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

fn bind(source: &CStr, target: &CStr) -> std::io::Result<()> {
    mount(
        Some(source),
        target,
        None::<&CStr>,
        MsFlags::MS_BIND,
        None::<&CStr>,
    )
    .map_err(Into::into)
}

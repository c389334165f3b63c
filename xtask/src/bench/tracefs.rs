//! tracefs for the peers, which take it for granted. Where it is not mounted, each gets it in a mount namespace of its
//! own: the host's mounts are none of our business.

use std::{ffi::CStr, os::unix::process::CommandExt, path::Path, process::Command};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const PLACE: &str = "/sys/kernel/tracing";

/// Has the process see tracefs, if this kernel has it.
pub fn with_tracefs(command: &mut Command) {
    let place = Path::new(PLACE);
    if place.join("events").exists() || !place.exists() {
        return;
    }
    // SAFETY: system calls on constant strings; nothing is allocated between fork and exec.
    unsafe { command.pre_exec(|| mount_privately().map_err(Into::into)) };
}

fn mount_privately() -> nix::Result<()> {
    const NOTHING: Option<&CStr> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Else it would show up outside where mounts are shared, as systemd has them.
    mount(
        NOTHING,
        c"/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        NOTHING,
    )?;
    let kind = Some(c"tracefs");
    mount(
        kind,
        c"/sys/kernel/tracing",
        kind,
        MsFlags::empty(),
        NOTHING,
    )
}

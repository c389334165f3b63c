//! A `/run` that nobody else sees: the daemon of a syslog device listens below it, and the names of network namespaces are there.

use anyhow::Result;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};

/// An empty `/run` of this thread's own, and of what it starts meanwhile.
pub fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none)?;
    Ok(())
}

/// The same until it is dropped.
pub struct PrivateRun(());

impl PrivateRun {
    /// From now on.
    pub fn enter() -> Result<Self> {
        enter()?;
        Ok(Self(()))
    }
}

impl Drop for PrivateRun {
    fn drop(&mut self) {
        // The names of network namespaces that were made before are below the other one.
        let _ = umount2("/run", MntFlags::MNT_DETACH);
    }
}

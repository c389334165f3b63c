//! Programs of the system: found, and where possible installed.

use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Result, anyhow};

use super::apt;
use crate::ui::{Remedy, Step};

/// A program and the Debian package that has it.
pub type SystemProgram = (&'static str, &'static str);

const IP: SystemProgram = ("ip", "iproute2");
const NFT: SystemProgram = ("nft", "nftables");

pub const LAB: &[SystemProgram] = &[IP, NFT];
pub const LIVE_TESTS: &[SystemProgram] = &[IP, NFT, ("iptables", "iptables")];
/// The lab's programs run inside the guests.
pub const VM: &[SystemProgram] = &[
    IP,
    NFT,
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("ldd", "libc-bin"),
    ("cpio", "cpio"),
];

/// Adds the directories of system programs to `PATH`: a plain `su` on Debian leaves them out.
///
/// # Safety
///
/// Changes the environment: no other thread may run yet.
pub unsafe fn extend_path() {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = env::split_paths(&path).collect();
    for system in ["/usr/sbin", "/sbin"].map(PathBuf::from) {
        if !directories.contains(&system) {
            directories.push(system);
        }
    }
    if let Ok(path) = env::join_paths(directories) {
        // SAFETY: the caller says that no other thread runs.
        unsafe { env::set_var("PATH", path) };
    }
}

/// The program that `PATH` has by this name.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// Checks that there is a browser: under this name, or the one that `VAULT_TRACER_CHROMIUM` names.
pub fn require_browser() -> Result<()> {
    match env::var_os("VAULT_TRACER_CHROMIUM") {
        Some(_) => Ok(()),
        None => require(&[("chromium", "chromium")]),
    }
}

/// Checks that these programs are there; as root on Debian installs those that are not.
pub fn require(needed: &[SystemProgram]) -> Result<()> {
    let missing = || {
        let needed = needed.iter().copied();
        needed.filter(|(program, _)| find(program).is_none())
    };
    let packages: Vec<_> = missing().map(|(_, package)| package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    let step = Step::new("setup", "system programs");
    let what = "setup: system programs";
    let remedy = format!(
        "install them as root: apt-get install {}",
        packages.join(" ")
    );
    if apt::can_install() {
        apt::install(&packages, &step).remedy(what, &remedy)?;
    }
    let names: Vec<_> = missing().map(|(program, _)| program).collect();
    if !names.is_empty() {
        return Err(anyhow!("{} not found", names.join(" and "))).remedy(what, remedy);
    }
    step.end(true, "installed");
    Ok(())
}

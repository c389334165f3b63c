//! Programs of the system: found, and where possible installed.

use std::env;

use anyhow::{Result, anyhow};

use super::{apt, search_path::find};
use crate::{
    machine::Machine,
    ui::{Remedy, Step},
};

/// A program and the Debian package that has it.
pub type SystemProgram = (&'static str, &'static str);

const IP: SystemProgram = ("ip", "iproute2");
const NFT: SystemProgram = ("nft", "nftables");

pub const LAB: &[SystemProgram] = &[IP, NFT];
pub const LIVE_TESTS: &[SystemProgram] = &[IP, NFT, ("iptables", "iptables")];
/// A root of Debian, as an archive for the kernel.
pub const DEBIAN_ROOT: &[SystemProgram] =
    &[("mmdebstrap", "mmdebstrap"), ("bsdtar", "libarchive-tools")];
pub const READELF: SystemProgram = ("readelf", "binutils");

/// What guests of an architecture take. The lab's programs run inside: this host's, or else Debian's.
pub fn for_guests(machine: Machine) -> Vec<SystemProgram> {
    let qemu = match machine {
        Machine::ARM64 => ("qemu-system-aarch64", "qemu-system-arm"),
        _ => ("qemu-system-x86_64", "qemu-system-x86"),
    };
    let copied: &[_] = if machine.is_here() {
        &[IP, NFT, ("ldd", "libc-bin")]
    } else {
        &[READELF]
    };
    [&[qemu, ("cpio", "cpio")], copied].concat()
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

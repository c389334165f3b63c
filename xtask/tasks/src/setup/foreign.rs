//! Programs and libraries of this Debian for another architecture, unpacked into the cache: for images, and for guests.

use std::path::PathBuf;

use anyhow::Result;

use super::{apt::PrivateApt, cache::cached, debian::codename};
use crate::machine::Machine;

/// What the lab's programs and the agent need; apt adds what these depend on.
const PACKAGES: [&str; 3] = ["libgcc-s1", "iproute2", "nftables"];

/// The root directory of such a system, from the cache or downloaded now.
pub fn debian_root(machine: Machine) -> Result<PathBuf> {
    let title = format!("Debian for {}", machine.arch);
    let directory = cached(
        &title,
        &format!("debian-{}-{}", codename(), machine.arch),
        "libraries and the lab's programs",
        "see that apt's package sources can be reached and run this again",
        |path, step| {
            let apt = PrivateApt::of(machine, path, None, step)?;
            let packages = apt.download(&PACKAGES.map(str::to_owned), step)?;
            apt.unpack(&packages, &path.join("root"), step)
        },
    )?;
    Ok(directory.join("root"))
}

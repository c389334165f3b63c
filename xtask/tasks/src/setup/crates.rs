//! Programs from crates.io, built into the cache.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::toolchain::cargo;
use crate::ui::Step;

/// Half a minute to two minutes on two cores; a small machine needs longer.
const BUILD_LIMIT: Duration = Duration::from_mins(30);

/// The build directory, beside the installed program.
const TARGET: &str = "target";

/// A `cargo install` of this version of a program into `path/bin`. Further options can be added.
pub fn install(program: &str, version: &str, path: &Path) -> Command {
    let mut install = cargo();
    install
        .args(["install", program, "--locked"])
        .args(["--version", &format!("={version}")])
        .arg("--root")
        .arg(path)
        .arg("--target-dir")
        .arg(path.join(TARGET))
        // Out of the workspace: its cargo configuration is for its own crates.
        .current_dir(path)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_HTTP_TIMEOUT", "20")
        .env("CARGO_NET_RETRY", "2");
    for flags in [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "RUSTC",
    ] {
        install.env_remove(flags);
    }
    install
}

/// Runs such an `install`, and removes its build directory.
pub fn build(program: &str, mut install: Command, path: &Path, step: &Step) -> Result<()> {
    step.output(&format!("building {program}"), &mut install, BUILD_LIMIT)?;
    fs::remove_dir_all(path.join(TARGET)).context("cannot remove the build directory")
}

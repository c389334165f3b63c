//! The executable: linked against an old glibc, stripped, without paths of this machine.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{GLIBC, Machine, Release, ensure_small};
use crate::{
    build, cpu_time,
    setup::{compiler_for, zigbuild},
    ui::Step,
};

/// Of `Cargo.toml`. Not named after the task: cargo has a directory of that name in `target`.
const PROFILE: &str = "packaged";

/// A cold build on a small machine.
const LIMIT: Duration = Duration::from_mins(30);

/// Builds it with its eBPF programs.
pub fn build(release: &Release, machine: Machine) -> Result<PathBuf> {
    let object = build::ebpf_object(machine.arch)?;
    let target = release.root.join("target");
    let compiler = compiler_for(machine)?;
    let mut build = zigbuild(machine, GLIBC, &compiler)?;
    build
        .args([
            "--profile",
            PROFILE,
            "--locked",
            "--package",
            "vault-tracer",
        ])
        .arg("--target-dir")
        .arg(&target)
        .env(build::OBJECT, object)
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            flags(&release.root, &compiler.sysroot)?,
        );
    let doing = format!("building the executable for {}", machine.arch);
    cpu_time::measured(&doing, || Step::visible(&doing, &mut build, LIMIT))?;
    let executable = target
        .join(machine.target)
        .join(PROFILE)
        .join("vault-tracer");
    ensure!(
        executable.exists(),
        "it was built, but it is not at {}",
        executable.display()
    );
    ensure_small(&executable)?;
    Ok(executable)
}

/// Messages of panics name files: those of the clone, of the crates and of the standard library by names that are the same everywhere.
fn flags(root: &Path, sysroot: &Path) -> Result<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.context("cargo has no home directory")?;
    let remaps = [
        (root, "/vault-tracer"),
        (&home, "/cargo"),
        (sysroot, "/rust"),
    ];
    let remaps = remaps.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(remaps.join("\x1f"))
}

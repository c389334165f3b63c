//! The tests' own server (`tests/eventlogger`), which writes audit entries in goroutines as Vault 1.15 and later does:
//! built with several versions of Go, and once stripped.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::eventlogger::{NEWEST, VERSIONS, program, stripped};

use crate::{
    setup::{self, workspace},
    ui::Step,
};

/// The directory that has the programs.
pub use lab::eventlogger::VARIABLE;

/// A cold build on a small machine.
const LIMIT: Duration = Duration::from_mins(10);

/// The task: builds, and names the directory on standard output.
pub fn run() -> Result<()> {
    println!("{}", programs()?.display());
    Ok(())
}

/// The directory with all of them: `VAULT_TRACER_EVENTLOGGER`, or built now.
pub fn programs() -> Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return given(Path::new(&path));
    }
    let directory = workspace().join("target/eventlogger");
    fs::create_dir_all(&directory)?;
    for version in VERSIONS {
        build(version, &[], &directory.join(program(version)))?;
    }
    let flags = ["-ldflags=-s -w"];
    build(NEWEST, &flags, &directory.join(stripped(NEWEST)))?;
    Ok(directory)
}

fn given(directory: &Path) -> Result<PathBuf> {
    let programs = VERSIONS.map(program).into_iter().chain([stripped(NEWEST)]);
    for name in programs {
        let path = directory.join(name);
        ensure!(path.is_file(), "{VARIABLE}: no {}", path.display());
    }
    let path = directory.canonicalize();
    path.with_context(|| format!("{VARIABLE}={}", directory.display()))
}

fn build(version: &str, flags: &[&str], to: &Path) -> Result<()> {
    let go = setup::go(version)?;
    let mut build = go.command(&["build", "-trimpath", "-buildvcs=false", "-o"]);
    build.arg(to).args(flags).arg(".");
    build.current_dir(workspace().join("tests/eventlogger"));
    let what = format!("building {}", to.display());
    Step::new("test", "eventlogger")
        .output(&what, &mut build, LIMIT)
        .map(drop)
}

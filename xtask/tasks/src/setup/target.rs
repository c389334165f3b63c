//! A Rust compiler that has the standard library of an architecture: the active one if it can, else Debian's, unpacked
//! into the cache without root; else rustup adds the library to the toolchain in use.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};

use super::{
    apt::{self, PrivateApt},
    cache::Cache,
    debian,
    search_path::find,
    toolchain::{Compiler, workspace},
};
use crate::{
    machine::Machine,
    ui::{Remedy, Step},
};

const LIMIT: Duration = Duration::from_mins(1);
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);

pub struct TargetCompiler {
    pub rustc: PathBuf,
    pub sysroot: PathBuf,
}

/// The same compiler as Debian's for BPF, with one more library beside its own.
const WRAPPER: &str = r#"#!/bin/sh
# rustc of the Debian packages, with the libraries of the directory beside this file.
exec "@RUSTC@" --sysroot "${0%/*}/sysroot" "$@"
"#;

/// A compiler that has the standard library for programs of this architecture.
pub fn compiler_for(machine: Machine) -> Result<TargetCompiler> {
    let step = Step::new("setup", &format!("Rust for {}", machine.arch));
    let active = PathBuf::from(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    let sysroot = sysroot_of(&active, &step)?;
    if has_library(&sysroot, machine) {
        let rustc = active;
        return Ok(TargetCompiler { rustc, sysroot });
    }
    let mut refused = anyhow!("there is neither apt nor rustup to get one with");
    if apt::available() {
        match of_debian(machine, &step) {
            Ok((rustc, fresh)) => {
                let sysroot = sysroot_of(&rustc, &step)?;
                step.end(fresh, "library from Debian, with Debian's compiler");
                return Ok(TargetCompiler { rustc, sysroot });
            }
            Err(error) => refused = error,
        }
    }
    let what = format!(
        "setup: the compiler in use has no standard library for {}",
        machine.target
    );
    let remedy = format!("rustup target add {}", machine.target);
    if find("rustup").is_none() {
        return Err(refused).remedy(what, remedy);
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", machine.target]);
    rustup.env("RUST_BACKTRACE", "0").current_dir(workspace());
    let added = step.output("adding the library by rustup", &mut rustup, DOWNLOAD_LIMIT);
    added.context(format!("{refused:#}")).remedy(what, remedy)?;
    if !has_library(&sysroot, machine) {
        bail!(
            "rustup added {}, but not to the compiler in use",
            machine.target
        );
    }
    step.end(true, "library added by rustup");
    let rustc = active;
    Ok(TargetCompiler { rustc, sysroot })
}

fn sysroot_of(rustc: &Path, step: &Step) -> Result<PathBuf> {
    let mut ask = Command::new(rustc);
    ask.args(["--print", "sysroot"]).current_dir(workspace());
    let sysroot = step.output("asking the compiler", &mut ask, LIMIT)?;
    Ok(sysroot.trim().into())
}

fn has_library(sysroot: &Path, machine: Machine) -> bool {
    let files = fs::read_dir(library_of(sysroot, machine).join("lib"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| file.file_name().as_encoded_bytes().starts_with(b"libstd-"))
}

/// Directory of an architecture's libraries in a sysroot.
fn library_of(sysroot: &Path, machine: Machine) -> PathBuf {
    sysroot.join("lib/rustlib").join(machine.target)
}

/// Debian's compiler with the library, from the cache or put together now, and whether it was.
fn of_debian(machine: Machine, step: &Step) -> Result<(PathBuf, bool)> {
    let cache = Cache::open()?;
    let compiler = debian::compiler(&cache)?;
    let home = compiler.rustc.parent().context("no directory")?;
    let name = home.file_name().unwrap_or_default().to_string_lossy();
    let name = format!("{name}-for-{}", machine.arch);
    let entry = cache.entry(&name, step, |path| prepare(path, &compiler, machine, step))?;
    let rustc = entry.path.join("rustc");
    try_it(&rustc, machine, step)
        .with_context(|| format!("remove {} and run this again", entry.path.display()))?;
    Ok((rustc, entry.fresh))
}

fn prepare(path: &Path, compiler: &Compiler, machine: Machine, step: &Step) -> Result<()> {
    let apt = PrivateApt::of(machine, path, None, step)?;
    let packages = debian::FAMILIES.map(|[_, library, _]| library);
    let madison = apt.madison(&packages, step)?;
    let package = debian::of_release(&madison, compiler.release())
        .ok_or_else(|| apt.explain(anyhow!("apt's package sources have none")))
        .with_context(|| {
            let (release, debian) = (compiler.release(), machine.debian);
            format!("no libstd-rust-dev {release} for {debian} there")
        })?;
    let files = apt.fetch(&[package], step)?;
    let root = path.join("root");
    apt.unpack(&files, &root, step)?;
    let sysroot = path.join("sysroot");
    let libraries = sysroot.join("lib/rustlib");
    fs::create_dir_all(&libraries)?;
    let (known, added) = (
        sysroot_of(&compiler.rustc, step)?.join("lib/rustlib"),
        library_of(&root.join("usr"), machine),
    );
    for entry in fs::read_dir(known)? {
        let entry = entry?;
        symlink(entry.path(), libraries.join(entry.file_name()))?;
    }
    fs::rename(added, library_of(&sysroot, machine)).context("the package has no library")?;
    fs::remove_dir_all(root)?;
    let wrapper = WRAPPER.replace("@RUSTC@", &compiler.rustc.to_string_lossy());
    debian::write_script(&path.join("rustc"), &wrapper)?;
    try_it(&path.join("rustc"), machine, step)
}

/// Compiles a crate of nothing but the standard library: a library of another compiler is refused (E0514).
fn try_it(rustc: &Path, machine: Machine, step: &Step) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut compile = Command::new(rustc);
    compile
        .args(["--crate-name=canary", "--crate-type=lib", "--emit=metadata"])
        .arg(format!("--target={}", machine.target))
        .arg("--out-dir")
        .arg(directory.path())
        .arg("-");
    step.output("compiling a canary", &mut compile, LIMIT)
        .map(drop)
}

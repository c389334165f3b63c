//! bpf-linker, built against the LLVM of the compiler whose bitcode it has to read, and tried: it
//! does not say which LLVM it was built for, so a trial link has to show it.

use std::{fmt::Write, fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use super::{
    cache::Cache,
    canary, crates,
    debian::write_script,
    toolchain::{Compiler, Toolchain},
};
use crate::ui::{Remedy, Step};

const PROGRAM: &str = "bpf-linker";
const VERSION: &str = "0.13.0";
/// LLVM versions for which this bpf-linker has a feature.
const SUPPORTED_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// Completes `compiler` with a linker for it, from the cache or built now.
pub fn complete(cache: &Cache, compiler: &Compiler) -> Result<Toolchain> {
    let step = Step::new("setup", PROGRAM);
    let llvm = compiler.llvm_major()?;
    let title = format!(
        "setup: bpf-linker for rustc {} of {}",
        compiler.release(),
        compiler.origin
    );
    let name = format!("{PROGRAM}-{VERSION}-{}", fingerprint(compiler));
    let entry = cache.entry(&name, &step, |path| {
        build(path, compiler, llvm, &step)?;
        canary::check(&toolchain_at(path, compiler), path, &step)
    });
    let entry = entry.remedy(
        title,
        "see that crates.io can be reached and run this again",
    )?;
    let result = format!("{VERSION} for LLVM {llvm}");
    step.end(entry.fresh, result);
    Ok(toolchain_at(&entry.path, compiler))
}

fn toolchain_at(path: &Path, compiler: &Compiler) -> Toolchain {
    Toolchain {
        compiler: compiler.clone(),
        linker: path.join(PROGRAM),
    }
}

/// Identifies a compiler and its place, from which the linker loads LLVM.
fn fingerprint(compiler: &Compiler) -> String {
    let mut hash = Sha256::new();
    hash.update(&compiler.verbose_version);
    hash.update(compiler.llvm_library.as_os_str().as_encoded_bytes());
    hash.finalize()
        .iter()
        .take(6)
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn build(path: &Path, compiler: &Compiler, llvm: u32, step: &Step) -> Result<()> {
    ensure!(
        SUPPORTED_LLVM.contains(&llvm),
        "rustc uses LLVM {llvm}, bpf-linker {VERSION} knows {SUPPORTED_LLVM:?}"
    );
    link_llvm(path, &compiler.llvm_library)?;
    let mut install = crates::install(PROGRAM, VERSION, path);
    install
        .args(["--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"))
        .env("LLVM_PREFIX", path.join("llvm"));
    crates::build(PROGRAM, install, path, step)?;
    write_script(&path.join(PROGRAM), WRAPPER)
}

/// The dynamic linker finds LLVM beside the script first.
const WRAPPER: &str = r#"#!/bin/sh
here=${0%/*}
LD_LIBRARY_PATH=$here/llvm/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/bin/bpf-linker" "$@"
"#;

/// Lays out LLVM's installation directory as a linker and a loader expect it.
fn link_llvm(path: &Path, library: &Path) -> Result<()> {
    let directory = path.join("llvm/lib");
    fs::create_dir_all(&directory)?;
    let name = library.file_name().context("LLVM's library has no name")?;
    symlink(library, directory.join(name))?;
    if name != "libLLVM.so" {
        symlink(library, directory.join("libLLVM.so"))?;
    }
    Ok(())
}

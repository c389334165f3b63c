//! The compiler in use, if it can compile for BPF. Only looked at, except where there is no apt.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Result;

use super::{
    programs::find as find_program,
    toolchain::{Compiler, workspace},
};
use crate::ui::{Remedy, Step};

const LIMIT: Duration = Duration::from_mins(1);
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(5);

/// The active compiler; `None` if it has no `core` for BPF or no LLVM of its own to link against.
pub fn find() -> Result<Option<Compiler>> {
    let rustc: PathBuf = env::var_os("RUSTC")
        .unwrap_or_else(|| "rustc".into())
        .into();
    let step = Step::new("setup", "BPF compiler");
    let ask = |arguments: &[&str]| {
        let what = "asking the active compiler";
        step.output(
            what,
            Command::new(&rustc)
                .args(arguments)
                .current_dir(workspace()),
            LIMIT,
        )
    };
    let sysroot = PathBuf::from(ask(&["--print", "sysroot"])?.trim());
    let shipped = has_bpf_core(&sysroot);
    let sources = sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs");
    if !shipped && !sources.exists() {
        return Ok(None);
    }
    let directories = [sysroot.join("lib"), "/usr/lib".into()];
    let Some(llvm_library) = find_llvm(&directories) else {
        return Ok(None);
    };
    let compiler = Compiler {
        verbose_version: ask(&["-vV"])?,
        rustc,
        origin: "the active toolchain".into(),
        build_std: !shipped,
        llvm_library,
    };
    step.end(
        false,
        format_args!("rustc {} of {}", compiler.release(), compiler.origin),
    );
    Ok(Some(compiler))
}

/// Adds the sources of `core` to the toolchain in use: the way where there are no Debian packages.
pub fn add_rust_src() -> Result<()> {
    let step = Step::new("setup", "BPF compiler");
    let what = "setup: BPF compiler: the compiler in use has no core library for BPF";
    let remedy = "`rustup component add rust-src`, or a Debian system (or container) with apt";
    if find_program("rustup").is_none() {
        return Err(anyhow::anyhow!(
            "there is neither apt nor rustup to get one with"
        ))
        .remedy(what, remedy);
    }
    step.note("no apt here: adding rust-src to the toolchain in use");
    let mut command = Command::new("rustup");
    command
        .args(["component", "add", "rust-src"])
        .env("RUST_BACKTRACE", "0")
        .current_dir(workspace());
    step.output("adding rust-src", &mut command, DOWNLOAD_LIMIT)
        .remedy(what, remedy)?;
    step.end(true, "rust-src added");
    Ok(())
}

/// Whether this sysroot ships `core` for BPF.
pub fn has_bpf_core(sysroot: &Path) -> bool {
    names(&sysroot.join("lib/rustlib/bpfel-unknown-none/lib"))
        .iter()
        .any(|name| name.starts_with("libcore-"))
}

/// LLVM's shared library in these directories or one level below (`/usr/lib/x86_64-linux-gnu`).
/// The largest: rustup's toolchains also have a linker script by a similar name.
pub fn find_llvm(directories: &[PathBuf]) -> Option<PathBuf> {
    let below = |directory: &PathBuf| {
        let inner = names(directory)
            .into_iter()
            .map(|name| directory.join(name));
        inner.chain([directory.clone()]).collect::<Vec<_>>()
    };
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let is_llvm = |name: &String| name.starts_with("libLLVM") && name.contains(".so");
    directories
        .iter()
        .flat_map(below)
        .flat_map(|path| {
            names(&path)
                .into_iter()
                .filter(is_llvm)
                .map(move |name| path.join(name))
        })
        .filter(|path| size(path) > 0)
        .max_by_key(size)
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

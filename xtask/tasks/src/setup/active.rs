//! The compiler in use, if it can compile for BPF. It is changed only where there is no apt.

use std::{
    borrow::Cow,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, anyhow};

use super::{
    search_path::find as find_program,
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
        let mut rustc = Command::new(&rustc);
        rustc.args(arguments).current_dir(workspace());
        step.output("asking the active compiler", &mut rustc, LIMIT)
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

/// Adds the sources of `core` to the toolchain in use, where there are no Debian packages.
pub fn add_rust_src() -> Result<()> {
    let step = Step::new("setup", "BPF compiler");
    let what = "setup: BPF compiler: the compiler in use has no core library for BPF";
    let remedy = "`rustup component add rust-src`, or a Debian system (or container) with apt";
    if find_program("rustup").is_none() {
        return Err(anyhow!("there is neither apt nor rustup to get one with"))
            .remedy(what, remedy);
    }
    step.note("no apt here: adding rust-src to the toolchain in use");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    rustup.env("RUST_BACKTRACE", "0").current_dir(workspace());
    step.output("adding rust-src", &mut rustup, DOWNLOAD_LIMIT)
        .remedy(what, remedy)?;
    step.end(true, "rust-src added");
    Ok(())
}

/// Whether this sysroot ships `core` for BPF.
pub fn has_bpf_core(sysroot: &Path) -> bool {
    let libraries = entries(&sysroot.join("lib/rustlib/bpfel-unknown-none/lib"));
    libraries
        .iter()
        .any(|path| name(path).starts_with("libcore-"))
}

/// LLVM's shared library in these directories or one level below (`/usr/lib/x86_64-linux-gnu`).
/// The largest: rustup's toolchains also have a linker script by a similar name.
pub fn find_llvm(directories: &[PathBuf]) -> Option<PathBuf> {
    let size = |path: &PathBuf| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let is_llvm = |path: &PathBuf| name(path).starts_with("libLLVM") && name(path).contains(".so");
    let inner = directories.iter().flat_map(|directory| entries(directory));
    directories
        .iter()
        .cloned()
        .chain(inner)
        .flat_map(|directory| entries(&directory))
        .filter(|path| is_llvm(path) && size(path) > 0)
        .max_by_key(size)
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// Empty for what is not a directory.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

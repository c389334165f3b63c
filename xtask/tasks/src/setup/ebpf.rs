//! The eBPF toolchain, found or prepared.

use anyhow::{Result, bail};

use super::{active, apt, cache::Cache, debian, linker, toolchain::Toolchain};
use crate::ui;

/// Finds or prepares the toolchain: the active one if it can, else Debian's packages, else rustup.
pub fn ebpf_toolchain() -> Result<Toolchain> {
    ui::begin("bpf-compiler", "preparing a compiler for BPF");
    let cache = Cache::open()?;
    if let Some(compiler) = active::find()? {
        match linker::complete(&cache, &compiler) {
            Ok(toolchain) => return Ok(toolchain),
            Err(error) => eprintln!("setup: the active toolchain will not do: {error:#}"),
        }
    }
    if apt::available() {
        return linker::complete(&cache, &debian::compiler(&cache)?);
    }
    active::add_rust_src()?;
    match active::find()? {
        Some(compiler) => linker::complete(&cache, &compiler),
        None => bail!(
            "setup: BPF compiler: rust-src was added, but the toolchain still does not have it"
        ),
    }
}

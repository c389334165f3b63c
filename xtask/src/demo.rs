//! Placeholder: `cargo xtask run --demo`.

use std::{ffi::OsString, path::Path};

use anyhow::{Result, bail};

/// Runs the demo.
pub fn run(_agent: &Path, _bao: &Path, _extra_tracer_args: &[OsString]) -> Result<()> {
    bail!("the demo is not here yet")
}

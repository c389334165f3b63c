//! Placeholder: `cargo xtask lab`.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Steps of the lab.
#[derive(clap::Subcommand)]
pub enum LabCommand {
    /// What is up
    Status,
}

/// Runs a step.
pub fn run(_command: LabCommand, _bao: &dyn Fn() -> Result<PathBuf>) -> Result<()> {
    bail!("the lab is not here yet")
}

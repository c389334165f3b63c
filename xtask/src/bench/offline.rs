//! The benchmarks that need no server and no root: those of the agent's own code, by criterion.

use std::time::Duration;

use anyhow::Result;

use crate::{
    setup::{cargo, workspace},
    ui::Step,
};

const LIMIT: Duration = Duration::from_mins(30);

/// Runs what is in `tracer/benches`, if anything is.
pub fn run() -> Result<()> {
    if !workspace().join("tracer/benches").is_dir() {
        eprintln!("bench: NOT RUN: offline: there is nothing in tracer/benches");
        return Ok(());
    }
    let mut bench = cargo();
    bench.args(["bench", "--locked", "--package", "vault-tracer"]);
    Step::visible("the offline benchmarks", &mut bench, LIMIT)
}

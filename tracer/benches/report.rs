//! A million hang records reported: how long it takes, and in how much memory. `cargo bench -p vault-tracer --bench report`
//!
//! The program itself is measured, on a file, as a user would run it. The short trace beside it shows what of the memory is
//! not the trace's.

use std::{
    env,
    fs::File,
    io,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use test_support::traces::Trace;

fn main() -> Result<()> {
    // Not as a benchmark: `cargo test --benches` asks only whether it works.
    let sizes: &[u64] = if env::args().any(|word| word == "--bench") {
        &[1000, 1_000_000]
    } else {
        &[1000]
    };
    // Beside the program, where there is room: a million records are 2 GB.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    for hangs in sizes {
        let path = directory.path().join("trace.jsonl");
        let bytes = io::copy(&mut Trace::of(*hangs), &mut File::create(&path)?)?;
        let (seconds, peak) = report(&path, *hangs)?;
        println!(
            "report: {hangs} hang records, {:.1} MB: {seconds:.2} s ({:.0} MB/s), peak RSS {:.1} MB",
            bytes as f64 / 1e6,
            bytes as f64 / 1e6 / seconds,
            peak as f64 / 1e3,
        );
    }
    Ok(())
}

/// Seconds, and the largest peak of the resident set of the children so far, in kB.
fn report(trace: &Path, hangs: u64) -> Result<(f64, i64)> {
    let begun = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .args(["report", "--html", "/dev/null", "--format", "json"])
        .arg(trace)
        .stderr(Stdio::inherit())
        .output()
        .context("the program does not run")?;
    let seconds = begun.elapsed().as_secs_f64();
    ensure!(output.status.success(), "it failed");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(told["hangs"] == hangs, "{} of {hangs}", told["hangs"]);
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss();
    Ok((seconds, peak))
}

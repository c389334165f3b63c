//! A trace of any length, to try `vault-tracer report` on.
//!
//! `cargo run -p vault-tracer --example trace -- 100000 > trace.jsonl`

use std::{env, io};

use anyhow::Context;
use test_support::traces;

fn main() -> anyhow::Result<()> {
    let hangs = env::args().nth(1).context("say how many hangs")?;
    let hangs = hangs.parse().context("a number of hangs")?;
    io::copy(&mut traces::Trace::of(hangs), &mut io::stdout().lock())?;
    Ok(())
}

//! The cost of a system call in a process that has nothing to do with the server.

use std::{
    fs::File,
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

/// Enough for the clock's own cost not to count.
const CALLS: u32 = 50_000;
/// The best of them is the one that nobody disturbed.
const BATCHES: usize = 25;

/// Nanoseconds a call, of the best batch.
#[derive(Serialize)]
pub(crate) struct Cost {
    getppid_ns: f64,
    write_ns: f64,
}

pub(crate) fn run() -> Result<Cost> {
    let mut sink = File::options().write(true).open("/dev/null")?;
    let mut cost = Cost {
        getppid_ns: f64::INFINITY,
        write_ns: f64::INFINITY,
    };
    for _ in 0..BATCHES {
        let getppid = batch(|| {
            nix::unistd::getppid();
            Ok(())
        });
        let write = batch(|| Ok(sink.write_all(b"x")?));
        cost.getppid_ns = cost.getppid_ns.min(per_call(getppid?));
        cost.write_ns = cost.write_ns.min(per_call(write?));
    }
    Ok(cost)
}

fn batch(mut call: impl FnMut() -> Result<()>) -> Result<Duration> {
    let begun = Instant::now();
    for _ in 0..CALLS {
        call()?;
    }
    Ok(begun.elapsed())
}

fn per_call(batch: Duration) -> f64 {
    batch.as_nanos() as f64 / f64::from(CALLS)
}

//! The cost of sampling a server's goroutines.
//!
//! `cargo run --release -p vault-tracer --example sampler -- PID [SAMPLES [PAUSE_MS]]`, as root, prints the time it takes
//! to read the executable; then of the first sample, and of the later ones (median and 95th percentile), the time, the
//! CPU time of the sampling thread, and the bytes read of the server's memory. Last it prints what the last sample
//! found: how many goroutines wait for what, and how many handlers are in the audit broker. The server's audit devices are
//! printed when they are first read, and when they change.

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, io, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use tracer::server::{
    Target,
    find::{self, Selector},
    goroutines::{GoroutineReader, Memory, Piece, ProcessMemory, Samples},
};

/// Counts the bytes that are read, and the reads.
struct CountingMemory(ProcessMemory, Cell<usize>, Cell<usize>);

impl CountingMemory {
    fn add(&self, bytes: usize) {
        self.1.set(self.1.get() + bytes);
        self.2.set(self.2.get() + 1);
    }
}

impl Memory for CountingMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.add(into.len());
        self.0.read(address, into)
    }

    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> Vec<bool> {
        self.add(pieces.iter().map(|piece| piece.len).sum());
        self.0.read_pieces(pieces, into)
    }
}

/// The cost of one sample, and how many goroutines it found in the code of a device.
#[derive(Clone, Copy)]
struct Cost {
    time: Duration,
    cpu: Duration,
    bytes: usize,
    reads: usize,
    found: usize,
}

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u64>());
    let pid = arguments.next().context("which PID?")?? as i32;
    let count = arguments.next().transpose()?.unwrap_or(100);
    let pause = Duration::from_millis(arguments.next().transpose()?.unwrap_or(100));
    let begun = Instant::now();
    let process = find::find(&Selector::of(Some(pid), None, None))?;
    let reader = Target::inspect(&process)?.1?;
    println!("executable: {:.1} ms", ms(begun.elapsed()));
    let memory = CountingMemory(ProcessMemory::open(pid)?, Cell::default(), Cell::default());
    let (first, mut last) = sample(&reader, &memory)?;
    print("first", vec![first]);
    print_devices(&last);
    let mut later = Vec::new();
    for _ in 0..count {
        thread::sleep(pause);
        let (cost, samples) = sample(&reader, &memory)?;
        later.push(cost);
        print_devices(&samples);
        last = samples;
    }
    print("later", later);
    print_last(&last);
    Ok(())
}

fn sample(reader: &GoroutineReader, memory: &CountingMemory) -> Result<(Cost, Samples)> {
    let (begun, cpu) = (Instant::now(), cpu()?);
    let samples = reader.sample(memory)?;
    let cost = Cost {
        time: begun.elapsed(),
        cpu: self::cpu()?.saturating_sub(cpu),
        bytes: memory.1.take(),
        reads: memory.2.take(),
        found: samples.goroutines.len(),
    };
    Ok((cost, samples))
}

/// Of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn print(which: &str, mut costs: Vec<Cost>) {
    let Some(last) = costs.len().checked_sub(1) else {
        return;
    };
    let at = |costs: &[Cost], percent: usize| costs[(costs.len() * percent / 100).min(last)];
    costs.sort_by_key(|cost| cost.time);
    let (time, most) = (at(&costs, 50).time, at(&costs, 95).time);
    costs.sort_by_key(|cost| cost.cpu);
    let (cpu, most_cpu) = (at(&costs, 50).cpu, at(&costs, 95).cpu);
    costs.sort_by_key(|cost| cost.bytes);
    let Cost { bytes, reads, .. } = at(&costs, 50);
    let found: usize = costs.iter().map(|cost| cost.found).sum();
    println!(
        "{which}: {:.2} ms (95 %: {:.2}), CPU {:.2} ms (95 %: {:.2}), {bytes} bytes in {reads} reads; {:.1} found",
        ms(time),
        ms(most),
        ms(cpu),
        ms(most_cpu),
        found as f64 / costs.len() as f64
    );
}

/// If they are new.
fn print_devices(samples: &Samples) {
    for configured in samples.configured.iter().flatten() {
        println!("audit device {} {}", configured.path, configured.device);
    }
}

fn print_last(samples: &Samples) {
    let mut reasons = BTreeMap::<_, u64>::new();
    for goroutine in &samples.goroutines {
        *reasons.entry(goroutine.place).or_default() += 1;
    }
    let handlers = samples.handlers.as_ref().map(Vec::len);
    println!("waiting: {reasons:?}; handlers in the broker: {handlers:?}");
    if let Some(first) = samples.goroutines.first() {
        println!("for example {first:?}");
    }
    if let Some(first) = samples.handlers.iter().flatten().next() {
        println!("for example {first:?}");
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

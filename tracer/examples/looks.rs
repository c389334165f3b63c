//! What looks at a server's goroutines cost.
//!
//! `cargo run --release -p vault-tracer --example looks -- PID [LOOKS [PAUSE_MS]]`: as root. Prints how
//! long it takes to read what has to be known of the executable, then of the first look and of the
//! later ones (median and 95th percentile) the time, the CPU time of the looking thread, and the bytes
//! read of the server's memory.

use std::{
    cell::Cell,
    env, io, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use tracer::server::{
    Target,
    find::{self, Selector},
    goroutines::{GoroutineReader, Memory, Piece, ProcessMemory},
};

/// That counts what is read of it: bytes, calls.
struct Counted(ProcessMemory, Cell<usize>, Cell<usize>);

impl Counted {
    fn add(&self, bytes: usize) {
        self.1.set(self.1.get() + bytes);
        self.2.set(self.2.get() + 1);
    }
}

impl Memory for Counted {
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.add(into.len());
        self.0.read(address, into)
    }

    fn read_pieces(&self, pieces: &[Piece], into: &mut [u8]) -> Vec<bool> {
        self.add(pieces.iter().map(|piece| piece.len).sum());
        self.0.read_pieces(pieces, into)
    }
}

/// One look: time, CPU time, bytes read, reads, goroutines found in a device's code.
type Look = (Duration, Duration, usize, usize, usize);

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1).map(|argument| argument.parse::<u64>());
    let pid = arguments.next().context("which PID?")?? as i32;
    let looks = arguments.next().transpose()?.unwrap_or(100);
    let pause = Duration::from_millis(arguments.next().transpose()?.unwrap_or(100));
    let begun = Instant::now();
    let process = find::find(&Selector::of(Some(pid), None))?;
    let reader = Target::inspect(&process)?.1?;
    println!("executable: {:.1} ms", ms(begun.elapsed()));
    let memory = Counted(ProcessMemory::open(pid)?, Cell::default(), Cell::default());
    print("first", vec![look(&reader, &memory)?]);
    let mut later = Vec::new();
    for _ in 0..looks {
        thread::sleep(pause);
        later.push(look(&reader, &memory)?);
    }
    print("later", later);
    Ok(())
}

fn look(reader: &GoroutineReader, memory: &Counted) -> Result<Look> {
    let (begun, cpu) = (Instant::now(), cpu()?);
    let found = reader.sample(memory)?.waiting.len();
    let spent = self::cpu()?.saturating_sub(cpu);
    Ok((
        begun.elapsed(),
        spent,
        memory.1.take(),
        memory.2.take(),
        found,
    ))
}

/// Of this thread.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn print(which: &str, mut looks: Vec<Look>) {
    let at =
        |looks: &[Look], percent: usize| looks[(looks.len() * percent / 100).min(looks.len() - 1)];
    looks.sort_by_key(|look| look.0);
    let (time, most) = (at(&looks, 50).0, at(&looks, 95).0);
    looks.sort_by_key(|look| look.1);
    let (cpu, most_cpu) = (at(&looks, 50).1, at(&looks, 95).1);
    looks.sort_by_key(|look| look.2);
    let (_, _, bytes, reads, _) = at(&looks, 50);
    let found: usize = looks.iter().map(|look| look.4).sum();
    println!(
        "{which}: {:.2} ms (95 %: {:.2}), CPU {:.2} ms (95 %: {:.2}), {bytes} bytes in {reads} reads; {:.1} found",
        ms(time),
        ms(most),
        ms(cpu),
        ms(most_cpu),
        found as f64 / looks.len() as f64
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

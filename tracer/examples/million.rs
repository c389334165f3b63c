//! A million requests through the core: what it keeps of them, and what memory it took.
//!
//! `cargo run --release -p vault-tracer --example million`

use test_support::traffic;

fn main() -> anyhow::Result<()> {
    let requests = 1_000_000;
    let before = peak()?;
    let began = std::time::Instant::now();
    let kept = traffic::most_kept(requests);
    println!(
        "{requests} requests in {:.1} s: at most {kept} things kept; peak RSS {before} kB before, {} kB after",
        began.elapsed().as_secs_f64(),
        peak()?
    );
    Ok(())
}

/// Peak of the resident set, kB.
fn peak() -> anyhow::Result<u64> {
    let peak = tracer_proc::Process::myself().status("VmHWM")?;
    Ok(peak.trim_end_matches(" kB").parse()?)
}

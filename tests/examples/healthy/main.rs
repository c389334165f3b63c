//! A long time in which nothing is wrong: a server with a device of each kind, clients, logins that dial elsewhere, rotations,
//! devices that come and go, restarts. Whatever the agent then reports is a false alarm, unless a client waited as long for it:
//! `cargo xtask healthy` builds and runs it.

mod alarms;
mod clients;
mod kubernetes;
mod logins;
mod receivers;
mod scene;

use std::{
    sync::atomic::Ordering,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::Parser;
use lab::{Tracer, private_run, server::own_name, tracer::agent_from_environment};

use self::{clients::Progress, scene::Scene};

#[derive(Parser)]
struct Options {
    /// Requests in all
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Clients at once, each on a connection of its own
    #[arg(long, default_value_t = 4)]
    clients: usize,
    /// Requests a second, all clients together; without it as many as they can
    #[arg(long)]
    rate: Option<f64>,
    /// Logins a second, each with a connection to somebody who is no device
    #[arg(long, default_value_t = 10.0)]
    logins: f64,
    /// Seconds between two changes: a rotated file, a device more or less
    #[arg(long, default_value_t = 20)]
    change_every: u64,
    /// Restarts of the server, evenly spaced
    #[arg(long, default_value_t = 3)]
    restarts: usize,
    /// Of the agent
    #[arg(long, default_value = "100ms")]
    threshold: String,
    /// A file and a TCP socket, instead of a device of each kind
    #[arg(long)]
    two_devices: bool,
    /// The HTTP log server ends each connection with its first answer
    #[arg(long)]
    http_closes: bool,
    /// More options of the agent
    #[arg(last = true)]
    agent: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    private_run::enter()?;
    let name = own_name("bao-healthy");
    let mut scene = Scene::start(&name, options.two_devices, options.http_closes)?;
    let mut arguments = vec!["--threshold", &options.threshold];
    arguments.extend(options.agent.iter().map(String::as_str));
    let tracer = Tracer::attach_by_name(&agent_from_environment()?, &name, &arguments)?;
    let (begun, progress) = (Instant::now(), Progress::default());
    let cpu_before = alarms::cpu_time(tracer.pid())?;
    for part in 1..=options.restarts + 1 {
        let goal = options.requests * part / (options.restarts + 1);
        run_until(goal, &mut scene, &options, &progress)?;
        if part <= options.restarts {
            scene.restart(&tracer)?;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = alarms::cpu_time(tracer.pid())?.saturating_sub(cpu_before);
    println!(
        "{} requests, {} logins, {} changes in {seconds:.0} s; the agent: {:.2} % of a core, {} kB",
        progress.requests.load(Ordering::Relaxed),
        progress.logins.load(Ordering::Relaxed),
        scene.changes,
        cpu.as_secs_f64() / seconds * 100.0,
        alarms::peak_memory(tracer.pid())?,
    );
    scene.print_errors();
    let count = alarms::report(&tracer.stop()?, &progress.slow())?;
    ensure!(count == 0, "{count} false alarms");
    Ok(())
}

/// Clients and logins beside rotations and changes, until so many requests have been answered in all.
fn run_until(goal: usize, scene: &mut Scene, options: &Options, progress: &Progress) -> Result<()> {
    let client = scene.client();
    kubernetes::prepare(&client, scene.clusters())?;
    let pause = Duration::from_secs(options.change_every);
    let each = options.rate.map(|rate| rate / options.clients as f64);
    thread::scope(|scope| {
        let login = scope.spawn(|| logins::run(&client, options.logins, goal, progress));
        let start = |_| scope.spawn(|| clients::run(&client, each, goal, progress));
        let clients: Vec<_> = (0..options.clients).map(start).collect();
        let mut next = Instant::now() + pause;
        while !progress.reached(goal) && !clients.iter().any(ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
            if Instant::now() >= next {
                scene.change()?;
                next = Instant::now() + pause;
            }
        }
        for ended in clients.into_iter().chain([login]) {
            ended
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    })
}

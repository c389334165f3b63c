//! Clients that send the next request when they have the response, each on a keep-alive connection of its own (HTTP/1.1).

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use serde::Serialize;

/// A request that takes longer is a failure: nothing is broken here.
const LIMIT: Duration = Duration::from_secs(20);

#[derive(clap::Args)]
pub(crate) struct Options {
    #[arg(long)]
    server: SocketAddr,
    #[arg(long)]
    token: String,
    #[arg(long)]
    path: String,
    #[arg(long)]
    clients: usize,
    /// Milliseconds that are not measured, before those that are
    #[arg(long)]
    warm_up: u64,
    /// Milliseconds that are
    #[arg(long)]
    measure: u64,
    /// Processes whose CPU time is measured
    #[arg(long)]
    watch: Vec<i32>,
}

/// Figures without the warm-up.
#[derive(Serialize)]
pub(crate) struct Load {
    seconds: f64,
    /// That ended in it.
    requests: usize,
    p50_ns: u64,
    p99_ns: u64,
    p999_ns: u64,
    /// CPU time of each process that was watched.
    cpu_ns: Vec<u64>,
    /// With those of the warm-up.
    all_requests: usize,
}

pub(crate) fn run(options: &Options) -> Result<Load> {
    let connect = |_| Connection::open(options);
    let connections: Vec<_> = (0..options.clients).map(connect).collect::<Result<_>>()?;
    let begin = Instant::now() + Duration::from_millis(options.warm_up);
    let end = begin + Duration::from_millis(options.measure);
    thread::scope(|scope| {
        let start = |mut connection: Connection| scope.spawn(move || connection.send_until(end));
        let clients: Vec<_> = connections.into_iter().map(start).collect();
        thread::sleep(begin.saturating_duration_since(Instant::now()));
        let before = cpu_times(&options.watch)?;
        let (begin, all_before) = (Instant::now(), before);
        thread::sleep(end.saturating_duration_since(Instant::now()));
        let after = cpu_times(&options.watch)?;
        let seconds = begin.elapsed().as_secs_f64();
        let mut responses = Vec::new();
        for client in clients {
            let client = client
                .join()
                .unwrap_or_else(|p| std::panic::resume_unwind(p));
            responses.extend(client?);
        }
        let cpu_ns = after
            .iter()
            .zip(all_before)
            .map(|(after, before)| after - before);
        summarise(&responses, begin, end, seconds, cpu_ns.collect())
    })
}

/// When a response was complete, and how long it took.
type Response = (Instant, Duration);

fn summarise(
    responses: &[Response],
    begin: Instant,
    end: Instant,
    seconds: f64,
    cpu_ns: Vec<u64>,
) -> Result<Load> {
    let measured = responses.iter().filter(|(at, _)| (begin..end).contains(at));
    let mut taken: Vec<_> = measured.map(|(_, took)| took.as_nanos() as u64).collect();
    ensure!(!taken.is_empty(), "no request was answered");
    taken.sort_unstable();
    // The smallest value that is not exceeded by this share of all.
    let quantile = |share: f64| taken[((taken.len() as f64 * share).ceil() as usize).max(1) - 1];
    Ok(Load {
        seconds,
        requests: taken.len(),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        p999_ns: quantile(0.999),
        cpu_ns,
        all_requests: responses.len(),
    })
}

/// Nanoseconds of CPU that each process has used, with those of its threads that have ended.
fn cpu_times(processes: &[i32]) -> Result<Vec<u64>> {
    let time = |pid: &i32| {
        let clock: ClockId = clock_getcpuclockid(Pid::from_raw(*pid))?;
        Ok(Duration::from(clock.now()?).as_nanos() as u64)
    };
    let times = processes.iter().map(time).collect::<nix::Result<_>>();
    times.context("cannot read the CPU time of a watched process")
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    response: Vec<u8>,
}

impl Connection {
    fn open(options: &Options) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&options.server, LIMIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: bench\r\nX-Vault-Token: {}\r\n\r\n",
            options.path, options.token
        );
        Ok(Self {
            stream,
            request: request.into_bytes(),
            response: vec![0; 64 << 10],
        })
    }

    fn send_until(&mut self, end: Instant) -> Result<Vec<Response>> {
        let mut responses = Vec::with_capacity(1 << 14);
        while Instant::now() < end {
            let begun = Instant::now();
            self.send()?;
            responses.push((Instant::now(), begun.elapsed()));
        }
        Ok(responses)
    }

    fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.request)?;
        let mut length = 0;
        while !is_whole(&self.response[..length])? {
            let read = self.stream.read(&mut self.response[length..]);
            match read.context("no response")? {
                0 => bail!("the server closed the connection"),
                more => length += more,
            }
        }
        Ok(())
    }
}

/// Whether this is a complete response. Nothing follows it: the next is requested when it is complete.
fn is_whole(response: &[u8]) -> Result<bool> {
    let Some(end) = response.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(false);
    };
    let (head, body) = (std::str::from_utf8(&response[..end])?, &response[end + 4..]);
    ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let length = lines
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.parse().ok());
    Ok(match length {
        Some(length) => body.len() >= length,
        None => body.ends_with(b"0\r\n\r\n"), // in chunks
    })
}

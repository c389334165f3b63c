//! A server that audits as Vault 1.15 and later does: every device's sink works in a goroutine of its
//! own, two below that of the request, and may go on when the request has given up waiting for it.

mod builds;
mod devices;
mod dies;
mod entries;
mod generations;
mod gives_up;
mod queue;

use std::{env, fmt::Write, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Client, Endpoint, Eventlogger, Family, Fault, LogServer, Measured, Network, Trace, Tracer,
    eventlogger::Builder,
    log_server::Options,
    scenario::{self, BIG_REQUEST, PORT},
    sockets,
    tracer::{RECORD, agent_from_environment},
    wait,
};
use serde_json::Value;
use tracer_proc::TcpState;

use crate::assertions::{self, late, nanoseconds, tolerance};

/// What is to be reported of a device that is dead: `write_timeout` of most tests.
const TIMEOUT: Duration = Duration::from_millis(500);
const LIMIT: Duration = Duration::from_secs(20);

/// A server with a file device and a socket device, and the agent at work.
struct Scene {
    tracer: Tracer,
    server: Eventlogger,
    log: LogServer,
    network: Network,
    client: Client,
}

/// Begins one with a socket device of these options, and whatever else the server is to be.
fn scene(device: &[&str], with: impl FnOnce(Builder) -> Builder) -> Result<Scene> {
    scene_with(device, with, |log| log)
}

fn scene_with(
    device: &[&str],
    with: impl FnOnce(Builder) -> Builder,
    log: impl FnOnce(Options) -> Options,
) -> Result<Scene> {
    let network = Network::create(1)?;
    let at = Endpoint::Tcp(network.logs[0].port(Family::V4, PORT));
    let log = log(Options::new(at.clone())).start(&network.logs[0].namespace)?;
    let builder = with(usual()).audit_to(&at, device);
    let server = builder.start(&network.vault)?;
    Ok(Scene {
        tracer: attach(&server)?,
        client: server.client(),
        server,
        log,
        network,
    })
}

/// With entries as long as those of `sys/mounts`.
fn usual() -> Builder {
    Eventlogger::builder()
        .audit_to_file()
        .option("response-bytes=4000")
}

fn attach(server: &Eventlogger) -> Result<Tracer> {
    let keeps = env::var_os("VAULT_TRACER_KEEP").is_some();
    let arguments: &[&str] = if keeps { &[RECORD] } else { &[] };
    Tracer::attach(&agent_from_environment()?, server.pid(), arguments)
}

/// The request that met the full buffer, and one that found no connection.
struct LostDevice {
    full: Measured,
    next: Measured,
    trace: Trace,
}

impl Scene {
    /// Lives through the death and the return of the device: two requests hang.
    fn lose_device(self, fault: Fault) -> Result<LostDevice> {
        self.client.get(BIG_REQUEST)?;
        let fault = fault.apply(&self.network.vault)?;
        let full = self.fill()?;
        let next = self.client.get(BIG_REQUEST)?;
        fault.lift()?;
        let after = self.client.get(BIG_REQUEST)?;
        ensure!(!after.hung(), "the server hangs with the fault lifted");
        let trace = self.end(&[&full, &next])?;
        Ok(LostDevice { full, next, trace })
    }

    /// The request that met the full buffer.
    fn fill(&self) -> Result<Measured> {
        scenario::fill(&self.client)?.pop().context("no request")
    }

    /// Waits until the sink has given up its connection.
    fn wait_for_disconnect(&self) -> Result<()> {
        let remote = self.network.logs[0].port(Family::V4, PORT);
        wait::until("the sink to disconnect", LIMIT, || {
            let sockets = sockets::tcp_to(self.server.pid(), remote)?;
            let connected = sockets.iter().any(|s| s.state == TcpState::Established);
            Ok((!connected).then_some(()))
        })
    }

    fn end(self, requests: &[&Measured]) -> Result<Trace> {
        end(self.tracer, requests)
    }
}

fn end(tracer: Tracer, requests: &[&Measured]) -> Result<Trace> {
    let trace = tracer.stop()?;
    keep(&trace, requests)?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    Ok(trace)
}

/// Where `VAULT_TRACER_KEEP` says, leaves what the agent recorded and reported, and what the clients
/// measured: what is needed to understand a failure without repeating it.
fn keep(trace: &Trace, requests: &[&Measured]) -> Result<()> {
    let Some(directory) = env::var_os("VAULT_TRACER_KEEP") else {
        return Ok(());
    };
    let test = std::thread::current();
    let name = test.name().unwrap_or("test").replace("::", "-");
    let write = |kind: &str, text: &str| {
        fs::write(Path::new(&directory).join(format!("{name}.{kind}")), text)
    };
    let mut clients = String::new();
    for r in requests {
        let (id, took) = (r.request_id.as_deref(), r.duration.as_secs_f64());
        let (port, path, status) = (r.local_port, r.audit_path(), r.status);
        writeln!(
            clients,
            "{took:.3} s  port {port}  {path}  status {status}  id {}",
            id.unwrap_or("-")
        )?;
    }
    // All is reported then.
    write("recording.jsonl", &trace.recording)?;
    write("trace.jsonl", &trace.text)?;
    write("report.txt", &format!("{}{}", trace.terminal, trace.stderr))?;
    Ok(write("clients.txt", &clients)?)
}

/// All hangs of this request, of one device each.
fn hangs_of<'a>(trace: &'a Trace, request: &Measured) -> Vec<&'a Value> {
    let of_client = |hang: &&Value| hang["request"]["client_port"] == request.local_port;
    trace.hangs().into_iter().filter(of_client).collect()
}

fn hang_of<'a>(trace: &'a Trace, request: &Measured) -> Result<&'a Value> {
    let hangs = hangs_of(trace, request);
    let port = request.local_port;
    ensure!(
        hangs.len() == 1,
        "{} hangs of port {port}: {}",
        hangs.len(),
        trace.text
    );
    Ok(hangs[0])
}

/// The record knows the request although another goroutine did it all, and neither lasted longer than
/// the client says.
fn is_of(hang: &Value, request: &Measured) {
    assert_eq!(hang["request"]["tie"], "lineage", "{hang}");
    assertions::is_about(hang, request, Family::V4);
    let ours = nanoseconds(&hang["duration_ns"]);
    assert!(
        ours < request.duration + tolerance() && request.duration < ours + late(),
        "{:?}: {hang}",
        request.duration
    );
}

/// Longer than a busy machine takes to let one goroutine out of the device and the next one in; shorter than any time-out.
const HANDOVER: Duration = Duration::from_millis(400);

/// The stalls as `op phase outcome`, but for a short wait for who is about to leave the device.
fn stalls(hang: &Value) -> Vec<String> {
    let is_handover =
        |stall: &Value| stall["op"] == "lock" && nanoseconds(&stall["duration_ns"]) < HANDOVER;
    let word = |stall: &Value, name: &str| stall[name].as_str().unwrap_or("-").to_owned();
    let stalls = hang["stalls"].as_array().expect("stalls");
    let name = |s: &Value| {
        ["op", "phase", "outcome"]
            .map(|name| word(s, name))
            .join(" ")
    };
    let stalls = stalls.iter().filter(|stall| !is_handover(stall));
    stalls.map(name).collect()
}

const REQUEST_MET_IT: [&str; 4] = [
    "write request timeout",
    "connect request timeout",
    "connect response timeout",
    "connect response timeout",
];
const RESPONSE_MET_IT: [&str; 2] = ["write response timeout", "connect response timeout"];
const NO_CONNECTION: [&str; 4] = [
    "connect request timeout",
    "connect request timeout",
    "connect response timeout",
    "connect response timeout",
];

/// Both hangs and nothing else, reported as if the request's own goroutine had been blocked.
fn assert_both_hangs(lost: &LostDevice, causes: [&str; 2]) {
    let hangs = lost.trace.hangs();
    assert_eq!(hangs.len(), 2, "{}", lost.trace.text);
    is_of(hangs[0], &lost.full);
    is_of(hangs[1], &lost.next);
    for (hang, cause) in hangs.iter().zip(causes) {
        assert_eq!(hang["device"]["address"], "10.77.0.2:1515", "{hang}");
        assert_eq!(hang["cause"], cause, "{hang}");
    }
    // Which of its two entries meets the full buffer is a matter of bytes.
    if lost.full.duration >= TIMEOUT * 4 {
        assert_eq!(stalls(hangs[0]), REQUEST_MET_IT, "{}", hangs[0]);
    } else {
        assert_eq!(stalls(hangs[0]), RESPONSE_MET_IT, "{}", hangs[0]);
    }
    assert_eq!(stalls(hangs[1]), NO_CONNECTION, "{}", hangs[1]);
}

/// Both hangs, where no goroutine leads to the request: the entry says whose it is. Where no byte of an
/// entry got out, the request may be unknown, in one piece or one an entry, but all the time is reported, and
/// of no other request.
fn assert_attributed_by_entry(lost: &LostDevice, ties: &[&str]) -> Result<()> {
    let hangs = lost.trace.hangs();
    let (first, others) = hangs.split_first().context("no hang")?;
    lasted_as_long(&[first], &lost.full);
    lasted_as_long(others, &lost.next);
    let said = &first["request"];
    let tie = said["tie"].as_str().unwrap_or_default();
    assert!(ties.contains(&tie), "{first}");
    assert_eq!(
        said["id"].as_str(),
        lost.full.request_id.as_deref(),
        "{first}"
    );
    assert_eq!(said["client_port"], lost.full.local_port, "{first}");
    Ok(())
}

/// Together, and they are of no other request.
fn lasted_as_long(hangs: &[&Value], request: &Measured) {
    let sum: Duration = hangs.iter().map(|h| nanoseconds(&h["duration_ns"])).sum();
    // No time-out is missing.
    let off = request.starved + TIMEOUT * 9 / 10;
    assert!(
        sum <= request.duration + tolerance() && request.duration < sum + off,
        "{:?}: {hangs:?}",
        request.duration
    );
    let (port, id) = (u64::from(request.local_port), request.request_id.as_deref());
    for said in hangs.iter().map(|hang| &hang["request"]) {
        assert!(
            said["client_port"].as_u64().is_none_or(|p| p == port),
            "{said}"
        );
        assert!(said["id"].as_str().is_none_or(|i| Some(i) == id), "{said}");
    }
}

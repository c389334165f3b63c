//! One case, from the start of its lab to the verdict.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    thread::{self, ScopedJoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Endpoint, LogServer, Trace, Tracer, sockets,
    tracer::{RECORD, agent_from_environment},
    wait,
};
use serde_json::Value;
use tracer_proc::TcpState;

use super::{
    case::{Case, Program, Recovery},
    compare::compare,
    fault::Broken,
    kind::{Kind, Place},
    load::{Access, Load},
    outcome::{Observed, Outcome, Request},
    scene::Scene,
};

/// Requests after the fault.
const AFTER: Duration = Duration::from_millis(500);
/// For the end of an incident: a datagram that was sent shows nothing, and 2 s without a failure end it.
const INCIDENT_LIMIT: Duration = Duration::from_secs(4);
/// For the kernel to deliver what the server has closed.
const DELIVERY_LIMIT: Duration = Duration::from_secs(6);
/// Longer than a healthy request takes, or than a thread waits for a processor, unless the machine is busy with other things.
const BUSY: Duration = Duration::from_millis(60);
/// For the log server to read what has arrived.
const READ: Duration = Duration::from_millis(150);

/// A case that has ended.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    observed: Observed,
    trace: Trace,
    server_log: String,
}

/// Lives through it.
pub(crate) fn run(case: &Case) -> Result<Ended> {
    let mut scene = Scene::start(case).context("the lab")?;
    let skipped = audited(&scene)?.len();
    let arguments: &[&str] = if case.record { &[RECORD] } else { &[] };
    let tracer = Tracer::attach(&agent_from_environment()?, scene.server.pid(), arguments)?;
    let load = Load::default();
    let mut broken = Broken::default();
    let fault = under_load(case, &mut scene, &load, &tracer, &mut broken)?;
    let is_delivered = case.recovery != Recovery::Never && delivered(&scene);
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "the agent failed: {}", trace.stderr);
    if case.recovery == Recovery::Never {
        broken.lift(case, &mut scene)?;
    }
    let observed = observe(case, &scene, &load, fault, (skipped, is_delivered))?;
    let verdict = compare(case.kind, &observed, &trace.records);
    let outcome = Outcome {
        seed: case.seed,
        kind: case.kind,
        case: case.to_string(),
        verdict,
    };
    Ok(Ended {
        outcome,
        observed,
        trace,
        server_log: scene.server.log(),
    })
}

impl Ended {
    /// Leaves all that is needed to understand it.
    pub(crate) fn keep(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        let write = |name: &str, text: &str| fs::write(directory.join(name), text);
        write("trace.jsonl", &self.trace.text)?;
        write(
            "report.txt",
            &format!("{}{}", self.trace.terminal, self.trace.stderr),
        )?;
        write("recording.jsonl", &self.trace.recording)?;
        write(
            "observed.json",
            &serde_json::to_string_pretty(&self.observed)?,
        )?;
        write("server.log", &self.server_log)?;
        let disagreements = self.outcome.verdict.disagreements().join("\n");
        write(
            "disagreements.txt",
            &format!("{}\n{disagreements}\n", self.outcome.case),
        )?;
        Ok(())
    }
}

/// Clients ask while the fault comes and goes; returns when it was there.
fn under_load(
    case: &Case,
    scene: &mut Scene,
    load: &Load,
    tracer: &Tracer,
    broken: &mut Broken,
) -> Result<Option<(i128, i128)>> {
    let access = &Access::to(&scene.server, case)?;
    let (fault, ended) = thread::scope(|scope| {
        scope.spawn(|| load.watch_clock());
        let start = |number| scope.spawn(move || load.client(number, case, access));
        let clients: Vec<_> = (0..case.clients).map(start).collect();
        let fault = faults(case, scene, load, tracer, broken);
        load.stop();
        (fault, clients.into_iter().try_for_each(join))
    });
    let fault = fault.context("the fault")?;
    ended.context("a client")?;
    Ok(fault)
}

fn join(client: ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    client
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn faults(
    case: &Case,
    scene: &mut Scene,
    load: &Load,
    tracer: &Tracer,
    broken: &mut Broken,
) -> Result<Option<(i128, i128)>> {
    let ms = Duration::from_millis;
    thread::sleep(ms(case.before));
    let begin = now();
    let once = |scene: &mut Scene, broken: &mut Broken, length: u64, lift: bool| -> Result<()> {
        broken.begin(case, scene)?;
        load.send_large(case.kind.sends_large_entries());
        thread::sleep(ms(length));
        load.send_large(false);
        if lift {
            broken.lift(case, scene)
        } else {
            Ok(())
        }
    };
    once(scene, broken, case.length, case.recovery != Recovery::Never)?;
    if let Recovery::Relapse(gap) = case.recovery {
        thread::sleep(ms(gap));
        once(scene, broken, case.length / 2, true)?;
    }
    let end = now();
    if case.recovery != Recovery::Never {
        thread::sleep(AFTER);
        until_recovered(tracer)?;
    }
    let is_fault = case.kind.is_fault();
    // It is there from the server's start to its end.
    let always = case.kind == Kind::ZeroTimeout;
    let span = if always {
        (begin - ms(case.before).as_nanos() as i128 * 2, now())
    } else {
        (begin, end)
    };
    Ok(is_fault.then_some(span))
}

/// Requests go on until the agent has seen the device work again, if it saw it fail.
fn until_recovered(tracer: &Tracer) -> Result<()> {
    let is = |record: &Value, kinds: &[&str]| kinds.iter().any(|kind| record["type"] == *kind);
    let records = tracer.records()?;
    let failed = records
        .iter()
        .any(|record| is(record, &["stalled", "hang", "refusal"]));
    if failed {
        // One that never ends is in the trace without an end.
        let wanted = |record: &Value| is(record, &["incident"]);
        let _ = tracer.wait_for("the incident", INCIDENT_LIMIT, wanted);
    }
    Ok(())
}

fn now() -> i128 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as i128
}

/// Waits until the kernel has delivered what the server closed, or has given up; false if it goes on.
fn delivered(scene: &Scene) -> bool {
    let over = wait::until("the delivery", DELIVERY_LIMIT, || {
        let mut open = false;
        for at in &scene.endpoints {
            let Endpoint::Tcp(at) = at else { continue };
            let sockets = sockets::tcp_to(scene.server.pid(), *at)?;
            open |= sockets.iter().any(|socket| {
                matches!(
                    socket.state,
                    TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck
                ) || (socket.state == TcpState::Established && socket.send_queue > 0)
            });
        }
        Ok((!open).then_some(()))
    });
    thread::sleep(READ); // what has arrived is read at once
    over.is_ok()
}

fn observe(
    case: &Case,
    scene: &Scene,
    load: &Load,
    fault: Option<(i128, i128)>,
    (skipped, is_delivered): (usize, bool),
) -> Result<Observed> {
    let mut requests = load.requests();
    requests.sort_by_key(|request| request.started);
    let entries = audited(scene)?;
    let own = entries.get(skipped..).unwrap_or_default();
    let received = received(scene);
    let counts = is_delivered && !case.alone && counts_entries(case);
    let untaken = own.iter().filter(|entry| !received.contains(*entry));
    let untaken = untaken.map(|(id, _)| id.clone()).collect();
    let mut audited: HashSet<_> = own.iter().map(|(id, _)| id.clone()).collect();
    audited.extend(received.iter().map(|(id, _)| id.clone()));
    let (healthy, late) = (healthy(&requests, fault), load.late());
    Ok(Observed {
        healthy,
        busy: healthy.1 > BUSY || late > BUSY,
        requests,
        reset: case.reset,
        fault,
        late,
        devices: scene.addresses(case),
        untaken: counts.then_some(untaken),
        audited: audited.into_iter().collect(),
    })
}

/// Where each entry is taken or not, and the log server says which. Of two that break each has its own, and of what never was
/// acknowledged it is not known whether it arrived. A log server that resets a connection has not read all that had arrived.
fn counts_entries(case: &Case) -> bool {
    let places = [Place::Tcp, Place::Name];
    places.contains(&case.kind.place())
        && case.second != super::case::Second::Broken
        && case.kind != Kind::RepliesDropped
        && !(case.reset || case.kind == Kind::OneReset)
        && !fails_without_a_trace(case)
}

/// The tests' own server has neither Vault's table of devices nor its log: a connection attempt that fails before the kernel sends
/// anything, or within the system call after it was made, is not known to have failed.
fn fails_without_a_trace(case: &Case) -> bool {
    let is_vaults = case.program != Program::OpenBao;
    let is_unseen = case.kind.expected().connect == ["unreachable"];
    is_vaults && (is_unseen || case.kind == Kind::MadeAndReset)
}

/// The median and the longest of the requests before the fault.
fn healthy(requests: &[Request], fault: Option<(i128, i128)>) -> (Duration, Duration) {
    let before = |request: &&Request| fault.is_none_or(|(begin, _)| request.ended() < begin);
    let mut waited: Vec<_> = requests
        .iter()
        .filter(before)
        .map(Request::waited)
        .collect();
    waited.sort_unstable();
    let median = waited.get(waited.len() / 2).copied();
    (
        median.unwrap_or_default(),
        waited.last().copied().unwrap_or_default(),
    )
}

/// ID and type of an entry.
type Entry = (String, String);

fn entry(line: &[u8]) -> Option<Entry> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Some((text(&entry["request"]["id"])?, text(&entry["type"])?))
}

/// What the server wrote to its file.
fn audited(scene: &Scene) -> Result<Vec<Entry>> {
    let path = scene.server.audit_file();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(&path)?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(entry)
        .collect())
}

fn received(scene: &Scene) -> HashSet<Entry> {
    let lines = scene.logs.iter().flat_map(LogServer::lines);
    lines.filter_map(|line| entry(&line)).collect()
}

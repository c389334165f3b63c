//! Each generation of Vault since 1.15: four clients at once behind one device that takes nothing. Each client waited
//! for as long as its hangs say, whatever the sinks queue by and whatever ends the wait.

use std::{collections::HashSet, fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    Client, Fault, Measured, SecureClient, Trace,
    eventlogger::Builder,
    scenario::{self, BIG_REQUEST, PORT},
    truth::{self, SEEN},
    wait,
};

use serde_json::Value;

use super::{LIMIT, Scene, end, scene};

const CLIENTS: usize = 4;

/// How clients speak; each has a connection of its own.
enum Protocol {
    Http1(Client),
    Http2(SecureClient),
}

impl Protocol {
    fn get(&self) -> Result<Measured> {
        match self {
            Self::Http1(client) => client.get(BIG_REQUEST),
            Self::Http2(client) => client.multiplex()?.get(BIG_REQUEST),
        }
    }

    fn get_concurrently(&self, count: usize) -> Result<Vec<Measured>> {
        thread::scope(|scope| {
            let started: Vec<_> = (0..count).map(|_| scope.spawn(|| self.get())).collect();
            let joined = started.into_iter().map(thread::ScopedJoinHandle::join);
            joined
                .map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }
}

/// What clients measured while the device took nothing, and before.
struct Outage {
    trace: Trace,
    requests: Vec<Measured>,
    /// How long a request takes here that nothing blocks.
    healthy: Duration,
    /// Entries of the audit file that the log server has not received, by the ID of their request.
    untaken: Vec<String>,
}

impl Outage {
    fn live_through(scene: Scene, protocol: &Protocol) -> Result<Self> {
        let mut requests = (0..5).map(|_| protocol.get()).collect::<Result<Vec<_>>>()?;
        let healthy = requests.iter().map(|request| request.duration).max();
        // A reset drops what the log server has not read yet.
        wait::until("the log server to have all entries", LIMIT, || {
            Ok(untaken(&scene)?.is_empty().then_some(()))
        })?;
        let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
        scene.log.reset_connections()?;
        requests.push(protocol.get()?);
        requests.extend(protocol.get_concurrently(CLIENTS)?);
        fault.lift()?;
        requests.push(protocol.get()?);
        scene
            .tracer
            .wait_for("the incident", LIMIT, |record| record["type"] == "incident")?;
        // Its entries were sent before its answer, and may wait for the log server to read them.
        let last = requests.last().and_then(|last| last.request_id.clone());
        wait::until("the log server to have the last entries", LIMIT, || {
            let received = scene.log.request_ids();
            let entries = received.iter().filter(|id| Some(*id) == last.as_ref());
            Ok((entries.count() == 2).then_some(()))
        })?;
        let untaken = untaken(&scene)?;
        let trace = end(scene.tracer, &requests.iter().collect::<Vec<_>>())?;
        Ok(Self {
            trace,
            requests,
            healthy: healthy.context("no request")?,
            untaken,
        })
    }

    /// Each entry that the device did not take was tried, or never tried: none is missing, and none is told twice.
    fn entries_that_were_not_taken_are_counted(&self) -> Result<()> {
        let incidents = self.trace.of_type("incident");
        ensure!(incidents.len() == 1, "{}", self.trace.text);
        let incident = incidents[0];
        let count = |field: &str| incident[field].as_u64().unwrap_or(0);
        let counted = count("failed_entries") + count("missed_entries");
        ensure!(
            counted == self.untaken.len() as u64,
            "{counted} of {:?}: {incident}",
            self.untaken
        );
        for id in incident["missed_requests"].as_array().into_iter().flatten() {
            let is_untaken = self
                .untaken
                .iter()
                .any(|untaken| Some(&**untaken) == id.as_str());
            ensure!(is_untaken, "{id} is at the log server: {:?}", self.untaken);
        }
        Ok(())
    }

    fn everybody_waited_as_long_as_the_hangs_say(&self) -> Result<()> {
        let clients: Vec<_> = self.requests.iter().map(truth::Client::from).collect();
        let agreed = truth::all_agree(&clients, &self.trace.hangs(), SEEN + self.healthy);
        agreed.with_context(|| self.trace.text.clone())?;
        let summary = self.trace.summary()?;
        // The others' answers may be hidden in TLS.
        let counted = summary["requests"].as_u64();
        assert!(counted > Some(CLIENTS as u64), "{summary}");
        Ok(())
    }
}

/// Entries that the file device took and the log server did not receive. What was written before the connection broke counts
/// as lost on the connection.
fn untaken(scene: &Scene) -> Result<Vec<String>> {
    let file = fs::read_to_string(scene.server.audit_file())?;
    let key = |line: &[u8]| -> Option<(String, String)> {
        let entry: Value = serde_json::from_slice(line).ok()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some((text(&entry["request"]["id"])?, text(&entry["type"])?))
    };
    let received: HashSet<_> = scene
        .log
        .lines()
        .iter()
        .filter_map(|line| key(line))
        .collect();
    let written = file.lines().filter_map(|line| key(line.as_bytes()));
    let untaken = written.filter(|entry| !received.contains(entry));
    Ok(untaken.map(|(id, _)| id).collect())
}

fn over_http1(options: &[&str], write_timeout: &str) -> Result<()> {
    let device = format!("write_timeout={write_timeout}");
    let scene = scene(&[&device], |server| with(server, options))?;
    let protocol = Protocol::Http1(scene.client.clone());
    let outage = Outage::live_through(scene, &protocol)?;
    outage.everybody_waited_as_long_as_the_hangs_say()?;
    let counted = outage.entries_that_were_not_taken_are_counted();
    counted.with_context(|| outage.trace.text.clone())
}

fn over_http2(options: &[&str], write_timeout: &str) -> Result<()> {
    let device = format!("write_timeout={write_timeout}");
    let scene = scene(&[&device], |server| with(server, options).tls())?;
    let protocol = Protocol::Http2(scene.server.secure_client()?);
    let outage = Outage::live_through(scene, &protocol)?;
    outage.everybody_waited_as_long_as_the_hangs_say()?;
    let counted = outage.entries_that_were_not_taken_are_counted();
    counted.with_context(|| outage.trace.text.clone())
}

fn with(server: Builder, options: &[&str]) -> Builder {
    options.iter().fold(server, |server, o| server.option(o))
}

/// A quarter of Vault's own times: entries wait for 10 s there, of which the one before them takes 4.
const PERMITS: [&str; 2] = ["generation=2.1.0", "context=2500ms-detached"];

#[test]
fn clients_that_queue_by_permits_have_hangs_as_long_as_they_waited() -> Result<()> {
    over_http1(&PERMITS, "500ms")
}

#[test]
fn clients_that_queue_by_permits_over_http2_have_hangs_as_long_as_they_waited() -> Result<()> {
    over_http2(&PERMITS, "500ms")
}

/// Their answers are inside TLS, and the goroutines of their sinks queue on after them.
#[test]
fn sinks_that_outlive_their_requests_over_http2_are_cut_at_the_answers() -> Result<()> {
    over_http2(&["generation=1.15.3", "context=response-1500ms"], "500ms")
}

#[test]
fn entries_with_the_context_of_their_request() -> Result<()> {
    over_http1(&["generation=1.15.0"], "300ms")
}

#[test]
fn response_entries_with_a_time_of_their_own() -> Result<()> {
    over_http1(&["generation=1.15.3", "context=response-1500ms"], "500ms")
}

/// The request's context has most of its 90 s left: it is the one that counts.
#[test]
fn entries_with_a_time_of_their_own_if_the_request_has_less_left() -> Result<()> {
    over_http1(&["generation=1.16.3", "context=900ms-if-less"], "300ms")?;
    over_http1(&["generation=1.17.0", "context=100s-if-less"], "300ms")
}

#[test]
fn entries_with_a_detached_context() -> Result<()> {
    over_http1(&["generation=1.17.6", "context=2500ms-detached"], "500ms")
}

#[test]
fn a_sink_that_looks_at_its_context_before_the_queue_only() -> Result<()> {
    over_http1(
        &["context=1500ms-detached", "ignore-context", "queue=mutex"],
        "500ms",
    )
}

/// The negative twin: many at once queue for a device that takes everything.
#[test]
fn clients_that_queue_for_a_healthy_device_are_not_blocked() -> Result<()> {
    let scene = scene(&["write_timeout=2s"], |server| {
        server.option("generation=2.1.0")
    })?;
    let requests = scenario::load(&scene.client, 8, 50)?;
    truth::nobody_was_blocked(&requests, &end(scene.tracer, &[])?)
}

/// A plugin that takes its time while the device takes nothing: only the time of the device is blocked.
#[test]
fn a_slow_plugin_during_an_outage_is_not_part_of_the_hang() -> Result<()> {
    const SLOW: Duration = Duration::from_millis(1500);
    // The plugin's sleep takes longer than it says, and another time each.
    const TIMER: Duration = Duration::from_millis(20);
    let scene = scene(&["write_timeout=500ms"], |server| {
        server.option("generation=2.1.0")
    })?;
    let healthy = scene.client.get("/v1/plugin/work?sleep=1500ms")?;
    let fault = Fault::drop_output(PORT).apply(&scene.network.vault)?;
    scene.log.reset_connections()?;
    let first = scene.client.get(BIG_REQUEST)?;
    let slow = scene.client.get("/v1/plugin/work?sleep=1500ms")?;
    fault.lift()?;
    let trace = end(scene.tracer, &[&healthy, &first, &slow])?;
    let mut blocked = truth::Client::from(&slow);
    blocked.worked = SLOW;
    let slack = SEEN + TIMER + healthy.duration.saturating_sub(SLOW);
    truth::all_agree(&[(&first).into(), blocked], &trace.hangs(), slack)
}

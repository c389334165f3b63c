//! `OpenBao`'s `http` device: one goroutine, `persistConn.writeLoop`, writes for all requests of a connection to the log
//! server. The request that waits for an answer is another one's caller.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use lab::{
    AuditDevice, Client, Family, HttpLog, Measured, Network, Server, Trace, Tracer,
    client_times::duration,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::agent_from_environment,
    truth::{self, SEEN},
};
use serde_json::Value;

/// How late the log server answers. It is a thread of this process: on a busy machine other answers may be late too, but not so
/// much.
const LATE: Duration = Duration::from_secs(3);

struct Scene {
    tracer: Tracer,
    client: Client,
    log: HttpLog,
    _server: Server,
    _network: Network,
}

fn scene() -> Result<Scene> {
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = HttpLog::start(&network.logs[0].namespace, at)?;
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(AuditDevice::http("to-http", at))
        .start(&network.vault)?;
    Ok(Scene {
        tracer: Tracer::attach(&agent_from_environment()?, server.pid(), &[])?,
        client: server.client(Family::V4),
        log,
        _server: server,
        _network: network,
    })
}

/// Of two requests the second is answered late, for the first or the second of its entries.
fn the_second_is_blocked(delays: &[Duration], phase: &str) -> Result<()> {
    let scene = scene()?;
    let healthy = scene.client.get(BIG_REQUEST)?;
    let blocked = blocked_by(&scene, delays)?;
    is_the_only_one(scene.tracer, &[&healthy, &blocked], phase)
}

fn blocked_by(scene: &Scene, delays: &[Duration]) -> Result<Measured> {
    scene.log.delay(delays);
    scene.client.get("/v1/sys/auth")
}

/// The last of these requests has the only hang.
fn is_the_only_one(tracer: Tracer, requests: &[&Measured], phase: &str) -> Result<()> {
    let trace = tracer.stop()?;
    let clients: Vec<_> = requests.iter().map(|r| truth::Client::from(*r)).collect();
    let (blocked, healthy) = requests.split_last().context("no requests")?;
    let slack = healthy.iter().map(|r| r.duration).max().unwrap_or_default() + SEEN;
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    let [hang] = late_ones(&trace)[..] else {
        bail!("not one: {}", trace.text);
    };
    let request = &hang["request"];
    let id = blocked.request_id.as_deref();
    assert_eq!(request["id"].as_str(), id, "{hang}");
    assert_eq!(request["path"], "sys/auth", "{hang}");
    assert_eq!(hang["device"]["transport"], "http", "{hang}");
    assert_eq!(hang["device"]["path"], "to-http/", "{hang}");
    let stalls = hang["stalls"].as_array().context("no stalls")?;
    for stall in stalls.iter().filter(|stall| duration(stall) > LATE / 3) {
        assert_eq!(stall["phase"], phase, "{hang}");
    }
    Ok(())
}

/// The hangs that are due to an answer that was delayed.
fn late_ones(trace: &Trace) -> Vec<&Value> {
    let hangs = trace.hangs().into_iter();
    hangs.filter(|hang| duration(hang) > LATE / 3).collect()
}

#[test]
fn a_request_entry_that_is_answered_late_blocks_its_own_request() -> Result<()> {
    the_second_is_blocked(&[LATE], "request")
}

#[test]
fn a_response_entry_that_is_answered_late_blocks_its_own_request() -> Result<()> {
    the_second_is_blocked(&[Duration::ZERO, LATE], "response")
}

/// Each entry has a connection of its own, and the agent has seen none of them.
#[test]
fn an_entry_on_a_connection_of_its_own_blocks_its_own_request() -> Result<()> {
    let scene = scene()?;
    scene.log.close_each_connection();
    let healthy = lab::scenario::load(&scene.client, 1, 20)?;
    let blocked = blocked_by(&scene, &[Duration::ZERO, LATE])?;
    let all: Vec<_> = healthy.iter().chain([&blocked]).collect();
    is_the_only_one(scene.tracer, &all, "response")
}

/// All at once, and each waits for an answer of its own.
#[test]
fn requests_side_by_side_each_wait_for_their_own_answers() -> Result<()> {
    let scene = scene()?;
    let healthy = scene.client.get(BIG_REQUEST)?;
    scene.log.delay(&[LATE, LATE / 2]);
    let requests = scene.client.get_concurrently(4, BIG_REQUEST)?;
    let trace = scene.tracer.stop()?;
    let all = requests.iter().chain([&healthy]);
    let clients: Vec<_> = all.map(truth::Client::from).collect();
    let slack = SEEN + healthy.duration;
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    assert_eq!(late_ones(&trace).len(), 2, "{}", trace.text);
    Ok(())
}

/// The negative twin.
#[test]
fn a_log_server_that_answers_at_once_blocks_nobody() -> Result<()> {
    let scene = scene()?;
    let requests = lab::scenario::load(&scene.client, 4, 20)?;
    // Two entries a request, and those of the server's start.
    assert!(scene.log.entries() >= 160, "{}", scene.log.entries());
    let trace = scene.tracer.stop()?;
    // Who writes an entry to the log server is no client's handler.
    assert_eq!(trace.summary()?["requests"], 80, "{}", trace.text);
    // Those of some 30 kB are written in two pieces, and are one entry each.
    assert_eq!(trace.summary()?["audit_writes"], 160, "{}", trace.text);
    truth::nobody_was_blocked(&requests, &trace)
}

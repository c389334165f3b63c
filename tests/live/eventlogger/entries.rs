//! What entries look like: their order of fields, a prefix, an id beyond what is read, more than a
//! buffer holds.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{
    Endpoint, Eventlogger, Family, Fault, LogServer, Network,
    eventlogger::{VERSIONS, program},
    scenario::{BIG_REQUEST, PORT},
};

use super::{Scene, assert_both_hangs, attach, hangs_of, is_of, scene, scene_with, stalls};

/// The agent's: what took less is no hang.
const THRESHOLD: Duration = Duration::from_millis(100);

#[test]
fn entries_sorted_by_name_are_read_behind_a_prefix() -> Result<()> {
    let scene = scene(&["write_timeout=500ms", "prefix=@cee: "], |server| {
        server.option("order=sorted")
    })?;
    let lost = scene.lose_device(Fault::drop_output(PORT))?;
    assert_both_hangs(&lost, ["local_drop", "local_drop"]);
    Ok(())
}

/// `request.data` comes before `request.id` and is longer than what is read of an entry: the file
/// device beside it knows.
#[test]
fn an_id_beyond_what_is_read_is_found_in_the_file() -> Result<()> {
    let scene = scene(&["write_timeout=500ms"], |server| {
        server.option("order=sorted").option("request-bytes=3000")
    })?;
    let lost = scene.lose_device(Fault::drop_output(PORT))?;
    assert_both_hangs(&lost, ["local_drop", "local_drop"]);
    Ok(())
}

/// With another socket device, which lives on, in place of the file.
fn without_a_file(version: &str) -> Result<(Scene, LogServer)> {
    let network = Network::create(2)?;
    let at = |index: usize, port| Endpoint::Tcp(network.logs[index].port(Family::V4, port));
    let (dead, alive) = (at(0, PORT), at(1, PORT + 1));
    let log = LogServer::start(&network.logs[0].namespace, dead.clone())?;
    let other = LogServer::start(&network.logs[1].namespace, alive.clone())?;
    let server = Eventlogger::builder()
        .program(program(version))
        .option("order=sorted")
        .option("request-bytes=3000")
        .option("response-bytes=4000")
        .audit_to(&dead, &["write_timeout=500ms"])
        .audit_to(&alive, &[])
        .start(&network.vault)?;
    let scene = Scene {
        tracer: attach(&server)?,
        client: server.client(),
        server,
        log,
        network,
    };
    Ok((scene, other))
}

/// Neither does a file know it: what the server hands to its broker does. Older versions of Go keep goroutines elsewhere: their
/// debugging information and the table of versions say the same, or there were a warning.
#[test]
fn an_id_that_no_write_shows_is_read_from_the_servers_memory() -> Result<()> {
    for version in VERSIONS {
        let (scene, _other) = without_a_file(version)?;
        let lost = scene.lose_device(Fault::drop_output(PORT))?;
        assert_both_hangs(&lost, ["local_drop", "local_drop"]);
        let session = &lost.trace.records[0];
        assert_eq!(session["go_version"], format!("go{version}"), "{session}");
        let said = [lost.trace.terminal, lost.trace.stderr].concat();
        assert!(!said.to_lowercase().contains("warning"), "{said}");
    }
    Ok(())
}

/// One entry of 300 kB through small buffers to a reader that takes 200 kB/s.
#[test]
fn an_entry_that_goes_out_in_pieces_is_one_write() -> Result<()> {
    let long = |server: lab::eventlogger::Builder| server.option("response-bytes=300000");
    let device = ["write_timeout=20s"];
    let scene = scene_with(&device, long, |log| log.receive_buffer(16 << 10))?;
    scene.log.throttle(200_000);
    let mut requests = Vec::new();
    for _ in 0..8 {
        requests.push(scene.client.get(BIG_REQUEST)?);
        if requests.last().is_some_and(lab::Measured::hung) {
            break;
        }
    }
    let requests: Vec<_> = requests.iter().collect();
    let trace = scene.end(&requests)?;
    let last = requests.last().context("no request")?;
    ensure!(last.hung(), "no request hung: {:?}", last.duration);
    let hangs = hangs_of(&trace, last);
    assert_eq!(hangs.len(), 1, "{}", trace.text);
    is_of(hangs[0], last);
    assert_eq!(stalls(hangs[0]), ["write response ok"], "{}", hangs[0]);
    assert_eq!(hangs[0]["cause"], "zero_window", "{}", hangs[0]);
    // Those before it fill the buffers, and wait less.
    let slow = requests.iter().filter(|r| r.duration > THRESHOLD).count();
    assert!(
        trace.hangs().len() <= slow,
        "one is invented: {}",
        trace.text
    );
    Ok(())
}

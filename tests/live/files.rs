//! A file device that stalls: a pipe that nobody reads stands for a disk that does not answer. No socket
//! tells of it, only the code of the device on the stack of who waits.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::{
    AuditDevice, Family, Network, Server, Tracer,
    client_times::duration,
    scenario::BIG_REQUEST,
    server::{bao_from_environment, usual_tie},
    tracer::agent_from_environment,
    truth::{self, SEEN},
};
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

/// How long the request is to be blocked.
const HELD: Duration = Duration::from_millis(1500);
/// A pipe holds 64 kB: a dozen entries of 4.9 kB.
const REQUESTS: usize = 40;
const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_file_device_that_takes_nothing_more_is_reported_by_its_code() -> Result<()> {
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("audit.pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    // Opened for writing too: else the server waits for a reader.
    let reader = open(&pipe)?;
    let server = Server::builder(&bao_from_environment()?)
        .audit(AuditDevice::file("to-pipe", &pipe))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    let asking = thread::spawn(move || -> Result<_> {
        for _ in 0..REQUESTS {
            let request = client.get(BIG_REQUEST)?;
            if request.hung() {
                return Ok(request);
            }
        }
        anyhow::bail!("none of {REQUESTS} requests hung")
    });
    let stalled = tracer.wait_for("a stall", LIMIT, |record| record["type"] == "stalled")?;
    thread::sleep(HELD); // the reader is what is slow here
    drain(reader);
    let request = asking.join().expect("the client panicked")?;
    let trace = tracer.stop()?;
    let hang = *trace.hangs().first().context("no hang")?;
    assert_eq!(hang["device"]["transport"], "file", "{hang}");
    assert_eq!(
        hang["device"]["address"],
        pipe.display().to_string(),
        "{hang}"
    );
    assert_eq!(hang["id"], stalled["hang"], "{hang}");
    assert_eq!(
        hang["request"]["id"].as_str(),
        request.request_id.as_deref(),
        "{hang}"
    );
    assert_eq!(hang["stalls"][0]["op"], "write", "{hang}");
    // When it was over shows in a sample, which is late on a busy machine.
    let (ours, open) = (duration(hang), truth::uncertainty(&[hang]));
    assert!(
        ours + open >= HELD && ours <= request.duration,
        "{ours:?} of {:?}: {hang}",
        request.duration
    );
    assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
    Ok(())
}

/// All of them wait for the one device, which has no socket: one outage is one incident.
#[test]
fn four_clients_behind_a_file_that_takes_nothing_are_one_incident() -> Result<()> {
    const CLIENTS: usize = 4;
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let pipe = directory.path().join("audit.pipe");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    let reader = open(&pipe)?;
    let server = Server::builder(&bao_from_environment()?)
        .audit(AuditDevice::file("to-pipe", &pipe))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    let tracer = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
    let healthy = client.get(BIG_REQUEST)?;
    fill(&reader)?;
    let asking = thread::spawn(move || client.get_concurrently(CLIENTS, BIG_REQUEST));
    tracer.wait_for("a stall", LIMIT, |record| record["type"] == "stalled")?;
    thread::sleep(HELD); // the reader is what is slow here
    drain(reader);
    let blocked = asking.join().expect("the client panicked")?;
    let trace = tracer.stop()?;
    let clients: Vec<_> = blocked.iter().map(truth::Client::from).collect();
    let slack = SEEN + healthy.duration;
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    assert_eq!(trace.hangs().len(), CLIENTS, "{}", trace.text);
    let incidents = trace.of_type("incident");
    assert_eq!(incidents.len(), 1, "{}", trace.text);
    assert_eq!(incidents[0]["hangs"], CLIENTS, "{}", incidents[0]);
    // A sink that writes to a file well is not seen.
    let is_over = incidents[0]["end"].is_string();
    assert!(is_over || usual_tie()? == "lineage", "{}", incidents[0]);
    Ok(())
}

/// Until it takes nothing more.
fn fill(mut pipe: &File) -> Result<()> {
    loop {
        match pipe.write(&[b'\n'; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(pipe: &std::path::Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK);
    options.open(pipe).context("cannot open the pipe")
}

/// Until the test is over.
fn drain(mut reader: File) {
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if reader.read(&mut buffer).is_err() {
                thread::sleep(Duration::from_millis(10)); // it is empty
            }
        }
    });
}

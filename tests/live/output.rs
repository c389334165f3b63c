//! Where the trace goes, and what happens when it cannot.

use std::{
    ffi::{CStr, CString},
    fs,
    io::{BufRead, BufReader},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use lab::{
    Lab, LogServer, Process, Tracer, scenario::BIG_REQUEST, schema, tracer::agent_from_environment,
    wait,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::outage::lab;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn on_standard_output_there_is_the_trace_and_nothing_else() -> Result<()> {
    let lab = lab()?;
    let tracer = Tracer::attach_writing_to(&agent_from_environment()?, lab.server.pid(), "-")?;
    lab.client.get(BIG_REQUEST)?;
    let trace = tracer.stop()?;
    assert!(trace.status.success(), "{}", trace.stderr);
    schema::check(&trace.terminal)?;
    let nothing = "No audit device blocked or failed a request";
    assert!(trace.stderr.contains(nothing), "{}", trace.stderr);
    Ok(())
}

#[test]
fn a_full_device_costs_the_trace_but_not_the_report() -> Result<()> {
    let lab = lab()?;
    let tracer =
        Tracer::attach_writing_to(&agent_from_environment()?, lab.server.pid(), "/dev/full")?;
    lab.client.get(BIG_REQUEST)?;
    let trace = tracer.stop()?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    let last = trace.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("/dev/full") && last.contains("No space"),
        "{}",
        trace.stderr
    );
    assert!(
        trace.terminal.contains("Seen: 1 request,"),
        "{}",
        trace.terminal
    );
    Ok(())
}

#[test]
fn on_a_disk_that_fills_up_every_line_is_whole() -> Result<()> {
    let mut lab = lab()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("trace.jsonl");
    let mut command = Command::new(agent_from_environment()?);
    command
        .args(["trace", "--pid", &lab.server.pid().to_string(), "--output"])
        .arg(&file);
    with_a_small_disk(&mut command, directory.path())?;
    let tracer = Tracer::attach_by(&mut command)?;
    fill_with_outages(&mut lab, &tracer)?;
    let seen_by_the_tracer = format!("/proc/{}/root{}", tracer.pid(), file.display());
    let text = fs::read_to_string(seen_by_the_tracer)?;
    assert!(text.len() > 1000 && text.ends_with('\n'), "{text}");
    lab::tracer::records(&text)?
        .iter()
        .try_for_each(schema::check_record)?;
    let trace = tracer.stop()?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    assert!(trace.terminal.contains("0 hangs"), "{}", trace.terminal);
    Ok(())
}

/// The log server goes and comes: each time a refusal and an incident.
fn fill_with_outages(lab: &mut Lab, tracer: &Tracer) -> Result<()> {
    let mut connection = lab.client.connect()?;
    wait::until("the disk to be full", LIMIT, || {
        lab.log.stop();
        for _ in 0..2 {
            connection.get(BIG_REQUEST)?;
        }
        lab.log = LogServer::start(&lab.network.logs[0].namespace, lab.endpoint.clone())?;
        connection.get(BIG_REQUEST)?;
        Ok(tracer.stderr().contains("No space").then_some(()))
    })
}

/// Mounts a file system of one page over `directory`, for this command only.
pub(crate) fn with_a_small_disk(command: &mut Command, directory: &Path) -> Result<()> {
    let directory = CString::new(directory.as_os_str().as_bytes())?;
    let none = None::<&CStr>;
    let prepare = move || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // Nothing mounted here may show anywhere else.
        mount(
            none,
            c"/",
            none,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            none,
        )?;
        let (kind, options) = (Some(c"tmpfs"), Some(c"size=4k"));
        mount(
            Some(c"small"),
            directory.as_c_str(),
            kind,
            MsFlags::empty(),
            options,
        )?;
        Ok(())
    };
    // SAFETY: system calls on strings made beforehand; nothing is allocated between fork and exec.
    unsafe { command.pre_exec(prepare) };
    Ok(())
}

/// `vault-tracer trace --quiet --output - | head -1`
#[test]
fn a_reader_that_has_seen_enough_ends_the_trace() -> Result<()> {
    let mut lab = lab()?;
    let mut command = Command::new(agent_from_environment()?);
    command.args([
        "trace",
        "--quiet",
        "--pid",
        &lab.server.pid().to_string(),
        "--output",
        "-",
    ]);
    let mut tracer = Process::spawn("the tracer", command.stdout(Stdio::piped()))?;
    let mut reader = BufReader::new(tracer.child().stdout.take().context("no pipe")?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    assert!(line.contains("session"), "{line}");
    drop(reader);
    lab.log.stop();
    let status = wait::until("the tracer to notice", LIMIT, || {
        lab.client.get(BIG_REQUEST)?;
        tracer.exited()
    })?;
    assert!(status.success(), "{status}");
    Ok(())
}

//! Each mistake gives one line that names the thing and the way out, and harms nothing.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use lab::{Lab, Process, Trace, Tracer, tracer::agent_from_environment};

use crate::outage::lab;

/// Exit status of a failure, and of wrong usage.
const FAILURE: i32 = 1;
const USAGE: i32 = 2;

/// Runs `vault-tracer trace` with these arguments.
fn trace(arguments: &[&str]) -> Result<Trace> {
    Tracer::run(
        &agent_from_environment()?,
        &[&["trace"], arguments].concat(),
    )?
    .finish()
}

/// It ended with this status and one line that says all of this.
fn complains(trace: &Trace, status: i32, words: &[&str]) {
    let line = trace.stderr.trim_end();
    assert_eq!(trace.status.code(), Some(status), "{line}");
    assert!(
        !line.is_empty() && !line.contains('\n'),
        "not one line: {line}"
    );
    assert_eq!(trace.terminal, "", "{line}");
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
}

#[test]
fn a_pid_that_nobody_has() -> Result<()> {
    complains(
        &trace(&["--pid", "2147483647"])?,
        FAILURE,
        &["2147483647", "pgrep"],
    );
    Ok(())
}

#[test]
fn a_program_that_is_not_written_in_go() -> Result<()> {
    let sleep = Process::spawn("sleep", Command::new("sleep").arg("60"))?;
    let pid = sleep.pid().to_string();
    complains(&trace(&["--pid", &pid])?, FAILURE, &[&pid, "Go"]);
    Ok(())
}

#[test]
fn a_name_that_no_process_has() -> Result<()> {
    complains(
        &trace(&["--process", "no-such-name"])?,
        FAILURE,
        &["no-such-name", "--pid"],
    );
    Ok(())
}

#[test]
fn two_servers() -> Result<()> {
    let servers = [lab()?, lab()?].map(|lab| (lab.server.pid().to_string(), lab));
    let (one, two) = (&servers[0].0, &servers[1].0);
    let name = servers[0].1.server.name();
    for arguments in [&["--process", &*name][..], &[]] {
        let trace = trace(arguments)?;
        complains(&trace, FAILURE, &[one, two, "--pid"]);
        assert!(!trace.stderr.contains("root-token"), "{}", trace.stderr);
    }
    Ok(())
}

#[test]
fn a_thread_of_the_server() -> Result<()> {
    let lab = lab()?;
    let (pid, thread) = (lab.server.pid().to_string(), thread_of(&lab)?);
    complains(&trace(&["--pid", &thread])?, FAILURE, &[&thread, &pid]);
    Ok(())
}

fn thread_of(lab: &Lab) -> Result<String> {
    let pid = lab.server.pid().to_string();
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
    let mut names = threads.map(|thread| thread.file_name().to_string_lossy().into_owned());
    names
        .find(|name| *name != pid)
        .context("the server has one thread only")
}

#[test]
fn an_ordinary_user() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    let trace = Tracer::run_unprivileged(&agent_from_environment()?, &["trace", "--pid", &pid])?;
    complains(
        &trace,
        FAILURE,
        &["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "sudo"],
    );
    Ok(())
}

#[test]
fn an_output_that_cannot_be_written() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    let directory = tempfile::tempdir()?;
    let directory = directory.path().to_string_lossy();
    let nowhere = format!("{directory}/no/trace.jsonl");
    for output in [&*directory, &nowhere] {
        for option in ["--output", "--record"] {
            complains(
                &trace(&["--pid", &pid, option, output])?,
                FAILURE,
                &[output],
            );
        }
    }
    Ok(())
}

#[test]
fn what_an_argument_cannot_mean() -> Result<()> {
    for (arguments, words) in [
        (
            &["--audit", "10.0.0.2"][..],
            &["--audit", "10.0.0.2", "host:port"][..],
        ),
        (&["--audit", ":99999"], &["--audit", ":99999"]),
        (&["--threshold", "soon"], &["--threshold", "soon", "100ms"]),
        (&["--threshold", "-1s"], &["-1"]),
        (&["--duration", "forever"], &["--duration", "forever"]),
        (&["--pid", "0"], &["--pid", "0"]),
        (&["--pid", "vault"], &["--pid", "vault"]),
        (&["--no-such-flag"], &["--no-such-flag", "--help"]),
        (&["--pid", "1", "--process", "bao"], &["--pid", "--process"]),
        (&["--quiet", "--verbose"], &["--quiet", "--verbose"]),
    ] {
        complains(&trace(arguments)?, USAGE, words);
    }
    Ok(())
}

#[test]
fn an_earlier_trace_survives_one_that_cannot_begin() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("trace.jsonl");
    fs::write(&file, "an earlier trace\n")?;
    let name = file.to_string_lossy();
    complains(
        &trace(&["--pid", "2147483647", "--output", &name])?,
        FAILURE,
        &["2147483647"],
    );
    assert_eq!(fs::read_to_string(&file)?, "an earlier trace\n");
    Ok(())
}

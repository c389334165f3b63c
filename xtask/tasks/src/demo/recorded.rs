//! `cargo xtask run --demo --recorded`: the demo as it was recorded, where this machine cannot trace. The agent makes the
//! report of the recording now, so it is the same as of a demo today.

use std::{
    fs::File,
    io::{BufRead, BufReader, IsTerminal, stdin, stdout},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::client_times::ClientTimes;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use super::{
    compare::{self, Trace},
    make_page, say,
};
use crate::{setup::workspace, ui::Step};

/// `cargo xtask test` shows it, so that the agent reads it and reports what the client measured.
const CASE: &str = "tests/recordings/demo";
pub const RECORDING: &str = "recording.jsonl.gz";
pub const CLIENT_TIMES: &str = "clients.json";

/// In the current directory, as the demo's own; under other names, since they are not of this machine.
const TRACE: &str = "vault-tracer-recorded-demo.jsonl";
const PAGE: &str = "vault-tracer-recorded-demo.html";

const LIMIT: Duration = Duration::from_mins(1);
/// The live view ends by itself: the terminal may be nobody's.
const VIEW_LIMIT: Duration = Duration::from_secs(30);

/// Shows the recording; an error if its report does not agree with what the client measured then.
pub fn run(agent: &Path) -> Result<()> {
    let directory = workspace().join(CASE);
    let recording = directory.join(RECORDING);
    let (trace, page) = (Path::new(TRACE), Path::new(PAGE));
    let mut replay = replay(agent, &recording, &["--quiet", "--output", TRACE]);
    Step::new("demo", "recording").output("reading the recording", &mut replay, LIMIT)?;
    let what = describe(&first_record(trace)?);
    println!("demo: THIS IS A RECORDING of {what}\ndemo: nothing is traced on this machine\n");
    if stdin().is_terminal() && stdout().is_terminal() {
        say("the live view of its last moments; q ends it, and so does half a minute");
        view(self::replay(agent, &recording, &["--live=always"]))?;
    }
    let mut lines = self::replay(agent, &recording, &["--live=never"]);
    Step::visible("showing the recording", &mut lines, LIMIT)?;
    say("what the client measured then, beside the trace:");
    let times = File::open(directory.join(CLIENT_TIMES)).context("no times of the client")?;
    let times: ClientTimes = serde_json::from_reader(BufReader::new(times))?;
    let comparison = compare::compare(&times.requests, &Trace::read(trace)?);
    println!("\n{comparison}");
    make_page(agent, trace, page)?;
    say(&format!(
        "the trace is in {TRACE}, the same as a page in {PAGE}"
    ));
    say(&format!(
        "to look around in it: {} replay {CASE}/{RECORDING} --live",
        agent.display()
    ));
    say(&format!(
        "it was a recording of {what}; where tracing is possible: cargo xtask run --demo"
    ));
    comparison.verdict()
}

fn replay(agent: &Path, recording: &PathBuf, options: &[&str]) -> Command {
    let mut replay = Command::new(agent);
    replay.arg("replay").arg(recording).args(options);
    replay
}

/// Ends it as Ctrl-C would. In our own process group: another one may not read the terminal.
fn view(mut command: Command) -> Result<()> {
    let mut child = command.spawn().context("cannot start the live view")?;
    let started = Instant::now();
    while child.try_wait()?.is_none() {
        if started.elapsed() > VIEW_LIMIT {
            kill(Pid::from_raw(child.id() as i32), Signal::SIGINT)?;
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn first_record(trace: &Path) -> Result<Value> {
    let mut line = String::new();
    let file = File::open(trace).with_context(|| format!("cannot read {}", trace.display()))?;
    BufReader::new(file).read_line(&mut line)?;
    let session: Value = serde_json::from_str(&line).context("the trace has no first line")?;
    ensure!(session["type"] == "session", "the trace has no session");
    Ok(session)
}

/// What was traced, where and when, by the session of the trace.
fn describe(session: &Value) -> String {
    let text = |name: &str| session[name].as_str().unwrap_or("?");
    let server = Path::new(text("exe"));
    let name = server.file_name().unwrap_or_default().display();
    let start = text("start");
    format!(
        "`cargo xtask run --demo`: {name} ({}) on Linux {}, {} {} UTC",
        text("go_version"),
        text("kernel"),
        start.get(..10).unwrap_or(start),
        start.get(11..16).unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_says_of_what_and_when_it_is() {
        let session = serde_json::json!({
            "exe": "/cache/bao", "go_version": "go1.27.3", "kernel": "6.18.44", "start": "2026-11-30T01:40:00.5Z"
        });
        assert_eq!(
            describe(&session),
            "`cargo xtask run --demo`: bao (go1.27.3) on Linux 6.18.44, 2026-11-30 01:40 UTC"
        );
    }
}

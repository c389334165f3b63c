//! What was recorded, replayed: the trace must be that of the live run.

use std::env;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::tracer::{RECORD, Trace, Tracer, agent_from_environment};

const ALL: &str = "VAULT_TRACER_REPLAY";

/// Of `trace` and of `replay`.
const QUIET: &str = "--quiet";

/// Whether each agent of the tests records, also those whose test does not want it.
pub fn all_record() -> bool {
    env::var_os(ALL).is_some()
}

/// An agent's arguments, with recording if everybody is to record.
pub(crate) fn arguments<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut all = arguments.to_vec();
    if all_record() && !all.contains(&RECORD) {
        all.push(RECORD);
    }
    all
}

/// What was recorded gives the trace and the report that an agent with these arguments made of it live.
pub(crate) fn check_same_trace(trace: &Trace, arguments: &[String]) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let recording = directory.path().join("recording.jsonl");
    let output = directory.path().join("out.jsonl");
    fs::write(&recording, &trace.recording)?;
    let is_quiet = arguments.iter().any(|word| word == QUIET);
    let options: &[&str] = if is_quiet { &[QUIET] } else { &[] };
    let replayed = replay(&recording, &output, options)?;
    ensure!(
        fs::read_to_string(&output)? == trace.text && replayed.terminal == trace.terminal,
        "a replay gives another trace: {}\nand it was {}",
        replayed.terminal,
        trace.terminal
    );
    Ok(())
}

/// `vault-tracer replay`, which must succeed.
pub fn replay(recording: &Path, output: &Path, options: &[&str]) -> Result<Trace> {
    let (from, to) = (recording.to_string_lossy(), output.to_string_lossy());
    let words = [&["replay", &from, "--output", &to], options].concat();
    let replay = Tracer::run(&agent_from_environment()?, &words)?.finish()?;
    ensure!(replay.status.success(), "{}", replay.stderr);
    Ok(replay)
}

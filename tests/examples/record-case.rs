//! Records the replay cases anew from a real server: `record-case CASE...`, or `all`, as root, with the variables that
//! `cargo xtask test` sets. `UPDATE_REPLAYS=1 cargo test -p vault-tracer-tests --test replay` then writes what is
//! expected of them.

use std::{env, fs};

use anyhow::{Context, Result, ensure};
use lab::{
    Lab, State, Tracer,
    scenario::BIG_REQUEST,
    server::bao_from_environment,
    tracer::{RECORD, agent_from_environment},
};
use serde_json::json;
use test_support::replays;

/// Each makes the answer to [`BIG_REQUEST`], and its entry, longer: fewer requests fill a buffer.
const MOUNTS: u32 = 20;

fn main() -> Result<()> {
    for name in env::args().skip(1) {
        let wanted = |state: &&State| name == "all" || state.name == name;
        let states: Vec<_> = State::all().filter(wanted).collect();
        ensure!(!states.is_empty(), "no case is called {name}");
        for state in states {
            record(state).context(state.name)?;
        }
    }
    Ok(())
}

fn record(state: &State) -> Result<()> {
    let mut lab = state.lab(&bao_from_environment()?)?;
    enlarge(&lab)?;
    let tracer = Tracer::attach(&agent_from_environment()?, lab.server.pid(), &[RECORD])?;
    lab.client.get(BIG_REQUEST)?;
    (state.happen)(&mut lab)?;
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    let directory = replays::directory(state.name);
    fs::create_dir_all(&directory)?;
    let path = directory.join("recording.jsonl");
    fs::write(&path, &trace.recording)?;
    println!(
        "{}: {} bytes\n{}",
        path.display(),
        trace.recording.len(),
        trace.terminal
    );
    Ok(())
}

fn enlarge(lab: &Lab) -> Result<()> {
    for number in 0..MOUNTS {
        let path = format!("/v1/sys/mounts/more{number}");
        let mounted = lab.client.put(&path, &json!({ "type": "kv" }))?;
        ensure!(mounted.status < 300, "{path}: HTTP {}", mounted.status);
    }
    Ok(())
}

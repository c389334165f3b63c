//! Recordings beside what their clients measured.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{client_times::ClientTimes, truth};
use serde_json::Value;

use crate::case::{Case, replay, to_lines};

/// Where clients measured while a case was recorded (`clients.json`), the trace tells them all that they lost.
#[test]
fn every_recording_settles_what_its_clients_measured() -> Result<()> {
    for case in Case::all()? {
        if !case.directory.join("clients.json").exists() {
            continue;
        }
        let times: ClientTimes = serde_json::from_str(&case.read("clients.json")?)?;
        let records = to_lines(&replay(&case.events))?;
        let records: Vec<Value> = records
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let hangs: Vec<_> = records.iter().filter(|r| r["type"] == "hang").collect();
        let settled = times.matches(&hangs);
        settled.with_context(|| case.name())?;
    }
    Ok(())
}

/// With [`truth::LATE`], the 0.3 s to which these recordings show who queued: by samples of the goroutines' stacks.
const RECORDED_BY_SAMPLES: Duration = Duration::from_millis(200);

/// Recordings of a real Vault: the union of each client's hangs is what that client measured, and no hang is of anybody
/// else.
#[test]
fn every_recording_of_vault_agrees_with_its_clients() -> Result<()> {
    let mut wrong = Vec::new();
    for case in Case::all()? {
        let Some(truth) = case.truth()? else {
            continue;
        };
        let records = lab::tracer::records(&to_lines(&replay(&case.events))?)?;
        let hangs: Vec<_> = records.iter().filter(|r| r["type"] == "hang").collect();
        let clients = truth.clients();
        let agreed = clients
            .iter()
            .map(|client| client.agrees_with(&hangs, RECORDED_BY_SAMPLES));
        let known = truth::all_are_known(&clients, &hangs);
        let name = case.name();
        let errors = agreed.chain([known]).filter_map(Result::err);
        wrong.extend(errors.map(|error| format!("{name}: {error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Nobody waited longer for the syslog daemon than 0.33 s, and it is one device by whatever name.
#[test]
fn a_syslog_daemon_that_does_not_read_is_one_device() -> Result<()> {
    let case = Case::open("vault-2.1-syslog-not-reading")?;
    let records = lab::tracer::records(&to_lines(&replay(&case.events))?)?;
    let with_device = records.iter().filter(|record| record["device"].is_object());
    let names: HashSet<_> = with_device
        .map(|record| {
            let device = &record["device"];
            format!("{} {}", device["transport"], device["address"])
        })
        .collect();
    ensure!(names.len() == 1, "{names:?}");
    Ok(())
}

//! The same server built otherwise: by older versions of Go, and without symbols.

use std::time::Duration;

use anyhow::{Context, Result};
use lab::{
    Fault, Measured,
    eventlogger::{NEWEST, VERSIONS, program, stripped},
    scenario::PORT,
};

use serde_json::Value;

use super::{Died, scene, told_in_full};
use crate::expect::{TOLERANCE, nanoseconds};

const DEVICE: [&str; 1] = ["write_timeout=500ms"];

fn dies(program: String) -> Result<Died> {
    let scene = scene(&DEVICE, |server| server.program(program))?;
    scene.dies_of(Fault::drop_output(PORT))
}

/// Their debugging information and the table of Go versions say the same, or there were a warning.
#[test]
fn older_versions_of_go_keep_their_goroutines_elsewhere() -> Result<()> {
    for version in &VERSIONS[1..] {
        let died = dies(program(version))?;
        told_in_full(&died, ["local_drop", "local_drop"]);
        let session = &died.trace.records[0];
        assert_eq!(session["go_version"], format!("go{version}"), "{session}");
        let said = [died.trace.terminal, died.trace.stderr].concat();
        assert!(!said.to_lowercase().contains("warning"), "{said}");
    }
    Ok(())
}

/// Nothing leads from the sink's goroutine to the request's: the one between them is not seen. What
/// the entry says of its client does. Where no byte of an entry got out, the request may be unknown, in
/// one piece or one an entry, but all the time is told, and of no other request.
#[test]
fn without_symbols_the_entry_says_whose_it_is() -> Result<()> {
    let died = dies(stripped(NEWEST))?;
    let hangs = died.trace.hangs();
    let (first, others) = hangs.split_first().context("no hang")?;
    lasted_as_long(&[first], &died.full);
    lasted_as_long(others, &died.next);
    let said = &first["request"];
    assert_eq!(said["tie"], "payload", "{first}");
    assert_eq!(said["id"].as_str(), died.full.request_id.as_deref());
    assert_eq!(said["client_port"], died.full.local_port, "{first}");
    let stderr = &died.trace.stderr;
    assert!(stderr.contains("symbols"), "{stderr}");
    Ok(())
}

/// Together, and they are of no other request.
fn lasted_as_long(hangs: &[&Value], request: &Measured) {
    let sum: Duration = hangs.iter().map(|h| nanoseconds(&h["duration_ns"])).sum();
    let off = request.duration.abs_diff(sum);
    assert!(off < TOLERANCE, "{:?}: {hangs:?}", request.duration);
    let (port, id) = (u64::from(request.local_port), request.request_id.as_deref());
    for said in hangs.iter().map(|hang| &hang["request"]) {
        assert!(
            said["client_port"].as_u64().is_none_or(|p| p == port),
            "{said}"
        );
        assert!(said["id"].as_str().is_none_or(|i| Some(i) == id), "{said}");
    }
}

//! The same server built otherwise: by older versions of Go, and without symbols.

use anyhow::Result;
use lab::{
    Fault,
    eventlogger::{NEWEST, VERSIONS, program, stripped},
    scenario::PORT,
};

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
/// the entry says of its client does; where no byte of an entry got out, the request may be unknown, but
/// nothing is told of another one.
#[test]
fn without_symbols_the_entry_says_whose_it_is() -> Result<()> {
    let died = dies(stripped(NEWEST))?;
    let hangs = died.trace.hangs();
    assert_eq!(hangs.len(), 2, "{}", died.trace.text);
    for (hang, request) in hangs.iter().zip([&died.full, &died.next]) {
        let ours = nanoseconds(&hang["duration_ns"]);
        assert!(request.duration.abs_diff(ours) < TOLERANCE, "{hang}");
        let said = &hang["request"];
        let id = said["id"].as_str();
        assert!(
            id.is_none() || id == request.request_id.as_deref(),
            "{hang}"
        );
        let port = said["client_port"].as_u64();
        assert!(
            port.is_none_or(|p| p == u64::from(request.local_port)),
            "{hang}"
        );
    }
    let said = &hangs[0]["request"];
    assert_eq!(said["tie"], "payload", "{}", hangs[0]);
    assert_eq!(said["id"].as_str(), died.full.request_id.as_deref());
    assert_eq!(said["client_port"], died.full.local_port);
    assert!(
        died.trace.stderr.contains("symbols"),
        "{}",
        died.trace.stderr
    );
    Ok(())
}

//! The same server built otherwise: by older versions of Go, and without symbols.

use anyhow::Result;
use lab::{
    Fault,
    eventlogger::{NEWEST, VERSIONS, program, stripped},
    scenario::PORT,
};

use super::{Died, scene, told_by_the_entry, told_in_full};

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

/// Nothing leads from the sink's goroutine to the request's: the one between them is not seen.
#[test]
fn without_symbols_the_entry_says_whose_it_is() -> Result<()> {
    let died = dies(stripped(NEWEST))?;
    told_by_the_entry(&died, &["payload"])?;
    let stderr = &died.trace.stderr;
    assert!(stderr.contains("symbols"), "{stderr}");
    Ok(())
}

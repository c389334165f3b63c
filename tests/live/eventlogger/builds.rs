//! The same server built otherwise: by older versions of Go, and without symbols.

use anyhow::Result;
use lab::{
    Fault,
    eventlogger::{NEWEST, VERSIONS, program, stripped},
    scenario::PORT,
};

use super::{LostDevice, assert_both_hangs, scene};

const DEVICE: [&str; 1] = ["write_timeout=500ms"];

fn dies(program: String) -> Result<LostDevice> {
    let scene = scene(&DEVICE, |server| server.program(program))?;
    scene.lose_device(Fault::drop_output(PORT))
}

/// Their debugging information and the table of Go versions say the same, or there were a warning.
#[test]
fn older_versions_of_go_keep_their_goroutines_elsewhere() -> Result<()> {
    for version in &VERSIONS[1..] {
        let lost = dies(program(version))?;
        assert_both_hangs(&lost, ["local_drop", "local_drop"]);
        let session = &lost.trace.records[0];
        assert_eq!(session["go_version"], format!("go{version}"), "{session}");
        let said = [lost.trace.terminal, lost.trace.stderr].concat();
        assert!(!said.to_lowercase().contains("warning"), "{said}");
    }
    Ok(())
}

/// Names of functions are in every executable of Go's, and where its goroutines are kept is known of
/// its version.
#[test]
fn a_stripped_executable_is_read_as_its_version_of_go_has_it() -> Result<()> {
    let lost = dies(stripped(NEWEST))?;
    assert_both_hangs(&lost, ["local_drop", "local_drop"]);
    let stderr = &lost.trace.stderr;
    assert!(stderr.contains("stripped"), "{stderr}");
    Ok(())
}

//! The same server built without symbols.

use anyhow::Result;
use lab::{
    Fault,
    eventlogger::{NEWEST, stripped},
    scenario::PORT,
};

use super::{assert_both_hangs, scene};

/// Names of functions are in every executable of Go's, and where its goroutines are kept is known of
/// its version.
#[test]
fn a_stripped_executable_is_read_as_its_version_of_go_has_it() -> Result<()> {
    let device = ["write_timeout=500ms"];
    let scene = scene(&device, |server| server.program(stripped(NEWEST)))?;
    let lost = scene.lose_device(Fault::drop_output(PORT))?;
    assert_both_hangs(&lost, ["local_drop", "local_drop"]);
    let stderr = &lost.trace.stderr;
    assert!(stderr.contains("stripped"), "{stderr}");
    Ok(())
}

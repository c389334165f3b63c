//! `vault-tracer replay`: the report of a recorded trace.

use std::path::Path;

use anyhow::Result;

use super::outputs::Outputs;
use crate::{
    cli::ReplayArgs,
    core,
    event::{Event, What},
    source::recording,
};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let mut events = recording::read(&args.recording)?;
    let mut outputs = Outputs::open(&args.output, Some(&args.recording))?;
    complete(&mut events, &args.recording);
    for finding in core::replay(&events) {
        outputs.write(finding);
    }
    outputs.finish(args.output.quiet)
}

/// A recording without an end was cut short: it ends with what could be read.
fn complete(events: &mut Vec<Event>, path: &Path) {
    let Some(Event { at, .. }) = events.last().filter(|last| last.what != What::End) else {
        return;
    };
    let at = *at;
    eprintln!(
        "vault-tracer: {} was cut short: told is what it holds",
        path.display()
    );
    events.push(Event {
        at,
        what: What::End,
    });
}

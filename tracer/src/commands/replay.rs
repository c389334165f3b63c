//! `vault-tracer replay`: the report of a recorded trace.

use anyhow::Result;

use super::outputs::Outputs;
use crate::{cli::ReplayArgs, core::Core, source::recording};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let events = recording::read(&args.recording)?;
    let mut outputs = Outputs::open(&args.output, Some(&args.recording))?;
    let mut core = Core::new();
    for event in &events {
        // Its questions were answered when it was recorded: the answers are among the events.
        for finding in core.on(event).findings {
            outputs.write(finding);
        }
    }
    outputs.finish(args.output.quiet)
}

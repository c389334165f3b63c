//! `vault-tracer replay`: the report of a recorded trace.

use anyhow::Result;

use super::outputs::Outputs;
use crate::{cli::ReplayArgs, core, source::recording};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let events = recording::read(&args.recording)?;
    let mut outputs = Outputs::open(&args.output, Some(&args.recording))?;
    for finding in core::replay(&events) {
        outputs.write(finding);
    }
    outputs.finish(args.output.quiet)
}

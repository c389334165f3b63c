//! `vault-tracer replay`: the report of a recorded trace.

use std::fs;

use anyhow::Result;

use super::{outputs::Outputs, progress::Progress};
use crate::{cli::ReplayArgs, core, source::recording};

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let size = fs::metadata(&args.recording).map(|data| data.len());
    let progress = Progress::over("reading", size.ok());
    let events = recording::read_through(&args.recording, |file| progress.through(file))?;
    drop(progress);
    let mut outputs = Outputs::open(&args.output, Some(&args.recording))?;
    for finding in core::replay(&events) {
        outputs.write(finding);
    }
    outputs.finish(args.output.quiet)
}

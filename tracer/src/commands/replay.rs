//! `vault-tracer replay`: the report of a recorded trace.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{runtime, time::interval};

use super::{
    outputs::{Outputs, are_to_be_live},
    progress::Progress,
    stops::Stops,
};
use crate::{cli::ReplayArgs, source::recording};
use tracer_core::Core;
use tracer_model::{Event, EventKind};

/// How soon it is noticed that the operator has left the view.
const NOTICED: Duration = Duration::from_millis(50);

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let mut events = read(args)?;
    let live = are_to_be_live(&args.output, false);
    let mut outputs = Outputs::open(&args.output, Some(&args.recording), live)?;
    complete(&mut events, &args.recording);
    if !outputs.are_live() {
        tell(&events, &mut outputs);
        return outputs.finish(args.output.quiet);
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        // Before the terminal is taken.
        let mut stops = Stops::new(None)?;
        tell(&events, &mut outputs);
        let mut look = interval(NOTICED);
        while !outputs.are_left() && !outputs.are_over() {
            tokio::select! {
                _ = stops.wait() => break,
                _ = look.tick() => {}
            }
        }
        outputs.finish(args.output.quiet)
    })
}

fn read(args: &ReplayArgs) -> Result<Vec<Event>> {
    let size = fs::metadata(&args.recording).map(|data| data.len());
    let progress = Progress::over("reading", size.ok());
    recording::read_through(&args.recording, |file| progress.through(file))
}

/// All that was recorded; and, if somebody shows that, how things stood before the trace ended.
fn tell(events: &[Event], outputs: &mut Outputs) {
    let mut core = Core::new();
    let mut is_shown = !outputs.are_watched();
    for event in events {
        if !is_shown && matches!(event.what, EventKind::SendQueues { .. } | EventKind::End) {
            outputs.show(core.snapshot(event.at));
            is_shown = true;
        }
        for finding in core.on(event).findings {
            outputs.write(finding);
        }
    }
}

/// A recording without an end was cut short: it ends with what could be read.
fn complete(events: &mut Vec<Event>, path: &Path) {
    let Some(Event { at, .. }) = events.last().filter(|last| last.what != EventKind::End) else {
        return;
    };
    let at = *at;
    eprintln!(
        "vault-tracer: {} was cut short: told is what it holds",
        path.display()
    );
    events.push(Event {
        at,
        what: EventKind::End,
    });
}

//! `vault-tracer replay`: the report of a recorded trace.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{runtime, time::interval};

use super::{
    outputs::{Outputs, wants_tui},
    progress::Progress,
    stops::Stops,
};
use crate::{cli::ReplayArgs, source::recording};
use tracer_core::Core;
use tracer_model::{Event, EventKind};

/// Time between two checks whether the operator has quit the live view.
const QUIT_POLL: Duration = Duration::from_millis(50);

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let mut events = read(args)?;
    let tui = wants_tui(&args.output, false);
    let mut outputs = Outputs::open(&args.output, Some(&args.recording), tui)?;
    add_missing_end(&mut events, &args.recording);
    if !outputs.have_tui() {
        replay(&events, &mut outputs);
        return outputs.finish(args.output.quiet);
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        // Before the live view takes the terminal.
        let mut stops = Stops::new(None)?;
        replay(&events, &mut outputs);
        let mut poll = interval(QUIT_POLL);
        while !outputs.has_quit() && !outputs.are_over() {
            tokio::select! {
                _ = stops.wait() => break,
                _ = poll.tick() => {}
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

/// Writes all findings, and, for outputs that show it, the last state before the trace ended.
fn replay(events: &[Event], outputs: &mut Outputs) {
    let mut core = Core::new();
    let mut needs_snapshot = outputs.want_snapshots();
    for event in events {
        if needs_snapshot && matches!(event.what, EventKind::SendQueues { .. } | EventKind::End) {
            outputs.write_snapshot(core.snapshot(event.at));
            needs_snapshot = false;
        }
        for finding in core.on(event).findings {
            outputs.write(finding);
        }
    }
}

/// A recording that was cut short ends with its last event.
fn add_missing_end(events: &mut Vec<Event>, path: &Path) {
    let Some(Event { at, .. }) = events.last().filter(|last| last.what != EventKind::End) else {
        return;
    };
    let at = *at;
    eprintln!(
        "vault-tracer: {} was cut short: the report covers what it holds",
        path.display()
    );
    events.push(Event {
        at,
        what: EventKind::End,
    });
}

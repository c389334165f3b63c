//! `vault-tracer replay`: the report of a recorded trace.

use std::{
    fs,
    io::{self, IsTerminal},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::{runtime, time::interval};

use super::{
    outputs::{Outputs, wants_tui},
    progress::Progress,
    stops::Stops,
};
use crate::{
    cli::ReplayArgs, console, paths::PathRule, sink::together, source::recording::Recorded,
};
use tracer_core::Core;
use tracer_model::{Event, EventKind};

/// Time between two checks whether the operator has quit the live view.
const QUIT_POLL: Duration = Duration::from_millis(50);

pub(super) fn run(args: &ReplayArgs) -> Result<()> {
    let size = fs::metadata(&args.recording).map(|data| data.len());
    // On a terminal the report itself shows how far it is.
    let is_shown = args.output.quiet || !io::stdout().is_terminal();
    let size = size.ok().filter(|_| is_shown).or(Some(0));
    let progress = Progress::over("reading", size);
    let events = Recorded::open(&args.recording, |file| progress.through(file))?;
    let tui = wants_tui(&args.output, false);
    let mut outputs = Outputs::open(&args.output, None, Some(&args.recording), tui)?;
    let paths = PathRule::new(args.output.paths)?;
    if !outputs.have_tui() {
        let replayed = replay(events, &paths, &args.recording, &mut outputs);
        return together([replayed, outputs.finish(args.output.quiet)]);
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    runtime.block_on(async {
        // Before the live view takes the terminal.
        let mut stops = Stops::new(None, false)?;
        let replayed = replay(events, &paths, &args.recording, &mut outputs);
        let mut poll = interval(QUIT_POLL);
        while replayed.is_ok() && !outputs.has_quit() && !outputs.are_over() {
            tokio::select! {
                _ = stops.wait() => break,
                _ = poll.tick() => {}
            }
        }
        together([replayed, outputs.finish(args.output.quiet)])
    })
}

/// Writes all findings, and, for outputs that show it, the last state before the trace ended.
fn replay(events: Recorded, paths: &PathRule, path: &Path, outputs: &mut Outputs) -> Result<()> {
    let mut core = Core::new();
    let mut needs_snapshot = outputs.want_snapshots();
    let mut last = None;
    let mut feed = |event: &Event| {
        if needs_snapshot && matches!(event.what, EventKind::SendQueues { .. } | EventKind::End) {
            outputs.write_snapshot(core.snapshot(event.at));
            needs_snapshot = false;
        }
        for finding in core.on(event).findings {
            outputs.write(finding);
        }
    };
    for event in events {
        let mut event = event?;
        paths.apply(&mut event);
        feed(&event);
        last = Some(event);
    }
    // A recording that was cut short ends with its last event.
    if let Some(Event { at, .. }) = last.filter(|last| last.what != EventKind::End) {
        console::print(&format!(
            "vault-tracer: {} was cut short: the report covers what it holds",
            path.display()
        ));
        let what = EventKind::End;
        feed(&Event { at, what });
    }
    Ok(())
}

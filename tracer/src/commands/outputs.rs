//! The outputs that the operator asked for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Error, Result, bail};
use log::warn;

use crate::{
    cli::{OutputArgs, When},
    sink::{
        Worker,
        line_file::LineFile,
        metrics::{self, Metrics},
        otlp::collector::{self, Collector},
        terminal::Terminal,
        tui::{self, QuitFlag, Tui},
    },
};
use tracer_model::{Event, Finding, Snapshot};

/// All sinks of a trace.
pub(super) struct Outputs {
    /// Get findings.
    workers: Vec<Worker<Finding>>,
    /// Get state snapshots too.
    watchers: Vec<Worker<Finding>>,
    /// Of the live view, if there is one.
    quit: Option<QuitFlag>,
    /// The trace file, unless it is standard output.
    file: Option<PathBuf>,
}

/// Whether to show the live view: on a terminal, if it was asked for, or, with `by_default`, if no other output was.
pub(super) fn wants_tui(args: &OutputArgs, by_default: bool) -> bool {
    let is_wanted = match args.live {
        When::Always => true,
        When::Never => false,
        When::Auto => by_default && args.output.is_none(),
    };
    is_wanted && !args.quiet && !args.takes_stdout() && tui::is_possible()
}

impl Outputs {
    /// Opens the sinks. An error if the trace would overwrite `recording`. `tui`: show the live view instead of lines.
    pub(super) fn open(args: &OutputArgs, recording: Option<&Path>, tui: bool) -> Result<Self> {
        let mut workers = Vec::new();
        if let Some(path) = &args.output {
            let file = LineFile::create(path)?;
            if recording.is_some_and(|recording| file.is_same(recording)) {
                bail!(
                    "{} is the recording too: give the trace another name",
                    path.display()
                );
            }
            workers.push(args.trace_format(path).spawn(file));
        }
        if let Some(endpoint) = args.collector().map_err(Error::msg)? {
            let headers = collector::headers()?;
            let collector = Collector::start(endpoint, headers, args.quiet)?;
            workers.push(Worker::spawn(collector));
        }
        let mut watchers = Vec::new();
        let quit = tui.then(QuitFlag::default);
        if let Some(quit) = &quit {
            watchers.push(Worker::spawn(Tui::new(quit.clone())));
        } else if !args.quiet {
            workers.push(Worker::spawn(Terminal::new(args.takes_stdout())));
        }
        let file = args.output.clone().filter(|_| !args.takes_stdout());
        Ok(Self {
            workers,
            watchers,
            quit,
            file,
        })
    }

    /// Serves metrics too.
    pub(super) fn serve(
        &mut self,
        address: SocketAddr,
        recording: Option<&Worker<Event>>,
    ) -> Result<()> {
        let (metrics, address) = Metrics::serve(address)?;
        if let Some(warning) = exposure_warning(address) {
            warn!("{warning}");
        }
        // The system chooses the port where it is 0.
        eprintln!("metrics at http://{address}{}", metrics::PATH);
        let exposition = metrics.exposition();
        self.watchers.push(Worker::spawn(metrics));
        for worker in self.workers.iter().chain(&self.watchers) {
            exposition.add_sink(worker.kind(), worker.missed());
        }
        if let Some(recording) = recording {
            exposition.add_sink(recording.kind(), recording.missed());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, finding: Finding) {
        let finding = Arc::new(finding);
        for worker in self.workers.iter_mut().chain(&mut self.watchers) {
            worker.send(&finding);
        }
    }

    /// Whether a sink takes state snapshots.
    pub(super) fn want_snapshots(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Whether there is a live view.
    pub(super) fn have_tui(&self) -> bool {
        self.quit.is_some()
    }

    /// Whether the operator has quit the live view.
    pub(super) fn has_quit(&self) -> bool {
        self.quit.as_ref().is_some_and(QuitFlag::is_set)
    }

    pub(super) fn write_snapshot(&mut self, snapshot: Snapshot) {
        let snapshot = Arc::new(Finding::Snapshot(Box::new(snapshot)));
        for watcher in &mut self.watchers {
            watcher.send(&snapshot);
        }
    }

    /// Whether the readers of all sinks went away.
    pub(super) fn are_over(&mut self) -> bool {
        let mut all = self.workers.iter_mut().chain(&mut self.watchers).peekable();
        all.peek().is_some() && all.all(Worker::is_over)
    }

    /// Ends all sinks. An error if something could not be written.
    pub(super) fn finish(self, quiet: bool) -> Result<()> {
        Worker::finish_all(self.workers.into_iter().chain(self.watchers))?;
        if let Some(file) = self.file.filter(|_| !quiet) {
            eprintln!("trace written to {}", file.display());
        }
        Ok(())
    }
}

/// The warning for an address that other hosts can reach.
fn exposure_warning(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "everybody who can reach {address} can read the metrics: which audit devices there are, by address or path, and how they fail"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_for_other_hosts_are_a_warning() {
        let warned =
            |address: &str| exposure_warning(address.parse().expect("an address")).is_some();
        for own in [
            "127.0.0.1:1",
            "127.0.0.53:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!warned(own), "{own}");
        }
        for open in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fd00::2]:1"] {
            assert!(warned(open), "{open}");
        }
    }
}

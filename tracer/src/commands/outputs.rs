//! The outputs that the operator asked for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Error, Result, bail};
use log::warn;

use crate::{
    cli::{Format, OutputArgs, When},
    sink::{
        Worker,
        jsonl::Jsonl,
        line_file::LineFile,
        live::{self, Left, Live},
        metrics::{self, Metrics},
        otlp::{
            Otlp,
            collector::{self, Collector},
        },
        perfetto::Perfetto,
        terminal::Terminal,
    },
};
use tracer_model::{Event, Finding, Snapshot};

/// Where findings and snapshots go.
pub(super) struct Outputs {
    workers: Vec<Worker<Finding>>,
    /// Outputs that show snapshots too.
    watchers: Vec<Worker<Finding>>,
    /// Set when the operator leaves the live view; `None` without one.
    left: Option<Left>,
    /// The trace file; `None` for standard output.
    file: Option<PathBuf>,
}

/// Whether the report is a live view: it needs a terminal, and `--live` or, with `by_default`, no other output.
pub(super) fn are_to_be_live(args: &OutputArgs, by_default: bool) -> bool {
    let is_wanted = match args.live {
        When::Always => true,
        When::Never => false,
        When::Auto => by_default && args.output.is_none(),
    };
    is_wanted && !args.quiet && !args.takes_stdout() && live::is_possible()
}

impl Outputs {
    /// Opens them, before probes are attached. Fails if the trace would overwrite `other`. `live`: whether the report is a
    /// live view.
    pub(super) fn open(args: &OutputArgs, other: Option<&Path>, live: bool) -> Result<Self> {
        let mut workers = Vec::new();
        if let Some(path) = &args.output {
            let file = LineFile::create(path)?;
            if other.is_some_and(|other| file.is_same(other)) {
                bail!(
                    "{} is the recording too: give the trace another name",
                    path.display()
                );
            }
            workers.push(match args.trace_format() {
                Format::Jsonl => Worker::spawn(Jsonl::new(file)),
                Format::Otlp => Worker::spawn(Otlp::new(file)),
                Format::Perfetto => Worker::spawn(Perfetto::new(file)),
            });
        }
        if let Some(endpoint) = args.collector().map_err(Error::msg)? {
            let headers = collector::headers()?;
            let collector = Collector::start(endpoint, headers, args.quiet)?;
            workers.push(Worker::spawn(collector));
        }
        let mut watchers = Vec::new();
        let left = live.then(Left::default);
        if let Some(left) = &left {
            watchers.push(Worker::spawn(Live::new(left.clone())));
        } else if !args.quiet {
            workers.push(Worker::spawn(Terminal::new(args.takes_stdout())));
        }
        let file = args.output.clone().filter(|_| !args.takes_stdout());
        Ok(Self {
            workers,
            watchers,
            left,
            file,
        })
    }

    /// Serves metrics too, before probes are attached.
    pub(super) fn serve(
        &mut self,
        address: SocketAddr,
        recording: Option<&Worker<Event>>,
    ) -> Result<()> {
        let (metrics, address) = Metrics::serve(address)?;
        if let Some(warning) = exposure(address) {
            warn!("{warning}");
        }
        // Even with --quiet: the system may have chosen the port.
        eprintln!("metrics at http://{address}{}", metrics::PATH);
        let exposition = metrics.exposition();
        self.watchers.push(Worker::spawn(metrics));
        for worker in self.workers.iter().chain(&self.watchers) {
            exposition.watch(worker.kind(), worker.missed());
        }
        if let Some(recording) = recording {
            exposition.watch(recording.kind(), recording.missed());
        }
        Ok(())
    }

    pub(super) fn write(&mut self, finding: Finding) {
        let finding = Arc::new(finding);
        for worker in self.workers.iter_mut().chain(&mut self.watchers) {
            worker.send(&finding);
        }
    }

    /// Whether an output shows snapshots.
    pub(super) fn are_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Whether one output is a live view.
    pub(super) fn are_live(&self) -> bool {
        self.left.is_some()
    }

    /// Whether the operator has left the live view, which ends the trace.
    pub(super) fn are_left(&self) -> bool {
        self.left.as_ref().is_some_and(Left::is_set)
    }

    /// Gives a snapshot to the outputs that show one.
    pub(super) fn show(&mut self, snapshot: Snapshot) {
        let snapshot = Arc::new(Finding::Snapshot(Box::new(snapshot)));
        for watcher in &mut self.watchers {
            watcher.send(&snapshot);
        }
    }

    /// Whether all outputs are closed at their other end.
    pub(super) fn are_over(&mut self) -> bool {
        let mut all = self.workers.iter_mut().chain(&mut self.watchers).peekable();
        all.peek().is_some() && all.all(Worker::is_over)
    }

    /// Writes the remaining records. Fails if some could not be written.
    pub(super) fn finish(self, quiet: bool) -> Result<()> {
        Worker::finish_all(self.workers.into_iter().chain(self.watchers))?;
        if let Some(file) = self.file.filter(|_| !quiet) {
            eprintln!("trace written to {}", file.display());
        }
        Ok(())
    }
}

/// The warning if other hosts can read the metrics.
fn exposure(address: SocketAddr) -> Option<String> {
    (!address.ip().to_canonical().is_loopback()).then(|| {
        format!(
            "whoever can reach {address} can read the metrics: which audit devices there are, by address or path, and how they fail"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_for_others_are_warned_of() {
        let warned = |address: &str| exposure(address.parse().expect("an address")).is_some();
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

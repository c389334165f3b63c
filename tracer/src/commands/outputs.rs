//! The outputs that the operator asked for.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Error, Result, bail};
use log::warn;

use crate::{
    cli::{FileArgs, OutputArgs, When},
    console,
    sink::{
        Worker,
        line_file::{FileRules, LineFile},
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
    /// Opens the sinks. An error if the trace would overwrite `recording`. `files`: how the trace file is written, which
    /// is made anew without it. `tui`: show the live view instead of lines.
    pub(super) fn open(
        args: &OutputArgs,
        files: Option<&FileArgs>,
        recording: Option<&Path>,
        tui: bool,
    ) -> Result<Self> {
        let mut workers = Vec::new();
        if let Some(path) = &args.output {
            if recording.is_some_and(|recording| is_same(recording, path)) {
                bail!(
                    "{} is the recording too: give the trace another name",
                    path.display()
                );
            }
            let format = args.trace_format(path);
            let rules = files.map_or_else(FileRules::default, |files| files.of_trace(format));
            workers.push(format.spawn(LineFile::open(path, rules)?));
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
        console::print(&format!("metrics at http://{address}{}", metrics::PATH));
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

    /// Has files opened again that were renamed.
    pub(super) fn reopen(&mut self) {
        for worker in &mut self.workers {
            worker.reopen();
        }
    }

    /// Whether the trace is written to a file.
    pub(super) fn have_file(&self) -> bool {
        self.file.is_some()
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
        if let Some(file) = self.file.filter(|file| !quiet && file.exists()) {
            console::print(&format!("trace written to {}", file.display()));
        }
        Ok(())
    }
}

/// Whether both names lead to one regular file, which two writers, or a reader and a writer, would destroy.
fn is_same(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) else {
        // Not there yet.
        return one == other;
    };
    one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
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
    fn a_file_is_known_by_another_name() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, link) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&path, "").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(is_same(&path, &link));
        let missing = dir.path().join("d");
        assert!(is_same(&missing, &missing));
        assert!(!is_same(&path, dir.path()) && !is_same(&path, &dir.path().join("c")));
        let null = Path::new("/dev/null");
        assert!(!is_same(null, null), "any number may write there");
    }

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

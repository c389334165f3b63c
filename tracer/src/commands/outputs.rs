//! The sinks that the operator asked for, as one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Error, Result, bail};

use crate::{
    cli::{Format, OutputArgs},
    core::finding::Finding,
    sink::{
        Worker,
        jsonl::Jsonl,
        line_file::LineFile,
        otlp::{
            Otlp,
            collector::{self, Collector},
        },
        perfetto::Perfetto,
        terminal::Terminal,
    },
};

/// Where findings go.
pub(super) struct Outputs {
    workers: Vec<Worker<Finding>>,
    /// The trace file, if it is one.
    file: Option<PathBuf>,
}

impl Outputs {
    /// Opens them; fails before anything is attached, and if the trace would overwrite `other`.
    pub(super) fn open(args: &OutputArgs, other: Option<&Path>) -> Result<Self> {
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
        if !args.quiet {
            workers.push(Worker::spawn(Terminal::new(args.takes_stdout())));
        }
        let file = args.output.clone().filter(|_| !args.takes_stdout());
        Ok(Self { workers, file })
    }

    pub(super) fn write(&mut self, finding: Finding) {
        let finding = Arc::new(finding);
        for worker in &mut self.workers {
            worker.send(&finding);
        }
    }

    /// Whether nobody reads any of them any more.
    pub(super) fn are_over(&mut self) -> bool {
        !self.workers.is_empty() && self.workers.iter_mut().all(Worker::is_over)
    }

    /// Writes what is left; fails if something could not be written.
    pub(super) fn finish(self, quiet: bool) -> Result<()> {
        // Each is given the chance to end before the first failure is told.
        let ends: Vec<_> = self.workers.into_iter().map(Worker::finish).collect();
        ends.into_iter().collect::<Result<()>>()?;
        if let Some(file) = self.file.filter(|_| !quiet) {
            eprintln!("trace written to {}", file.display());
        }
        Ok(())
    }
}

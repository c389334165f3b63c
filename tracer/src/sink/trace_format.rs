//! The formats of the trace file: one table.

use std::path::Path;

use clap::ValueEnum;

use super::{Worker, jsonl::Jsonl, line_file::LineFile, otlp::Otlp, perfetto::Perfetto};
use tracer_model::Finding;

/// Formats of the trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// JSON Lines, described in docs/trace-format.md
    Jsonl,
    /// OpenTelemetry spans, as the collector's file exporter writes them: OTLP in JSON, a request a line
    Otlp,
    /// Perfetto's protobuf, for <https://ui.perfetto.dev>
    Perfetto,
}

impl TraceFormat {
    /// That of files with any other name.
    const DEFAULT: Self = Self::Jsonl;

    /// How the names of its files end, where that chooses it.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Jsonl => &[],
            Self::Otlp => &[".otlp.json"],
            Self::Perfetto => &[".perfetto-trace", ".pftrace"],
        }
    }

    /// Whether a file of it may hold several traces, one after another.
    pub fn is_appendable(self) -> bool {
        match self {
            Self::Jsonl | Self::Otlp => true,
            // Its tracks are numbered.
            Self::Perfetto => false,
        }
    }

    /// Writes findings in this format.
    pub fn spawn(self, file: LineFile) -> Worker<Finding> {
        match self {
            Self::Jsonl => Worker::spawn(Jsonl::new(file)),
            Self::Otlp => Worker::spawn(Otlp::new(file)),
            Self::Perfetto => Worker::spawn(Perfetto::new(file)),
        }
    }

    /// The format that the file's name chooses.
    pub fn of_path(path: &Path) -> Self {
        let name = path.to_string_lossy();
        let mut formats = Self::value_variants().iter().copied();
        formats
            .find(|format| {
                let mut extensions = format.extensions().iter();
                extensions.any(|end| name.ends_with(end))
            })
            .unwrap_or(Self::DEFAULT)
    }

    fn word(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The help text of the option that chooses a format.
    pub fn help() -> String {
        let by_name = Self::value_variants()
            .iter()
            .filter(|format| !format.extensions().is_empty());
        let by_name: Vec<_> = by_name
            .map(|format| {
                format!(
                    "{} for {}",
                    format.word(),
                    format.extensions().join(" and ")
                )
            })
            .collect();
        format!(
            "Format of the trace [default: {}, else {}]",
            by_name.join(", "),
            Self::DEFAULT.word()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_name_chooses_the_format() {
        for (name, format) in [
            ("trace.otlp.json", TraceFormat::Otlp),
            ("a.perfetto-trace", TraceFormat::Perfetto),
            ("a.pftrace", TraceFormat::Perfetto),
            ("trace.json", TraceFormat::Jsonl),
            ("-", TraceFormat::Jsonl),
        ] {
            assert_eq!(TraceFormat::of_path(Path::new(name)), format, "{name}");
        }
    }

    #[test]
    fn the_help_has_each_format_that_a_name_chooses() {
        assert_eq!(
            TraceFormat::help(),
            "Format of the trace [default: otlp for .otlp.json, perfetto for .perfetto-trace and .pftrace, else jsonl]"
        );
    }
}

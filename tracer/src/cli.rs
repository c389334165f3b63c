//! The command line.

mod examples;
mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use clap_complete::Shell;
use nix::unistd::Gid;

pub use self::values::Declared;
use self::values::{declared, duration, group, listener, mode, recording, size, threshold};
use crate::{
    paths::PathsOption,
    probe::plan::Preference,
    server::find::Selector,
    sink::{
        line_file::{Existing, FileRules},
        otlp::collector::{Endpoint, Protocol},
        trace_format::TraceFormat,
    },
};

/// Shows which audit device blocks which request of Vault or OpenBao, and why
#[derive(Debug, Parser)]
#[command(name = "vault-tracer", version, about, after_help = examples::ALL)]
pub struct Cli {
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the command line. A wrong URL is a usage error too, though clap cannot know.
    pub fn read() -> Result<Self, clap::Error> {
        let cli = Self::try_parse()?;
        let output = match &cli.command {
            Command::Trace(args) => Some(&args.output),
            Command::Replay(args) => Some(&args.output),
            _ => None,
        };
        let collector = output.map_or(Ok(None), OutputArgs::collector);
        // clap's own message would repeat the value, and a URL may contain a secret.
        collector.map_err(|why| clap::Error::raw(ErrorKind::ValueValidation, why))?;
        Ok(cli)
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Attach to a running server; report each blocked request, its audit device and the cause
    #[command(after_help = examples::TRACE)]
    Trace(Box<TraceArgs>),
    /// Report from a recording, offline and without root
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayArgs),
    /// Summarise traces: as text, as JSON, or as a page
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Check whether this host can be traced, with which probes, and what would help
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Show what each goroutine of a running server waits for, without stopping it
    #[command(after_help = examples::STACKS)]
    Stacks(StacksArgs),
    /// Print a shell's completions of this command line
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    #[command(after_help = examples::MAN)]
    Man {
        /// An existing directory
        directory: PathBuf,
    },
}

/// `vault-tracer trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Address of an audit device: host:port, [v6]:port or the path of a Unix socket; may be repeated
    /// [default: recognised by the entries written to it]
    #[arg(long, value_name = "ADDR", value_parser = declared)]
    pub audit: Vec<Declared>,
    /// Shortest hang to report: how long one device blocked one request, in all
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = threshold)]
    pub threshold: Duration,
    /// End after this time [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Write every event to this file too, for `vault-tracer replay`; compressed if it is named `.gz`
    #[arg(long, value_name = "FILE", value_parser = recording)]
    pub record: Option<PathBuf>,
    /// Write what happened around each hang into this directory, for `vault-tracer replay`: the 20 newest recordings, of at
    /// most 64 MB each
    #[arg(long, value_name = "DIR", conflicts_with = "record")]
    pub flight_recorder: Option<PathBuf>,
    /// Serve metrics for Prometheus over HTTP: HOST:PORT, or a port alone, for this host only
    #[arg(long, value_name = "ADDR", value_parser = listener)]
    pub metrics: Option<SocketAddr>,
    /// Which probes to attach, where the kernel offers several
    #[arg(long, value_name = "WAY", default_value = "auto")]
    pub probes: Preference,
    /// BTF file made for the running kernel [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Where findings go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// How files are written.
    #[command(flatten)]
    pub files: FileArgs,
    /// Print more messages on standard error
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

/// `vault-tracer replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A file made with `vault-tracer trace --record FILE`
    pub recording: PathBuf,
    /// Where findings go.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `vault-tracer report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// JSON Lines traces, also compressed (gzip); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a page for a browser to this file too; `-` is standard output, and the report then goes to standard error
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// `vault-tracer doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// BTF file made for the running kernel [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// `vault-tracer stacks`
#[derive(Debug, Args)]
pub struct StacksArgs {
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Show the goroutines outside of audit code too, by equal stacks
    #[arg(long)]
    pub all: bool,
    /// What of the requests' paths is shown
    #[arg(long, value_name = "WHAT", default_value = "full")]
    pub paths: PathsOption,
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// Which server of those that run on this host.
#[derive(Debug, Args)]
pub struct ServerArgs {
    /// The server with this process ID; an agent, a plugin or another command of Vault is refused
    #[arg(long, value_name = "PID", conflicts_with = "process", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// The server whose program has this name; `trace` follows it through restarts [default: the `vault` or `bao` server that
    /// runs]
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
    /// The server that listens on this port
    #[arg(long, value_name = "PORT", conflicts_with = "pid", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}

impl ServerArgs {
    /// What to look for.
    pub fn selector(&self) -> Selector {
        Selector::of(self.pid, self.process.as_deref(), self.port)
    }
}

/// Formats of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For the terminal
    Text,
    /// One JSON object
    Json,
}

/// Where findings go.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write the trace to this file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Format of the trace
    #[arg(long, value_name = "FORMAT", help = TraceFormat::help())]
    pub format: Option<TraceFormat>,
    /// Send the trace as OpenTelemetry spans to this collector, for example <http://localhost:4317>; credentials are
    /// taken from the environment variable `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Protocol of the collector [default: grpc for port 4317, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", requires = "otlp_endpoint")]
    pub otlp_protocol: Option<Protocol>,
    /// What of the requests' paths is shown, and recorded
    #[arg(long, value_name = "WHAT", default_value = "full")]
    pub paths: PathsOption,
    /// Print no report
    #[arg(short, long)]
    pub quiet: bool,
    /// When to show a full-screen view of the server instead of lines
    #[arg(long, value_name = "WHEN", default_value = "auto", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub live: When,
}

/// How files are written.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Begin the next file when the trace file has reached this size, for example 100M; the earlier ones are named FILE.1,
    /// FILE.2, ..., the newest first
    #[arg(long, value_name = "SIZE", requires = "output", value_parser = size)]
    pub rotate_size: Option<u64>,
    /// Keep so many earlier files of the trace and of the recording [default: 5 with --rotate-size, else all]
    #[arg(long, value_name = "N")]
    pub keep: Option<u32>,
    /// Permissions of the trace file, for example 0640 [default: 0600]
    #[arg(long, value_name = "MODE", requires = "output", value_parser = mode)]
    pub output_mode: Option<u32>,
    /// Group of the trace file, by name or number [default: that of this process]
    #[arg(long, value_name = "GROUP", requires = "output", value_parser = group)]
    pub output_group: Option<Gid>,
}

/// Earlier files that are kept where each is limited in size.
const KEPT: u32 = 5;

impl FileArgs {
    /// The rules for the trace file: an earlier trace in it is never lost.
    pub fn of_trace(&self, format: TraceFormat) -> FileRules {
        let existing = if format.is_appendable() {
            Existing::Append
        } else {
            Existing::Keep
        };
        FileRules {
            existing,
            mode: self.output_mode.unwrap_or(FileRules::default().mode),
            group: self.output_group,
            rotate_at: self.rotate_size,
            keep: self.keep.or(self.rotate_size.map(|_| KEPT)),
        }
    }

    /// The rules for the recording. It begins with what was there at first, so it is one file, for its owner alone.
    pub fn of_recording(&self) -> FileRules {
        FileRules {
            existing: Existing::Keep,
            keep: self.keep,
            ..FileRules::default()
        }
    }
}

/// When to show the live view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// For `trace` on an interactive terminal without --output, --record or --verbose
    #[default]
    Auto,
    /// Where there is an interactive terminal; the same as `--live`
    Always,
    /// Never
    Never,
}

impl OutputArgs {
    /// The chosen format, or that of the file's name.
    pub fn trace_format(&self, file: &Path) -> TraceFormat {
        self.format.unwrap_or_else(|| TraceFormat::of_path(file))
    }

    /// The collector, or an error message for its URL.
    pub fn collector(&self) -> Result<Option<Endpoint>, String> {
        let Some(text) = &self.otlp_endpoint else {
            return Ok(None);
        };
        let endpoint = Endpoint::parse(text, self.otlp_protocol);
        endpoint
            .map(Some)
            .map_err(|why| format!("invalid value for '--otlp-endpoint <URL>': {why}"))
    }

    /// Whether the trace is written to standard output.
    pub fn takes_stdout(&self) -> bool {
        self.output.as_deref() == Some(Path::new("-"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_format_that_is_asked_for_precedes_the_file_name() {
        let format = |arguments: &[&str]| {
            let words = ["vault-tracer", "replay", "events", "-o"];
            let cli = Cli::parse_from(words.iter().chain(arguments));
            match cli.command {
                Command::Replay(args) => args.output.trace_format(Path::new(arguments[0])),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(format(&["a.pftrace"]), TraceFormat::Perfetto);
        let asked = format(&["a.pftrace", "--format", "jsonl"]);
        assert_eq!(asked, TraceFormat::Jsonl);
        assert_eq!(format(&["-", "--format", "otlp"]), TraceFormat::Otlp);
        let asked = format(&["a.otlp.json", "--format", "jsonl"]);
        assert_eq!(asked, TraceFormat::Jsonl);
    }
}

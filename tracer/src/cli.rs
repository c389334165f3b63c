//! The command line.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum, error::ErrorKind};
use clap_complete::Shell;
use jiff::SignedDuration;

use crate::{
    probe::plan::Preference,
    sink::otlp::collector::{Endpoint, Protocol},
};
use tracer_model::{Device, Transport};

/// Tells why Vault or OpenBao hangs on its audit devices.
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
    /// Attach to a running server and report every hang as it ends
    #[command(after_help = examples::TRACE)]
    Trace(TraceArgs),
    /// Report from a recording, offline and without root
    #[command(after_help = examples::REPLAY)]
    Replay(ReplayArgs),
    /// Tell what traces say, in short: as text, as JSON, or as a page to look into
    #[command(after_help = examples::REPORT)]
    Report(ReportArgs),
    /// Tell whether this host can be traced, with which probes, and what would mend it
    #[command(after_help = examples::DOCTOR)]
    Doctor(DoctorArgs),
    /// Write what a shell needs to complete this command line to standard output
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Write the manual pages into a directory
    #[command(after_help = examples::MAN)]
    Man {
        /// Where to; it must exist
        directory: PathBuf,
    },
}

/// Examples at the end of `--help`.
mod examples {
    pub(super) const ALL: &str = "\
Examples:
  vault-tracer doctor                                  whether this host can be traced
  vault-tracer trace                                   the server that runs here, until Ctrl-C
  vault-tracer trace -o trace.jsonl                    and keep the trace
  vault-tracer report trace.jsonl                      what it says, for a ticket
  vault-tracer trace -h                                what else can be asked for";
    pub(super) const TRACE: &str = "\
Examples:
  vault-tracer trace                                   the server that runs here, until Ctrl-C or q
  vault-tracer trace --pid 4711 -o trace.jsonl         this one; keep the trace
  vault-tracer trace --live -o trace.jsonl             watch it, and keep the trace
  vault-tracer trace --process bao -q -o trace.jsonl   through its restarts, without a report
  vault-tracer trace --duration 10m --record events.gz ten minutes; events for `replay` or a bug report
  vault-tracer trace --process vault -q --metrics 9464 as a service; metrics for Prometheus
  vault-tracer trace --otlp-endpoint http://tempo:4317 spans to a collector, over gRPC";
    pub(super) const REPLAY: &str = "\
Examples:
  vault-tracer replay events                           the report of a recorded trace
  vault-tracer replay events --live                    how things stood at its end, and its hangs
  vault-tracer replay events -q -o trace.jsonl         its trace
  vault-tracer replay events -q -o trace.pftrace       its trace as a timeline, for ui.perfetto.dev
  vault-tracer replay events -q -o trace.otlp.json     its trace as OpenTelemetry spans
  vault-tracer replay events -q --otlp-endpoint http://localhost:4318   spans to a collector";
    pub(super) const REPORT: &str = "\
Examples:
  vault-tracer report trace.jsonl                      for a ticket: which device, why, how bad
  vault-tracer report trace.jsonl --html report.html   a page with the timeline and each hang's evidence
  vault-tracer report node1.jsonl node2.jsonl.gz       several nodes together
  vault-tracer report trace.jsonl --format json | jq .devices   for scripts";
    pub(super) const DOCTOR: &str = "\
Examples:
  vault-tracer doctor                                  one screen; belongs into a bug report
  vault-tracer doctor --format json | jq .obstacle     what is in the way, if anything is";
    pub(super) const COMPLETIONS: &str = "\
Examples:
  vault-tracer completions bash > /etc/bash_completion.d/vault-tracer
  vault-tracer completions zsh > /usr/local/share/zsh/site-functions/_vault-tracer
  vault-tracer completions fish > ~/.config/fish/completions/vault-tracer.fish";
    pub(super) const MAN: &str = "\
Examples:
  vault-tracer man /usr/local/share/man/man1           then: man vault-tracer-trace";
}

/// `vault-tracer trace`
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Trace the server with this process ID
    #[arg(long, value_name = "PID", conflicts_with = "process", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// Trace the server whose program has this name [default: the one running `vault` or `bao` server]
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
    /// Address of an audit device: host:port, [v6]:port or the path of a Unix socket; may be repeated
    /// [default: recognised by the entries written to it]
    #[arg(long, value_name = "ADDR", value_parser = device)]
    pub audit: Vec<Device>,
    /// Ignore hangs shorter than this: all stalls of one request on one device together
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = threshold)]
    pub threshold: Duration,
    /// End after this time [default: at Ctrl-C]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub duration: Option<Duration>,
    /// Write every event to this file too, for `vault-tracer replay`; compressed if it is named `.gz`
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Serve metrics for Prometheus over HTTP here: [HOST]:PORT, or a port alone; without a host, of this host only
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
    /// Say more on standard error
    #[arg(short, long, conflicts_with = "quiet")]
    pub verbose: bool,
}

/// `vault-tracer replay`
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A file made with `vault-tracer trace --record`
    pub recording: PathBuf,
    /// Where findings go.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `vault-tracer report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// JSON Lines traces, perhaps compressed (gzip); `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write a page to this file too, for a browser; `-` is standard output, and the report then goes to standard error
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
}

/// `vault-tracer doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at the server with this process ID
    #[arg(long, value_name = "PID", conflicts_with = "process", value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: Option<i32>,
    /// Look at the server whose program has this name [default: the one running `vault` or `bao` server]
    #[arg(long, value_name = "NAME")]
    pub process: Option<String>,
    /// BTF file made for the running kernel [default: /sys/kernel/btf/vmlinux]
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: ReportFormat,
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
    /// Format of the trace [default: otlp for .otlp.json, perfetto for .perfetto-trace and .pftrace, else jsonl]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Send the trace as OpenTelemetry spans to the collector there, for example <http://localhost:4317>; its
    /// credentials are taken from the environment variable `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Protocol of the collector [default: grpc for port 4317, else http/protobuf]
    #[arg(long, value_name = "PROTOCOL", requires = "otlp_endpoint")]
    pub otlp_protocol: Option<Protocol>,
    /// No report on the terminal
    #[arg(short, long)]
    pub quiet: bool,
    /// Show the state of the server in a full-screen view with keys to inspect it: `auto` does so for a trace on an
    /// interactive terminal without other outputs; lines where there is no such terminal; nothing with --quiet
    #[arg(long, value_name = "WHEN", default_value = "auto", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pub live: When,
}

/// When to show the live view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// For a trace on an interactive terminal without other outputs
    #[default]
    Auto,
    /// Wherever it is possible
    Always,
    /// Never
    Never,
}

/// Formats of the trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON Lines, described in the README
    Jsonl,
    /// OpenTelemetry spans, as the collector's file exporter writes them: OTLP in JSON, a request a line
    Otlp,
    /// Perfetto's protobuf, for <https://ui.perfetto.dev>
    Perfetto,
}

impl OutputArgs {
    /// The chosen format, or that of the file's name.
    pub fn trace_format(&self) -> Format {
        let name = self.output.as_deref().map(Path::to_string_lossy);
        let is = |extension| name.as_ref().is_some_and(|name| name.ends_with(extension));
        let by_name = if is(".otlp.json") {
            Format::Otlp
        } else if is(".perfetto-trace") || is(".pftrace") {
            Format::Perfetto
        } else {
            Format::Jsonl
        };
        self.format.unwrap_or(by_name)
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

/// `100ms`, `30s`, `1m 30s`
fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text
        .parse()
        .map_err(|_| "expected a time such as 100ms, 30s or 5m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())
}

/// Below this, ordinary writes of healthy requests would be hangs.
const LEAST_THRESHOLD: Duration = Duration::from_millis(1);

fn threshold(text: &str) -> Result<Duration, String> {
    let threshold = duration(text)?;
    if threshold < LEAST_THRESHOLD {
        return Err(
            "below 1ms the ordinary writes of healthy requests would be reported as hangs: give 1ms or more"
                .to_owned(),
        );
    }
    Ok(threshold)
}

/// `host:port`, `[v6]:port` or a path
fn device(text: &str) -> Result<Device> {
    if text.starts_with(['/', '@']) {
        return Ok(Device {
            transport: Transport::Unix,
            address: text.to_owned(),
        });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Device::tcp(address));
    }
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| "expected host:port, [v6]:port or the path of a Unix socket")?;
    let first = addresses.next().context("the name has no address")?;
    Ok(Device::tcp(first))
}

/// `host:port`, `[v6]:port`; `:port` and `port` are on the loopback address
fn listener(text: &str) -> Result<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| "expected host:port, [v6]:port, or a port alone")?;
    addresses.next().context("the name has no address")
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
    fn reads_times() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err());
        assert!(duration("-1s").is_err());
    }

    #[test]
    fn reads_devices() {
        let address = |text| device(text).map(|d| (d.transport, d.address)).ok();
        let tcp = |text: &str| Some((Transport::Tcp, text.to_owned()));
        assert_eq!(address("10.0.0.2:1515"), tcp("10.0.0.2:1515"));
        assert_eq!(address("[fd00::2]:1515"), tcp("[fd00::2]:1515"));
        assert_eq!(address("[::ffff:10.0.0.2]:1515"), tcp("10.0.0.2:1515"));
        let path = Some((Transport::Unix, "/run/log.sock".to_owned()));
        assert_eq!(address("/run/log.sock"), path);
        assert_eq!(address("10.0.0.2"), None);
    }

    #[test]
    fn metrics_listen_on_loopback_by_default() {
        let address = |text| listener(text).map(|a| a.to_string()).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(address("9464"), some("127.0.0.1:9464"));
        assert_eq!(address(":9464"), some("127.0.0.1:9464"));
        assert_eq!(address("0.0.0.0:9464"), some("0.0.0.0:9464"));
        assert_eq!(address("[::1]:9464"), some("[::1]:9464"));
        assert_eq!(address("127.0.0.1"), None);
        assert_eq!(address("65536"), None);
        assert_eq!(address(""), None);
    }

    #[test]
    fn the_file_name_chooses_the_format_by_default() {
        let format = |name: &str, format| {
            let output = OutputArgs {
                output: Some(name.into()),
                format,
                otlp_endpoint: None,
                otlp_protocol: None,
                quiet: false,
                live: When::Auto,
            };
            output.trace_format()
        };
        assert_eq!(format("trace.otlp.json", None), Format::Otlp);
        assert_eq!(format("a.perfetto-trace", None), Format::Perfetto);
        assert_eq!(format("a.pftrace", None), Format::Perfetto);
        assert_eq!(format("a.pftrace", Some(Format::Jsonl)), Format::Jsonl);
        assert_eq!(format("trace.json", None), Format::Jsonl);
        assert_eq!(format("-", None), Format::Jsonl);
        assert_eq!(format("-", Some(Format::Otlp)), Format::Otlp);
        assert_eq!(format("a.otlp.json", Some(Format::Jsonl)), Format::Jsonl);
    }
}

//! `vault-tracer trace`: attaches to a server and reports until told to stop.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use env_logger::Target;
use log::LevelFilter;
use tokio::runtime;

use self::{
    following::AttachedServer,
    live::{End, Live},
};
use super::outputs::{Outputs, wants_tui};
use crate::{
    cli::TraceArgs,
    console,
    probe::{plan::Preference, privilege, tracefs::Tracefs},
    sandbox::{Privilege, Sandbox},
    server::process::Process,
    sink::{Worker, line_file::LineFile, recording::Recording},
};

mod answers;
mod behind;
pub(super) mod clock;
mod following;
mod live;
mod outside;
mod peers;
mod server;

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    log_to_stderr(args);
    privilege::check()?;
    Tracefs::provide();
    sandbox(args).enter();
    let process = server::find(args)?;
    // First, so that the outputs can be compared with it.
    let recording = args.record.as_deref().map(LineFile::create).transpose()?;
    let mut outputs = Outputs::open(&args.output, args.record.as_deref(), is_live(args))?;
    let recording = recording.map(|file| Worker::spawn(Recording::new(file)));
    if let Some(address) = args.metrics {
        outputs.serve(address, recording.as_ref())?;
    }
    let server = server::attach(args, &process)?;
    if args.duration.is_none() && !args.output.quiet && !is_live(args) && io::stderr().is_terminal()
    {
        eprintln!("Ctrl-C ends the trace.");
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let traced = runtime.block_on(async {
        let live = Live::new(outputs, recording, args.duration, args.output.quiet)?;
        follow(args, live, process, server).await
    });
    // An audit file on a disk that hangs is no reason to hang with it.
    runtime.shutdown_background();
    traced
}

/// What stays for the whole trace: a server that is started again is attached to like the first one.
fn sandbox(args: &TraceArgs) -> Sandbox {
    let mut sandbox = Sandbox::of_tracing();
    if matches!(args.probes, Preference::Auto | Preference::Function) {
        sandbox = sandbox.reserve(Privilege::SysAdmin); // For the uprobe alone.
    }
    let trace = args.output.output.as_deref();
    for file in trace.into_iter().chain(args.record.as_deref()) {
        if !args.output.takes_stdout() || Some(file) != trace {
            sandbox = sandbox.writing(file);
        }
    }
    if args.metrics.is_some_and(|address| address.port() < 1024) {
        sandbox = sandbox.keep(Privilege::NetBindService);
    }
    sandbox
}

/// With `--process` the trace goes on after a restart of the server, with `--pid` it ends with the server.
async fn follow(
    args: &TraceArgs,
    mut live: Live,
    mut process: Process,
    first: AttachedServer,
) -> Result<()> {
    let mut end = live.follow(first, false).await?;
    while end == End::ServerGone && args.process.is_some() {
        log::warn!("waiting for it to be started again; Ctrl-C ends the trace");
        let again = live.wait_for(|| server::successor(args, &process)).await;
        let Some(successor) = again else { break };
        process = successor;
        match server::attach(args, &process) {
            Ok(server) => end = live.follow(server, true).await?,
            // It may have ended at once, for example for a wrong configuration.
            Err(error) => log::warn!("{error:#}"),
        }
    }
    live.finish()
}

/// Not by default with `--record` or `--verbose`.
fn is_live(args: &TraceArgs) -> bool {
    wants_tui(&args.output, args.record.is_none() && !args.verbose)
}

fn log_to_stderr(args: &TraceArgs) {
    let level = match (args.verbose, args.output.quiet) {
        (true, _) => LevelFilter::Debug,
        (_, true) => LevelFilter::Error,
        _ => LevelFilter::Warn,
    };
    env_logger::Builder::new()
        .filter_level(level.min(LevelFilter::Warn))
        .filter_module("tracer", level)
        // Diagnostics of the eBPF programs come under their own crate's name.
        .filter_module("tracer_ebpf", level)
        .target(Target::Pipe(Box::new(console::StatusLines)))
        .format(|out, record| {
            use std::io::Write;
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "vault-tracer: {level}: {}", record.args())
        })
        .init();
}

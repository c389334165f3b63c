//! `vault-tracer trace`: attaches to a server and reports until told to stop.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use env_logger::Target;
use log::LevelFilter;
use tokio::runtime;

use self::{
    following::AttachedServer,
    live::{End, Live},
    lookups::Lookups,
    recorders::Recorders,
    successor::Ended,
};
use super::outputs::{Outputs, wants_tui};
use crate::{
    cli::TraceArgs,
    console,
    probe::{privilege, tracefs::Tracefs},
    sandbox::{Privilege, Sandbox},
    server::{identity::Identity, process::Process},
    sink::{
        Worker, flight_recorder::FlightRecorder, line_file::LineFile, recording::Recording,
        together,
    },
};
use tracer_model::Device;

mod answers;
mod behind;
mod buffering;
pub(super) mod clock;
mod following;
mod listeners;
mod live;
mod lookups;
mod notify;
mod outside;
mod peers;
mod recorders;
mod server;
mod successor;

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    log_to_stderr(args);
    privilege::check()?;
    Tracefs::provide();
    sandbox(args).enter();
    let process = server::find(args)?;
    let recording = args.record.as_deref();
    let mut outputs = Outputs::open(&args.output, Some(&args.files), recording, is_live(args))?;
    let recording = recording.map(|path| LineFile::open(path, args.files.of_recording()));
    let recording = recording.transpose()?;
    let recording = recording.map(|file| Worker::spawn(Recording::new(file)));
    let flight = args.flight_recorder.as_deref().map(FlightRecorder::new);
    let flight = flight.transpose()?;
    if let Some(address) = args.metrics {
        outputs.serve(address, recording.as_ref())?;
    }
    let (declared, lookups) = Lookups::start(&args.audit);
    let identity = Identity::of(&process).context("the server has ended")?;
    let server = server::attach(args, &declared, &process)?;
    let recorders = Recorders {
        all: recording,
        flight,
    };
    if args.duration.is_none() && !args.output.quiet && !is_live(args) && io::stderr().is_terminal()
    {
        console::print("Ctrl-C ends the trace.");
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let traced = runtime.block_on(async {
        let live = Live::new(outputs, recorders, lookups, args)?;
        let following = follow(args, &declared, live, (process, identity), server);
        // Large: its state is not kept on the stack.
        Box::pin(following).await
    });
    // An audit file on a disk that hangs is no reason to hang with it.
    runtime.shutdown_background();
    traced
}

/// What stays for the whole trace: a server that is started again is attached to like the first one.
fn sandbox(args: &TraceArgs) -> Sandbox {
    // The administrator's is for perf events alone: breakpoints, and tracepoints of single system calls.
    let mut sandbox = privilege::sandbox().reserve(Privilege::SysAdmin);
    let trace = args.output.output.as_deref();
    for file in trace.into_iter().chain(args.record.as_deref()) {
        if !args.output.takes_stdout() || Some(file) != trace {
            sandbox = sandbox.writing(file);
        }
    }
    if let Some(directory) = &args.flight_recorder {
        sandbox = sandbox.writing(&directory.join("recording"));
    }
    if args.files.output_group.is_some() {
        sandbox = sandbox.keep(Privilege::Chown);
    }
    if args.metrics.is_some_and(|address| address.port() < 1024) {
        sandbox = sandbox.keep(Privilege::NetBindService);
    }
    sandbox
}

/// Whatever ends the trace, what was observed is written.
async fn follow(
    args: &TraceArgs,
    declared: &[Device],
    mut live: Live,
    server: (Process, Identity),
    first: AttachedServer,
) -> Result<()> {
    let followed = follow_each(args, declared, &mut live, server, first).await;
    together([followed, live.finish()])
}

/// With `--process` the trace goes on after a restart of the server, with `--pid` it ends with the server.
async fn follow_each(
    args: &TraceArgs,
    declared: &[Device],
    live: &mut Live,
    (mut process, mut identity): (Process, Identity),
    first: AttachedServer,
) -> Result<()> {
    let mut end = live.follow(first, false).await?;
    while end == End::ServerGone && args.server.process.is_some() {
        log::warn!("waiting for it to be started again; Ctrl-C ends the trace");
        live.manager.waiting();
        let mut ended = Ended::at(
            live.ended_at,
            args.server.process.as_deref(),
            &process,
            identity,
        );
        let again = live.wait_for(|| ended.successor()).await;
        let Some(successor) = again else { break };
        process = successor;
        identity = match Identity::of(&process) {
            Some(identity) => identity.after(&ended.server),
            None => ended.server,
        };
        match server::attach(args, declared, &process) {
            Ok(server) => end = live.follow(server, true).await?,
            // It may have ended at once, for example for a wrong configuration.
            Err(error) => log::warn!("{error:#}"),
        }
    }
    Ok(())
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

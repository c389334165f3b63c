//! `vault-tracer trace`: attaches to a server and reports until told to stop.

use std::{fs::File, sync::Arc};

use anyhow::{Context, Result};
use log::LevelFilter;
use nix::sys::utsname;
use tokio::runtime;
use tracer_ebpf::abi::{ABSENT, GoLayout};

use super::outputs::Outputs;
use crate::{
    cli::TraceArgs,
    event::{Nanos, Session},
    probe::{
        attach::{self, Attached, Facts},
        host::Host,
        layout::KernelTypes,
        privilege,
    },
    sink::{Worker, line_file::LineFile, recording::Recording},
    target::{
        self, Target,
        find::Selector,
        goroutines::{GoroutineReader, ProcessMemory},
        sockets,
    },
};

mod clock;
mod live;

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    log_to_stderr(args);
    args.output.check()?;
    privilege::check()?;
    let target = find(args)?;
    // The recording first: what is to be compared must be there.
    let recording = args.record.as_deref().map(LineFile::create).transpose()?;
    let outputs = Outputs::open(&args.output, args.record.as_deref())?;
    let recording = recording.map(|file| Worker::spawn(Recording(file)));
    let kernel = KernelTypes::of_this_kernel()?;
    let facts = facts(&target, &kernel)?;
    // Before anything is attached: it takes a while, in which nobody would drain the ring buffer.
    let goroutines = goroutines(&target);
    let mut host = Host::look(&kernel);
    let preference = args.probes.into();
    let (attached, ring) = attach::attach(&facts, &mut host, preference)?;
    attach::warn_of(&attached.plan, preference);
    let session = session(args, &target, &attached)?;
    let quiet = args.output.quiet;
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let traced = runtime.block_on(
        live::Live {
            core: crate::core::Core::new(),
            outputs,
            recording,
            attached,
            pid: target.pid,
            goroutines,
            limit: args.duration,
            quiet,
        }
        .run(session, ring, kernel.kernel),
    );
    // An audit file on a disk that hangs is no reason to hang with it.
    runtime.shutdown_background();
    traced
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
        // What the programs in the kernel say comes under their own crate's name.
        .filter_module("tracer_ebpf", level)
        .format(|out, record| {
            use std::io::Write;
            let level = record.level().as_str().to_lowercase();
            writeln!(out, "vault-tracer: {level}: {}", record.args())
        })
        .init();
}

fn find(args: &TraceArgs) -> Result<Target> {
    let selector = Selector::of(args.pid, args.process.as_deref());
    let target = Target::inspect(&target::find::find(&selector)?)?;
    for warning in &target.go.warnings {
        log::warn!("{warning}");
    }
    Ok(target)
}

/// Without them, waits that make no system call stay unseen.
fn goroutines(target: &Target) -> Option<Arc<live::Goroutines>> {
    let goroutines = read_goroutines(target.pid);
    if let Err(error) = &goroutines {
        log::warn!(
            "requests that queue behind a stalled one, or wait for a name, cannot be told: {error:#}"
        );
    }
    goroutines.ok().map(Arc::new)
}

fn read_goroutines(pid: i32) -> Result<live::Goroutines> {
    let exe = File::open(format!("/proc/{pid}/exe")).context("its executable is unreadable")?;
    Ok(live::Goroutines {
        reader: GoroutineReader::new(pid, &exe)?,
        memory: ProcessMemory::open(pid).context("its memory is unreadable")?,
    })
}

fn facts(target: &Target, kernel: &KernelTypes) -> Result<Facts> {
    let listening = sockets::open_sockets(target.pid)?
        .into_iter()
        .filter(|socket| socket.listening)
        .map(|socket| socket.local.port())
        .collect();
    let go = target.go.layout;
    Ok(Facts {
        tgid: target.pid.unsigned_abs(),
        netns: u32::try_from(target.netns).unwrap_or(0),
        kernel: kernel.layout,
        go: GoLayout {
            goid: go.map_or(ABSENT, |go| go.goid),
            parent_goid: go.and_then(|go| go.parent_goid).unwrap_or(ABSENT),
        },
        listening,
    })
}

fn session(args: &TraceArgs, target: &Target, attached: &Attached) -> Result<Session> {
    let kernel = utsname::uname().context("cannot ask for the kernel's version")?;
    Ok(Session {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: target.pid,
        exe: target.exe.display().to_string(),
        kernel: kernel.release().to_string_lossy().into_owned(),
        go_version: target.go.version.clone(),
        began: clock::monotonic(),
        wall_offset: clock::wall_offset(),
        probes: attached.probes.clone(),
        declared: args.audit.clone(),
        threshold: Nanos::try_from(args.threshold.as_nanos()).unwrap_or(Nanos::MAX),
    })
}

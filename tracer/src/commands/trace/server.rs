//! Finds the server to trace, inspects it, and attaches the probes.

use std::{env, ffi::OsString, num::NonZeroU32, os::fd::OwnedFd, sync::Arc};

use anyhow::{Context, Result};
use nix::sys::utsname;
use tracer_ebpf::layout::{ABSENT, GoLayout};

use super::{answers::Goroutines, clock, following::AttachedServer, peers};
use crate::{
    cli::{OutputArgs, TraceArgs},
    probe::{
        attach::{self, Attached, Facts},
        host::{self, CodeLocation, Host},
        layout::KernelTypes,
    },
    server::{
        self, Target,
        goroutines::{GoroutineReader, ProcessMemory},
        pids,
        process::Process,
        resource, sockets, unix_paths,
    },
};
use tracer_model::{Device, Nanos, Session};

/// Attaches to this server.
pub(super) fn attach(
    args: &TraceArgs,
    declared: &[Device],
    process: &Process,
) -> Result<AttachedServer> {
    host::check_ring_buffer()?;
    // First: from now on the process ID is this server's, or the descriptor becomes readable.
    let pidfd = pidfd(process.pid)?;
    let (target, reader) = Target::inspect(process)?;
    for warning in &target.go.warnings {
        log::warn!("{warning}");
    }
    let kernel = KernelTypes::of_this_kernel(args.btf.as_deref())?;
    let log_writer = reader.as_ref().ok().and_then(GoroutineReader::log_writer);
    // Before probes are attached: it takes a while, and nobody drains the ring buffer meanwhile.
    let goroutines = goroutines(target.pid, reader);
    // A recording has to be complete.
    let buffers = args.record.is_none();
    let facts = facts(&target, &kernel, goroutines.as_deref(), buffers)?;
    let pid = NonZeroU32::new(target.pid.unsigned_abs());
    let mut host = Host {
        log_writer: pid
            .zip(log_writer)
            .map(|(pid, offset)| CodeLocation { pid, offset }),
        ..Host::detect(&kernel)
    };
    let preference = args.probes;
    let (attached, sources) = attach::attach(&facts, &mut host, preference)?;
    attach::warn_of(&attached.plan, preference);
    trim_heap();
    Ok(AttachedServer {
        pidfd,
        session: session(args, declared, &target, &attached, goroutines.as_deref())?,
        attached,
        sources,
        kernel: kernel.kernel,
        buffers,
        goroutines,
    })
}

/// Returns memory to the kernel: the allocator would keep the 20 MB that reading the executable and the kernel's types
/// took for as long as the trace lasts.
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes no pointers, and may be called at any time.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// The server that the operator means.
pub(super) fn find(args: &TraceArgs) -> Result<Process> {
    server::find::find(&args.server.selector())
}

/// Without them, waits that make no system call are not seen.
fn goroutines(pid: i32, reader: Result<GoroutineReader>) -> Option<Arc<Goroutines>> {
    let goroutines = read_goroutines(pid, reader);
    if let Err(error) = &goroutines {
        log::warn!(
            "requests that queue for a device, and waits for a name look-up, are not seen: {error:#}"
        );
    }
    goroutines.ok().map(Arc::new)
}

fn read_goroutines(pid: i32, reader: Result<GoroutineReader>) -> Result<Goroutines> {
    let memory = ProcessMemory::open(pid)?;
    let reader = reader?;
    reader.verify(&memory)?;
    if let Some(doubts) = reader.doubts() {
        log::warn!("{doubts}");
    }
    Ok(Goroutines::new(reader, memory))
}

fn facts(
    target: &Target,
    kernel: &KernelTypes,
    goroutines: Option<&Goroutines>,
    buffers: bool,
) -> Result<Facts> {
    let sockets = sockets::open_sockets(target.pid)?;
    // Whether the server writes entries in goroutines of their own.
    let sinks = goroutines.map(|goroutines| goroutines.reader.has_sinks());
    let go = target.go.layout;
    let (tgid, pid_namespace) = pids::as_the_kernel_knows(target.pid)?;
    Ok(Facts {
        tgid,
        pid_namespace,
        netns: u32::try_from(target.netns).unwrap_or(0),
        kernel: kernel.layout,
        go: GoLayout {
            goid: go.map_or(ABSENT, |go| go.goid),
            parent_goid: go.and_then(|go| go.parent_goid).unwrap_or(ABSENT),
        },
        listening: peers::of_listeners(&sockets, goroutines),
        sockets: sockets.len(),
        counts_streams: sinks == Some(false),
        buffers,
    })
}

fn session(
    args: &TraceArgs,
    declared: &[Device],
    target: &Target,
    attached: &Attached,
    goroutines: Option<&Goroutines>,
) -> Result<Session> {
    let reader = goroutines.map(|goroutines| &goroutines.reader);
    let kernel = utsname::uname().context("cannot ask for the kernel's version")?;
    let host = kernel.nodename().to_string_lossy().into_owned();
    Ok(Session {
        format: tracer_model::FORMAT,
        command: command(env::args_os(), &args.output),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: target.pid,
        exe: target.exe.display().to_string(),
        kernel: kernel.release().to_string_lossy().into_owned(),
        host: Some(host).filter(|host| !host.is_empty()),
        go_version: target.go.version.clone(),
        began: clock::monotonic(),
        wall_offset: clock::wall_offset(),
        probes: attached.probes.clone(),
        declared: declared
            .iter()
            .map(|device| unix_paths::as_bound(target.pid, device))
            .collect(),
        threshold: Nanos::try_from(args.threshold.as_nanos()).unwrap_or(Nanos::MAX),
        stacks: reader.is_some(),
        has_unknown_entries: reader.is_some_and(|reader| !reader.knows_entries()),
        resource: resource::attributes(target.pid),
    })
}

/// The command line, with only the origin of a collector's URL: some have a tenant's token in the path.
fn command(typed: impl Iterator<Item = OsString>, output: &OutputArgs) -> Vec<String> {
    let collector = output.collector().ok().flatten();
    let collector = collector.zip(output.otlp_endpoint.as_deref());
    let typed = typed.map(|word| word.to_string_lossy().into_owned());
    typed
        .map(|word| match &collector {
            Some((endpoint, url)) => word.replace(url, &endpoint.origin()),
            None => word,
        })
        .collect()
}

/// A descriptor that becomes readable when the process ends (`pidfd_open(2)`, Linux 5.3).
fn pidfd(pid: i32) -> Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: a system call without pointers.
    let fd = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
    nix::errno::Errno::result(fd).with_context(|| format!("the server (PID {pid}) has ended"))?;
    // SAFETY: a descriptor that the kernel just made and nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_command_line_is_kept_without_what_may_be_secret() {
        let typed = [
            "vault-tracer",
            "trace",
            "--threshold=1s",
            "--otlp-endpoint=https://c:4318/token/v1/traces",
        ];
        let cli = Cli::try_parse_from(typed).expect("well typed");
        let Command::Trace(args) = cli.command else {
            panic!("another command");
        };
        let kept = command(typed.iter().map(OsString::from), &args.output);
        assert_eq!(kept[..3], typed[..3]);
        assert_eq!(kept[3], "--otlp-endpoint=https://c:4318");
        let kept = command(
            typed[..3].iter().map(OsString::from),
            &OutputArgs {
                otlp_endpoint: None,
                ..args.output
            },
        );
        assert_eq!(kept, typed[..3]);
    }
}

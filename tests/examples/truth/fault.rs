//! Breaking and mending what a case breaks.

use std::{
    fs::{self, File},
    io::Write,
    mem, thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{
    Fault, HttpLog, LogServer,
    fault::{Applied, Hook, Verdict},
    scenario::PORT,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    case::Case,
    kind::{Kind, Place},
    receivers::Answer,
    scene::{Scene, family},
};

/// How long the server takes at most to open its file again, once it has the signal.
const REOPEN: Duration = Duration::from_millis(300);
/// How much later the HTTP device's server answers each entry.
const LATE: Duration = Duration::from_millis(400);

/// What is broken.
#[derive(Default)]
pub(crate) struct Broken(Vec<Applied>);

impl Broken {
    /// Makes the fault.
    pub(crate) fn begin(&mut self, case: &Case, scene: &mut Scene) -> Result<()> {
        for fault in faults(case, scene) {
            let (at_server, host, fault) = fault;
            let namespace = if at_server {
                &scene.network.vault
            } else {
                &scene.network.logs[host].namespace
            };
            self.0.push(fault.apply(namespace)?);
        }
        let is_reset = case.kind == Kind::OneReset || (case.reset && case.kind.is_fault());
        let resets = |scene: &Scene| {
            let is_reset = is_reset && is_reachable(case.kind);
            let logs = scene.logs.iter().filter(|_| is_reset);
            logs.into_iter().try_for_each(LogServer::reset_connections)
        };
        // A name is asked for at the next dial only.
        if case.kind.place() == Place::Name {
            receivers_break(case, scene)?;
            return resets(scene);
        }
        resets(scene)?;
        receivers_break(case, scene)
    }

    /// Takes it back.
    pub(crate) fn lift(&mut self, case: &Case, scene: &mut Scene) -> Result<()> {
        let applied = mem::take(&mut self.0).into_iter();
        if case.kind == Kind::PathNarrow {
            // Without its queue the interface would drop what waits in it.
            applied.for_each(Applied::keep);
            for host in 0..scene.endpoints.len() {
                let wide = rate(scene, host, "10gbit");
                wide.apply(&scene.network.vault)?.keep();
            }
        } else {
            applied.into_iter().try_for_each(Applied::lift)?;
        }
        receivers_mend(case, scene)
    }
}

/// Whether a log server can reset its connections.
fn is_reachable(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::LinkDown | Kind::UnixGone | Kind::NoListener | Kind::UnixNoListener
    )
}

/// The faults of the network: on the server's host or on this log host.
fn faults(case: &Case, scene: &Scene) -> Vec<(bool, usize, Fault)> {
    let everywhere = |fault: Fault| {
        let hosts = 0..scene.endpoints.len();
        hosts.map(|host| (false, host, fault.clone())).collect()
    };
    let own = |fault| vec![(true, 0, fault)];
    let each = |fault: &dyn Fn(usize) -> Fault| {
        let hosts = 0..scene.endpoints.len();
        hosts.map(|host| (true, host, fault(host))).collect()
    };
    let address = |host: usize| scene.network.logs[host].address(family(case.ipv6));
    match case.kind {
        Kind::OutputDropped => own(Fault::drop_output(PORT)),
        Kind::RepliesDropped => own(Fault::drop_replies(PORT)),
        Kind::DroppedBeyond => everywhere(Fault::drop_ingress("vault", PORT)),
        Kind::ArrivalsDropped => everywhere(Fault::drop_input(PORT)),
        Kind::SynsDropped => everywhere(Fault::drop_input_syn(PORT)),
        Kind::FirewallReset => everywhere(Fault::reject_tcp_reset(PORT)),
        Kind::FirewallIcmpPort => everywhere(Fault::reject_icmp(PORT)),
        Kind::FirewallIcmpHost => everywhere(Fault::reject_input(PORT, Verdict::RejectIcmpHost)),
        Kind::MadeAndReset => everywhere(Fault::rule(
            Hook::Input,
            format!("tcp dport {PORT} tcp flags & syn == 0"),
            Verdict::RejectTcpReset,
        )),
        Kind::SynLate => everywhere(Fault::drop_first_syns(PORT, 1)),
        Kind::LinkDown => each(&|host| Fault::LinkDown(scene.network.logs[host].interface())),
        Kind::Blackhole => each(&|host| Fault::Blackhole(address(host))),
        Kind::NoRoute => each(&|host| Fault::NoRoute(address(host))),
        Kind::PathNarrow => each(&|host| rate(scene, host, "4mbit")),
        _ => Vec::new(),
    }
}

fn rate(scene: &Scene, host: usize, rate: &'static str) -> Fault {
    Fault::Rate {
        interface: scene.network.logs[host].interface(),
        rate,
    }
}

/// What those do who take entries.
fn receivers_break(case: &Case, scene: &mut Scene) -> Result<()> {
    match case.kind {
        Kind::NoListener | Kind::UdpNoListener | Kind::UnixNoListener | Kind::UnixGone => {
            scene.logs.iter_mut().for_each(LogServer::stop);
            let path = socket_path(scene);
            if case.kind == Kind::UnixGone {
                // Some take their path with them.
                let _ = fs::remove_file(path);
            }
        }
        Kind::ReaderStopped | Kind::UnixReaderStopped => {
            scene.logs.iter().for_each(LogServer::pause);
        }
        Kind::ReaderSlow => scene.logs.iter().for_each(|log| log.throttle(60_000)),
        Kind::SyslogReaderStopped => syslog(scene)?.pause(true),
        Kind::SyslogGone => syslog(scene)?.end()?,
        Kind::HttpStatus => http(scene)?.answer_with(Some(503)),
        Kind::HttpNoListener => drop(scene.http.take()),
        Kind::HttpLate => http(scene)?.delay(&vec![LATE; 1000]),
        Kind::DiskFull => fill(scene)?,
        Kind::DirectoryGone => {
            let place = scene.directory.path().join("disk/logs");
            fs::rename(&place, place.with_extension("moved"))?;
            File::create(&place)?;
            reopen(scene)?;
        }
        Kind::PipeFull => scene.pipe.as_ref().context("no pipe")?.pause(true),
        Kind::NameSilent => scene
            .names
            .as_ref()
            .context("no names")?
            .say(Answer::Nothing),
        Kind::NameUnknown => scene
            .names
            .as_ref()
            .context("no names")?
            .say(Answer::NoSuchName),
        _ => {}
    }
    Ok(())
}

fn receivers_mend(case: &Case, scene: &mut Scene) -> Result<()> {
    match case.kind {
        Kind::NoListener | Kind::UdpNoListener | Kind::UnixNoListener | Kind::UnixGone => {
            let _ = fs::remove_file(socket_path(scene));
            scene.restart_logs(case)?;
        }
        Kind::ReaderStopped | Kind::UnixReaderStopped | Kind::ReaderSlow => {
            scene.logs.iter().for_each(LogServer::resume);
        }
        Kind::SyslogReaderStopped => syslog(scene)?.pause(false),
        Kind::SyslogGone => scene.syslog.as_mut().context("no daemon")?.restart()?,
        Kind::HttpStatus => http(scene)?.answer_with(None),
        Kind::HttpNoListener => {
            let host = &scene.network.logs[0];
            let at = host.port(family(case.ipv6), PORT);
            scene.http = Some(HttpLog::start(&host.namespace, at)?);
        }
        Kind::HttpLate => http(scene)?.delay(&[]),
        Kind::DiskFull => fs::remove_file(filler(scene))?,
        Kind::DirectoryGone => {
            let place = scene.directory.path().join("disk/logs");
            fs::remove_file(&place)?;
            fs::rename(place.with_extension("moved"), &place)?;
        }
        Kind::PipeFull => scene.pipe.as_ref().context("no pipe")?.pause(false),
        Kind::NameSilent | Kind::NameUnknown => {
            scene
                .names
                .as_ref()
                .context("no names")?
                .say(Answer::Address);
        }
        _ => {}
    }
    Ok(())
}

fn socket_path(scene: &Scene) -> std::path::PathBuf {
    scene.directory.path().join("log.sock")
}

fn filler(scene: &Scene) -> std::path::PathBuf {
    scene.directory.path().join("disk/filler")
}

fn syslog(scene: &Scene) -> Result<&super::receivers::Syslog> {
    scene.syslog.as_ref().context("no daemon")
}

fn http(scene: &Scene) -> Result<&HttpLog> {
    scene.http.as_ref().context("no HTTP server")
}

/// Until the disk takes nothing more.
fn fill(scene: &Scene) -> Result<()> {
    let mut file = File::create(filler(scene))?;
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0]).is_ok() {}
    Ok(())
}

/// Has the server open its file again.
fn reopen(scene: &Scene) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(scene.server.pid())?);
    ensure!(kill(pid, Signal::SIGHUP).is_ok(), "the server has ended");
    thread::sleep(REOPEN); // in its own time: nothing shows that it has
    Ok(())
}

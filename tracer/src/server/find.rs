//! Finds the server's process.

use std::io;

use anyhow::{Context, Result, bail};

use super::{
    listing, pids,
    process::{PROGRAMS, Process, ProcessKind},
    sockets,
};
use crate::probe::privilege::has_host_pids;

/// How the operator selected it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// This process.
    Pid(i32),
    /// The one server of this host of which this is true.
    Server {
        /// Its program has this name.
        name: Option<String>,
        /// It listens on this port.
        port: Option<u16>,
    },
}

impl Selector {
    /// From `--pid`, `--process` and `--port`.
    pub fn of(pid: Option<i32>, name: Option<&str>, port: Option<u16>) -> Self {
        match pid {
            Some(pid) => Self::Pid(pid),
            None => Self::Server {
                name: name.map(str::to_owned),
                port,
            },
        }
    }

    /// Whether the operator chose none.
    pub fn is_any(&self) -> bool {
        let any = Self::of(None, None, None);
        *self == any
    }
}

/// Fails if there is not exactly one; the error lists what was found instead.
pub fn find(selector: &Selector) -> Result<Process> {
    match selector {
        Selector::Pid(pid) => by_pid(*pid),
        Selector::Server { name, port } => {
            let running = running()?;
            let host = HostProcesses {
                listens: &listens,
                describe: &listing::describe,
            };
            let chosen = choose(&running, name.as_deref(), *port, &host);
            let sees_a_part = has_host_pids() == Some(false) && servers(running.iter()).is_empty();
            match chosen {
                Err(error) if sees_a_part => bail!("{error}; {}", pids::SHARE),
                chosen => chosen.cloned(),
            }
        }
    }
}

/// All servers that run now whose program has this name.
pub(crate) fn all(name: Option<&str>) -> Result<Vec<Process>> {
    let running = running()?;
    Ok(candidates(&running, name).into_iter().cloned().collect())
}

/// What is found out of a process only where it is needed.
struct HostProcesses<'a> {
    listens: &'a dyn Fn(&Process, u16) -> bool,
    describe: &'a dyn Fn(&Process) -> String,
}

fn listens(process: &Process, port: u16) -> bool {
    let sockets = sockets::open_sockets(process.pid).unwrap_or_default();
    let mut listening = sockets.iter().filter(|socket| socket.listening);
    listening.any(|socket| socket.local.port() == port)
}

fn by_pid(pid: i32) -> Result<Process> {
    let process = tracer_proc::Process::new(pid);
    if !process.exists() {
        bail!("no process has PID {pid}: `pgrep -a 'vault|bao'` lists servers");
    }
    let main = process
        .status("Tgid")
        .with_context(|| format!("cannot read the status of PID {pid}"))?;
    if main != pid.to_string() {
        bail!("{pid} is a thread of PID {main}: give that PID");
    }
    let observed = Process::observe(&process).filter(|found| !found.exe.as_os_str().is_empty());
    let observed = observed.with_context(|| {
        let why = why_unreadable(&process);
        format!("cannot read the executable of PID {pid}: {why}")
    })?;
    match refusal(&observed) {
        Some(why) => bail!("{why}: {}", instead(&running()?)),
        None => Ok(observed),
    }
}

/// `PF_KTHREAD` of `include/linux/sched.h`, as in `/proc/PID/stat`.
const KERNEL_THREAD: u32 = 0x0020_0000;

fn why_unreadable(process: &tracer_proc::Process) -> &'static str {
    match (process.exe(), process.stat()) {
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
            "it belongs to another user or has capabilities of its own: run as root, with CAP_SYS_PTRACE"
        }
        (_, Ok(stat)) if stat.flags & KERNEL_THREAD != 0 => {
            "it is a kernel thread, give the PID of a Vault or OpenBao server"
        }
        _ => "it has ended",
    }
}

/// Why a process that the operator chose cannot be meant. Other programs are not refused: a server may have been built
/// under another name, and what is no Go program is found out later.
fn refusal(process: &Process) -> Option<String> {
    let Process {
        pid, parent, kind, ..
    } = process;
    let shown = process.shown();
    match kind {
        ProcessKind::Plugin => Some(format!(
            "PID {pid} ({shown}) is a plugin, started by PID {parent}, and has no audit devices"
        )),
        ProcessKind::OtherCommand => Some(format!(
            "PID {pid} ({shown}) is not a server and has no audit devices"
        )),
        ProcessKind::Server | ProcessKind::UnreadableServer | ProcessKind::OtherProgram => None,
    }
}

/// What to do about that.
fn instead(processes: &[Process]) -> String {
    let servers = servers(processes.iter());
    if servers.is_empty() {
        "trace `vault server` or `bao server`, on the host where it runs".to_owned()
    } else {
        let pids = servers.iter().map(|server| server.pid.to_string());
        let pids = pids.collect::<Vec<_>>().join(" or ");
        format!("give the PID of a server ({pids})")
    }
}

/// Those that end meanwhile are no candidates.
fn running() -> Result<Vec<Process>> {
    let all = tracer_proc::processes().context("cannot list processes: mount /proc")?;
    Ok(all.iter().filter_map(Process::observe).collect())
}

fn servers<'a>(processes: impl Iterator<Item = &'a Process>) -> Vec<&'a Process> {
    let all: Vec<_> = processes
        .filter(|process| process.kind == ProcessKind::Server)
        .collect();
    let is_copy = |process: &&&Process| all.iter().any(|parent| process.is_copy_of(parent));
    let copies: Vec<_> = all.iter().filter(is_copy).map(|copy| copy.pid).collect();
    all.into_iter()
        .filter(|process| !copies.contains(&process.pid))
        .collect()
}

/// The one server among these processes.
fn choose<'a>(
    processes: &'a [Process],
    name: Option<&str>,
    port: Option<u16>,
    host: &HostProcesses<'_>,
) -> Result<&'a Process> {
    let all = candidates(processes, name);
    let on_port = |process: &&Process| port.is_none_or(|port| (host.listens)(process, port));
    let meant: Vec<_> = all.iter().copied().filter(on_port).collect();
    let list = |processes: &[&Process]| list(processes, host.describe);
    match (meant.as_slice(), port) {
        ([one], _) => Ok(*one),
        ([], Some(port)) if !all.is_empty() => {
            bail!("no server listens on port {port} ({})", list(&all))
        }
        ([], _) => bail!(none_found(processes, name)),
        (several, _) => bail!(
            "found {} servers ({}): choose one with --pid PID or --port PORT",
            several.len(),
            list(several)
        ),
    }
}

/// The servers that have this name if there is one. A program that the operator named may be a server under another
/// subcommand, unless it is Vault's and therefore known to be none.
fn candidates<'a>(processes: &'a [Process], name: Option<&str>) -> Vec<&'a Process> {
    let is_meant = |process: &&Process| name.is_none_or(|name| process.has_name(&[name]));
    let mut candidates = servers(processes.iter().filter(is_meant));
    if candidates.is_empty() && name.is_some() {
        let others = processes.iter().filter(is_meant);
        candidates.extend(others.filter(|process| process.kind == ProcessKind::OtherProgram));
    }
    candidates
}

fn none_found(processes: &[Process], name: Option<&str>) -> String {
    let wanted = name.map_or_else(|| PROGRAMS.join(" or "), str::to_owned);
    let is_related = |process: &&Process| match name {
        Some(name) => process.has_name(&[name]),
        None => process.kind != ProcessKind::OtherProgram,
    };
    let related: Vec<_> = processes.iter().filter(is_related).collect();
    let is_unreadable = |process: &&Process| process.kind == ProcessKind::UnreadableServer;
    let unreadable: Vec<_> = related.iter().copied().filter(is_unreadable).collect();
    let brief = |process: &Process| format!("PID {}: {}", process.pid, process.shown());
    let instead = match (unreadable.as_slice(), related.as_slice()) {
        ([], []) => ": start it, or give its --pid PID".to_owned(),
        ([], others) => format!(
            ", only {}: start a server, or trace on the host where it runs",
            list(others, brief)
        ),
        (unreadable, _) => format!(
            " that this process may read, only {}: run as root, or with CAP_SYS_PTRACE",
            list(unreadable, brief)
        ),
    };
    format!("no running {wanted} server found{instead}")
}

fn list(processes: &[&Process], describe: impl Fn(&Process) -> String) -> String {
    let each = processes.iter().map(|process| describe(process));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests;

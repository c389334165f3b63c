//! Finds the server's process.

use std::{io, path::PathBuf};

use anyhow::{Context, Result, bail};

/// Names of the programs of Vault and `OpenBao`.
const SERVERS: [&str; 2] = ["vault", "bao"];

/// How the operator selected it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// This process.
    Pid(i32),
    /// The one whose program has this name.
    Name(String),
    /// Any: the server that runs on this host.
    Auto,
}

impl Selector {
    /// From `--pid` and `--process`.
    pub fn of(pid: Option<i32>, name: Option<&str>) -> Self {
        match (pid, name) {
            (Some(pid), _) => Self::Pid(pid),
            (None, Some(name)) => Self::Name(name.to_owned()),
            (None, None) => Self::Auto,
        }
    }
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: i32,
    /// Its executable; for one that was replaced on disk, the name it had.
    pub exe: PathBuf,
    /// The first two words of its command line, fit to be shown. Further ones may hold secrets.
    pub command: Vec<String>,
    /// Whether its subcommand is `server`.
    pub is_server: bool,
}

/// Fails if there is not exactly one; the error lists what was found instead.
pub fn find(selector: &Selector) -> Result<Process> {
    match selector {
        Selector::Pid(pid) => by_pid(*pid),
        Selector::Name(name) => choose(&running()?, &[name.as_str()], selector).cloned(),
        Selector::Auto => choose(&running()?, &SERVERS, selector).cloned(),
    }
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
    describe(&process).with_context(|| {
        let why = why_unreadable(&process);
        format!("cannot read the executable of PID {pid}: {why}")
    })
}

/// `PF_KTHREAD` of `include/linux/sched.h`, as in `/proc/PID/stat`.
const KERNEL_THREAD: u32 = 0x0020_0000;

fn why_unreadable(process: &tracer_proc::Process) -> &'static str {
    match (process.exe(), process.stat()) {
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
            "it is another user's, run as root"
        }
        (_, Ok(stat)) if stat.flags & KERNEL_THREAD != 0 => {
            "it is a kernel thread, give the PID of a Vault or OpenBao server"
        }
        _ => "it has ended",
    }
}

/// Processes that can be read: others, and those that end meanwhile, are no candidates.
fn running() -> Result<Vec<Process>> {
    let all = tracer_proc::processes().context("cannot list processes: mount /proc")?;
    Ok(all.iter().filter_map(describe).collect())
}

fn describe(process: &tracer_proc::Process) -> Option<Process> {
    let exe = process.exe().ok()?;
    let exe = exe.to_string_lossy();
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(&exe).into();
    let command = process.command_line().ok()?;
    Some(Process {
        pid: process.pid,
        exe,
        is_server: is_server(&command),
        command: command.iter().take(2).map(|word| shown(word)).collect(),
    })
}

/// The first word that is no option is the subcommand: `vault kv get server` is no server.
fn is_server(command: &[String]) -> bool {
    let mut words = command.iter().skip(1);
    words
        .find(|word| !word.starts_with('-'))
        .is_some_and(|word| word == "server")
}

/// On one line; an option without its value, which may be secret.
fn shown(word: &str) -> String {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    name.escape_debug().to_string()
}

/// The one server among these processes that has one of these names. `vault agent` and the command
/// line tools have the same name and are none; a program that the operator named may be a server
/// under another subcommand.
fn choose<'a>(
    processes: &'a [Process],
    names: &[&str],
    selector: &Selector,
) -> Result<&'a Process> {
    let found: Vec<_> = processes.iter().filter(|p| has_name(p, names)).collect();
    let servers: Vec<_> = found.iter().copied().filter(|p| p.is_server).collect();
    let candidates = if servers.is_empty() && *selector != Selector::Auto {
        &found
    } else {
        &servers
    };
    match candidates.as_slice() {
        [one] => Ok(*one),
        [] => bail!("no {} found{}", wanted(names), others(&found)),
        several => bail!(
            "{} processes could be meant ({}): choose one with --pid PID",
            several.len(),
            list(several)
        ),
    }
}

fn has_name(process: &Process, names: &[&str]) -> bool {
    let of_file = process.exe.file_name().and_then(|name| name.to_str());
    let typed = process
        .command
        .first()
        .and_then(|word| word.rsplit('/').next());
    names
        .iter()
        .any(|name| of_file == Some(*name) || typed == Some(*name))
}

fn wanted(names: &[&str]) -> String {
    format!("running {} server", names.join(" or "))
}

fn others(found: &[&Process]) -> String {
    if found.is_empty() {
        ": start it, or give its --pid PID".to_owned()
    } else {
        format!(
            ", only {}: give the --pid PID of the one you mean",
            list(found)
        )
    }
}

fn list(processes: &[&Process]) -> String {
    let each = processes
        .iter()
        .map(|p| format!("PID {}: {}", p.pid, p.command.join(" ")));
    each.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, exe: &str, command: &[&str]) -> Process {
        let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
        Process {
            pid,
            exe: exe.into(),
            is_server: is_server(&command),
            command: command.iter().take(2).map(|word| shown(word)).collect(),
        }
    }

    fn auto(processes: &[Process]) -> Result<i32, String> {
        let chosen = choose(processes, &SERVERS, &Selector::Auto);
        chosen.map(|p| p.pid).map_err(|error| error.to_string())
    }

    #[test]
    fn finds_the_server_among_its_tools() {
        let processes = [
            process(1, "/sbin/init", &["init"]),
            process(2, "/usr/bin/vault", &["vault", "agent", "-config=x"]),
            process(3, "/usr/bin/vault", &["vault", "server", "-config=x"]),
            process(4, "/usr/bin/vault", &["vault", "kv", "get", "server"]),
        ];
        assert_eq!(auto(&processes), Ok(3));
    }

    #[test]
    fn lists_several_servers_without_their_arguments() {
        let processes = [
            process(
                3,
                "/usr/bin/vault",
                &["vault", "server", "-dev-root-token-id=secret"],
            ),
            process(5, "/opt/bao", &["/opt/bao", "server"]),
        ];
        let error = auto(&processes).expect_err("two servers");
        assert!(
            error.contains("PID 3: vault server") && error.contains("PID 5"),
            "{error}"
        );
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn options_may_stand_before_the_subcommand() {
        let processes = [process(3, "/usr/bin/bao", &["bao", "-x", "server"])];
        assert_eq!(auto(&processes), Ok(3));
    }

    #[test]
    fn what_is_shown_is_one_line_without_values() {
        assert_eq!(shown("-token=s.secret"), "-token");
        assert_eq!(shown("a\nb"), "a\\nb");
    }

    #[test]
    fn a_thread_is_no_process() {
        let me = nix::unistd::getpid().as_raw();
        let of_a_thread = || by_pid(nix::unistd::gettid().as_raw());
        let error = std::thread::spawn(of_a_thread).join().expect("ran");
        let error = error.expect_err("no process").to_string();
        assert!(error.contains(&format!("thread of PID {me}")), "{error}");
    }

    #[test]
    fn the_error_lists_what_was_found_instead() {
        let agent = [process(2, "/usr/bin/vault", &["vault", "agent"])];
        let error = auto(&agent).expect_err("no server");
        assert!(error.contains("PID 2: vault agent"), "{error}");
        assert!(auto(&[]).expect_err("nothing").contains("--pid"));
    }

    #[test]
    fn a_named_program_need_not_say_server() {
        let processes = [process(9, "/opt/renamed", &["renamed", "-x"])];
        let selector = Selector::Name("renamed".to_owned());
        let chosen = choose(&processes, &["renamed"], &selector);
        assert_eq!(chosen.map(|p| p.pid).ok(), Some(9));
    }

    #[test]
    fn finds_itself_by_pid() {
        let me = std::process::id() as i32;
        assert_eq!(by_pid(me).map(|p| p.pid).ok(), Some(me));
        let error = by_pid(i32::MAX).expect_err("no such process").to_string();
        assert!(error.contains("no process has PID 2147483647"), "{error}");
    }
}

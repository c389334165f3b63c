//! Which process is the server.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

/// What `vault server` and `bao server` are called.
const SERVERS: [&str; 2] = ["vault", "bao"];

/// What the operator said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// This process.
    Pid(i32),
    /// The one whose program has this name.
    Name(String),
    /// Nothing: the server that runs on this host.
    Auto,
}

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: i32,
    /// Its executable; for one that was replaced on disk, the name it had.
    pub exe: PathBuf,
    /// The first two words of its command line. Further ones may hold secrets.
    pub command: Vec<String>,
    /// Whether one of its arguments is `server`.
    pub is_server: bool,
}

/// Finds it, or says what was found instead.
pub fn find(selector: &Selector) -> Result<Process> {
    match selector {
        Selector::Pid(pid) => by_pid(*pid),
        Selector::Name(name) => choose(&running()?, &[name.as_str()], selector).cloned(),
        Selector::Auto => choose(&running()?, &SERVERS, selector).cloned(),
    }
}

fn by_pid(pid: i32) -> Result<Process> {
    let process = procfs::process::Process::new(pid).ok().with_context(|| {
        format!("no process has PID {pid}: `pgrep -a 'vault|bao'` lists servers")
    })?;
    let status = process
        .status()
        .with_context(|| format!("cannot read the status of PID {pid}"))?;
    if status.tgid != pid {
        bail!("{pid} is a thread of PID {}: give that PID", status.tgid);
    }
    describe(&process).with_context(|| {
        format!("cannot read the executable of PID {pid}: it is a kernel thread, has ended, or is another user's")
    })
}

/// Processes that can be looked at: others, and those that end meanwhile, are no candidates.
fn running() -> Result<Vec<Process>> {
    let all = procfs::process::all_processes().context("cannot list processes: mount /proc")?;
    Ok(all
        .filter_map(Result::ok)
        .filter_map(|process| describe(&process))
        .collect())
}

fn describe(process: &procfs::process::Process) -> Option<Process> {
    // Not procfs's exe(), which insists that the file is still there.
    let exe = fs::read_link(format!("/proc/{}/exe", process.pid)).ok()?;
    let exe = exe.to_string_lossy();
    let exe = exe.strip_suffix(" (deleted)").unwrap_or(&exe).into();
    let mut command = process.cmdline().ok()?;
    let is_server = command.iter().skip(1).any(|word| word == "server");
    command.truncate(2);
    Some(Process {
        pid: process.pid,
        exe,
        command,
        is_server,
    })
}

/// The one server among these processes that has one of these names. `vault agent` and the command
/// line tools have the same name and are none; a program that the operator named may be a server
/// without saying so.
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
            "{} servers run here ({}): choose one with --pid PID",
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
        Process {
            pid,
            exe: exe.into(),
            command: command.iter().take(2).map(|w| (*w).to_owned()).collect(),
            is_server: command.contains(&"server"),
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
            process(4, "/usr/bin/vault", &["vault", "kv", "get", "x"]),
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
    fn says_what_was_found_instead_of_a_server() {
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

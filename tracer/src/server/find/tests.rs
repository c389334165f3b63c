//! Which process is chosen, and what the error says otherwise.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::*;

fn process(pid: i32, kind: ProcessKind, line: &str) -> Process {
    let command: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    Process {
        pid,
        parent: 1,
        exe: command[0].clone().into(),
        command,
        kind,
    }
}

fn server(pid: i32, line: &str) -> Process {
    process(pid, ProcessKind::Server, line)
}

fn chosen(processes: &[Process], name: Option<&str>) -> Result<i32, String> {
    let describe = |process: &Process| format!("PID {}: {}", process.pid, process.shown());
    let host = HostProcesses {
        listens: &|_, _| false,
        describe: &describe,
    };
    let chosen = choose(processes, name, None, &host);
    chosen.map(|p| p.pid).map_err(|error| error.to_string())
}

fn among_others() -> [Process; 5] {
    [
        process(1, ProcessKind::OtherProgram, "/sbin/init"),
        process(2, ProcessKind::OtherCommand, "/usr/bin/vault agent"),
        server(3, "/usr/bin/vault server -config=x"),
        process(4, ProcessKind::Plugin, "/plugins/vault server"),
        process(5, ProcessKind::OtherProgram, "/bin/sh vault server"),
    ]
}

#[test]
fn the_server_is_found_among_its_tools() {
    assert_eq!(chosen(&among_others(), None), Ok(3));
    assert_eq!(chosen(&among_others(), Some("vault")), Ok(3));
}

#[test]
fn several_servers_are_listed_without_their_secrets() {
    let processes = [
        server(3, "/usr/bin/vault server -dev-root-token-id=secret"),
        server(5, "/opt/bao server"),
    ];
    let error = chosen(&processes, None).expect_err("two servers");
    for words in [
        "2 servers",
        "PID 3: /usr/bin/vault server",
        "PID 5",
        "--pid",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!error.contains("secret"), "{error}");
    assert_eq!(chosen(&processes, Some("bao")), Ok(5));
}

#[test]
fn a_server_is_chosen_by_its_port() {
    let processes = [
        server(3, "/usr/bin/vault server -config=a"),
        server(5, "/usr/bin/vault server -config=b"),
    ];
    let host = HostProcesses {
        listens: &|process, port| i32::from(port) == 8200 + process.pid,
        describe: &|process| format!("PID {}", process.pid),
    };
    let chosen = |name: Option<&str>, port: u16| {
        let chosen = choose(&processes, name, Some(port), &host);
        chosen.map(|p| p.pid).map_err(|error| error.to_string())
    };
    assert_eq!(chosen(None, 8203), Ok(3));
    assert_eq!(chosen(Some("vault"), 8205), Ok(5));
    assert!(chosen(Some("bao"), 8205).is_err());
    let error = chosen(None, 8200).expect_err("none");
    assert_eq!(error, "no server listens on port 8200 (PID 3; PID 5)");
}

/// While the server starts a plugin, there are two of it for a moment.
#[test]
fn a_server_is_not_counted_twice() {
    let copy = Process {
        parent: 3,
        ..server(9, "/usr/bin/vault server -config=x")
    };
    let mut processes = among_others().to_vec();
    processes.push(copy);
    assert_eq!(chosen(&processes, None), Ok(3));
}

#[test]
fn the_error_lists_what_was_found_instead() {
    let agent = [process(2, ProcessKind::OtherCommand, "vault agent")];
    for name in [None, Some("vault")] {
        let error = chosen(&agent, name).expect_err("no server");
        assert!(
            error.contains("PID 2: vault agent: start a server"),
            "{error}"
        );
    }
    assert!(chosen(&[], None).expect_err("nothing").contains("--pid"));
    let unreadable = [process(7, ProcessKind::UnreadableServer, "vault server")];
    let error = chosen(&unreadable, None).expect_err("not readable");
    for words in ["PID 7: vault server", "run as root", "CAP_SYS_PTRACE"] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_named_program_need_not_say_server() {
    let processes = [process(9, ProcessKind::OtherProgram, "/opt/renamed -x")];
    assert_eq!(chosen(&processes, Some("renamed")), Ok(9));
    assert!(chosen(&processes, None).is_err());
}

#[test]
fn what_is_no_server_is_refused_in_one_line() {
    let [init, agent, server, plugin, _] = among_others();
    assert_eq!((refusal(&init), refusal(&server)), (None, None));
    let why = refusal(&agent).expect("refused");
    assert!(
        why.contains("PID 2 (/usr/bin/vault agent) is not a server"),
        "{why}"
    );
    let why = refusal(&plugin).expect("refused");
    assert!(why.contains("a plugin, started by PID 1"), "{why}");
    assert_eq!(instead(&among_others()), "give the PID of a server (3)");
    assert!(instead(&[agent]).contains("on the host where it runs"));
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
fn finds_itself_by_pid() {
    let me = std::process::id() as i32;
    assert_eq!(by_pid(me).map(|p| p.pid).ok(), Some(me));
    let error = by_pid(i32::MAX).expect_err("no such process").to_string();
    assert!(error.contains("no process has PID 2147483647"), "{error}");
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, and waits until it is what its command line will be.
fn started(command: &mut Command, word: &str) -> (Running, Process) {
    let child = command.stdin(Stdio::piped()).spawn().expect("started");
    let running = Running(child);
    let process = tracer_proc::Process::new(running.0.id() as i32);
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        let words = process.command_line().unwrap_or_default();
        if words.iter().any(|each| each == word) {
            let observed = Process::observe(&process).expect("running");
            return (running, observed);
        }
        assert!(Instant::now() < limit, "it is {words:?}");
        std::thread::yield_now();
    }
}

/// No Go program, whatever name and arguments it has.
#[test]
fn a_shell_called_vault_is_no_server() {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new("sh");
    command.arg0("vault").args(["-c", "read x", "server"]);
    let (_running, shell) = started(&mut command, "server");
    assert_eq!(shell.kind, ProcessKind::OtherProgram);
    assert!(shell.has_name(&["vault"]));
}

#[test]
fn a_script_called_vault_is_no_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = directory.path().join("vault");
    fs::write(&script, "read x\n").expect("written");
    let mut command = Command::new("sh");
    command.arg(&script).arg("server");
    let (_running, shell) = started(&mut command, "server");
    assert_eq!(shell.kind, ProcessKind::OtherProgram);
}

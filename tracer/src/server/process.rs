//! What a running process is: a server of Vault or `OpenBao`, another command of the same program, a plugin, or none of
//! these. The decision is a pure function of what `/proc` shows.

use std::{fs::File, io, path::PathBuf};

use super::{executable::Executable, generation::Product, go::buildinfo};

/// Names of the programs of Vault and `OpenBao`.
pub(super) const PROGRAMS: [&str; 2] = ["vault", "bao"];
/// Commands of theirs that go on running: a process that was started with one may be of such a program under another name.
const LASTING_COMMANDS: [&str; 7] = [
    "server", "agent", "proxy", "ssh", "monitor", "debug", "events",
];
/// The server sets one of these for each plugin that it starts (`sdk/helper/pluginutil/run_config.go`, `makeConfig`).
/// Plugins that are built in run in the server's own process.
const PLUGIN_VARIABLES: [&str; 2] = ["VAULT_PLUGIN_METADATA_MODE", "BAO_PLUGIN_METADATA_MODE"];

/// A running process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: i32,
    /// That of its parent.
    pub(crate) parent: i32,
    /// Its executable; for one that was replaced on disk, the name it had. Empty if it may not be read.
    pub exe: PathBuf,
    /// Its command line, which may hold secrets.
    pub(super) command: Vec<String>,
    /// What it is.
    pub kind: ProcessKind,
}

/// What a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessKind {
    /// `vault server` or `bao server`, with `-dev` or not, under whatever name.
    Server,
    /// Another command of the server's program, or none: agent, proxy, SSH, the command line.
    OtherCommand,
    /// Started by a server.
    Plugin,
    /// By its command line a server, whose executable this process may not read.
    UnreadableServer,
    /// Another program.
    OtherProgram,
}

/// What is known of the program that a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Program {
    /// A Go program, with the path of its main module if that is known.
    Go(Option<String>),
    /// No Go program: a shell, `dumb-init`, `su-exec`.
    NotGo,
    /// It may not be read.
    Unreadable,
}

/// What `/proc` shows of a process.
#[derive(Clone, Debug)]
pub(super) struct ProcessFacts<'a> {
    /// Name of its executable's file; empty if unknown.
    pub(super) file_name: &'a str,
    pub(super) command: &'a [String],
    pub(super) program: &'a Program,
    /// Whether its environment is that of a plugin.
    pub(super) has_plugin_variable: bool,
}

/// What the process is that shows this.
pub(super) fn classify(facts: &ProcessFacts<'_>) -> ProcessKind {
    let is_named = has_name(facts.file_name, facts.command, &PROGRAMS);
    let is_vault = match facts.program {
        Program::Go(Some(module)) => is_named || Product::of_module(module).is_some(),
        Program::Go(None) | Program::Unreadable => is_named,
        Program::NotGo => false,
    };
    let is_server = subcommand(facts.command) == Some("server");
    match (is_vault, facts.has_plugin_variable, is_server) {
        (false, ..) => ProcessKind::OtherProgram,
        (true, true, _) => ProcessKind::Plugin,
        (true, false, true) if *facts.program == Program::Unreadable => {
            ProcessKind::UnreadableServer
        }
        (true, false, true) => ProcessKind::Server,
        (true, false, false) => ProcessKind::OtherCommand,
    }
}

/// The first word that is no option (`hashicorp/cli`, `CLI.processArgs`): `vault kv get server` is no server.
fn subcommand(command: &[String]) -> Option<&str> {
    let words = command.iter().skip(1).take_while(|word| *word != "--");
    let mut words = words.filter(|word| !word.is_empty() && !word.starts_with('-'));
    words.next().map(String::as_str)
}

/// Whether its executable or the first word of its command line has one of these names.
fn has_name(file_name: &str, command: &[String], names: &[&str]) -> bool {
    let typed = command.first().and_then(|word| word.rsplit('/').next());
    names
        .iter()
        .any(|name| file_name == *name || typed == Some(*name))
}

impl Process {
    /// `None` if it has ended, or is a kernel thread.
    pub(super) fn observe(process: &tracer_proc::Process) -> Option<Self> {
        let exe = match process.exe() {
            Ok(exe) => exe,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => PathBuf::new(),
            Err(_) => return None,
        };
        let exe = exe.to_string_lossy();
        let exe = PathBuf::from(exe.strip_suffix(" (deleted)").unwrap_or(&exe));
        let command = process.command_line().ok()?;
        let program = program(process.pid, &exe, &command);
        let has_variable = |name: &str| process.has_variable(name).unwrap_or(false);
        let kind = classify(&ProcessFacts {
            file_name: file_name(&exe),
            command: &command,
            program: &program,
            // The environment of other programs is none of our business.
            has_plugin_variable: program != Program::NotGo
                && PLUGIN_VARIABLES.iter().any(|name| has_variable(name)),
        });
        Some(Self {
            pid: process.pid,
            parent: process.stat().ok()?.parent,
            exe,
            command,
            kind,
        })
    }

    /// Whether its executable or the first word of its command line has one of these names.
    pub(super) fn has_name(&self, names: &[&str]) -> bool {
        has_name(file_name(&self.exe), &self.command, names)
    }

    /// Whether it is a copy of this process that has not executed another program yet, as between `clone(2)` and
    /// `execve(2)` of a server that starts a plugin.
    pub(super) fn is_copy_of(&self, parent: &Self) -> bool {
        self.parent == parent.pid && (&self.exe, &self.command) == (&parent.exe, &parent.command)
    }

    /// The first two words of its command line, fit to be shown. Further ones may hold secrets.
    pub(crate) fn shown(&self) -> String {
        let words = self.command.iter().take(2).map(|word| shown(word));
        words.collect::<Vec<_>>().join(" ")
    }
}

fn file_name(exe: &std::path::Path) -> &str {
    exe.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default()
}

/// Reads executables only of processes that could be Vault's: by their name, or by their command.
fn program(pid: i32, exe: &std::path::Path, command: &[String]) -> Program {
    if exe.as_os_str().is_empty() {
        return Program::Unreadable;
    }
    let is_lasting = subcommand(command).is_some_and(|word| LASTING_COMMANDS.contains(&word));
    if !is_lasting && !has_name(file_name(exe), command, &PROGRAMS) {
        return Program::NotGo;
    }
    // Through /proc: the right file also where it was replaced or lies in a container.
    match File::open(format!("/proc/{pid}/exe")) {
        Ok(file) => {
            let executable = Executable::open(&file);
            let build = executable.ok().and_then(|exe| buildinfo::read(&exe));
            build.map_or(Program::NotGo, |build| Program::Go(build.module))
        }
        Err(_) => Program::Unreadable,
    }
}

/// On one line; an option without its value, which may be secret.
fn shown(word: &str) -> String {
    let name = word.split_once('=').map_or(word, |(name, _)| name);
    name.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str = "github.com/hashicorp/vault";
    const BAO: &str = "github.com/openbao/openbao/v2";

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    fn kind(file_name: &str, line: &str, program: &Program) -> ProcessKind {
        classify(&ProcessFacts {
            file_name,
            command: &words(line),
            program,
            has_plugin_variable: false,
        })
    }

    fn go(module: &str) -> Program {
        Program::Go(Some(module.to_owned()))
    }

    #[test]
    fn a_server_is_told_from_all_that_resembles_it() {
        use ProcessKind::{OtherCommand, OtherProgram, Server, UnreadableServer};
        let (vault, bao) = (go(VAULT), go(BAO));
        let (old, other) = (Program::Go(None), go("example.com/tool"));
        let (not_go, unreadable) = (Program::NotGo, Program::Unreadable);
        for (file, line, program, expected) in [
            (
                "vault",
                "vault server -config=/etc/vault.hcl",
                &vault,
                Server,
            ),
            ("vault", "/usr/bin/vault server -dev", &vault, Server),
            ("bao", "bao server -dev -dev-root-token-id=x", &bao, Server),
            // Another name, of the file or of the first word.
            ("vault-1.14.2", "vault-1.14.2 server", &vault, Server),
            ("vault", "secrets server", &vault, Server),
            ("x", "y server", &go("github.com/openbao/openbao"), Server),
            // Built without a module, or by a fork that renamed it.
            ("vault", "vault server", &old, Server),
            ("bao", "bao server", &go("example.com/fork"), Server),
            // Vault itself refuses options before the command.
            ("vault", "vault -x server", &vault, Server),
            // Capabilities on the file and no CAP_SYS_PTRACE.
            ("", "/usr/bin/vault server", &unreadable, UnreadableServer),
            ("", "vault agent", &unreadable, OtherCommand),
            ("", "something server", &unreadable, OtherProgram),
            ("vault", "vault agent -config=x", &vault, OtherCommand),
            ("vault", "vault proxy -config=x", &vault, OtherCommand),
            ("vault", "vault ssh -role server u@h", &vault, OtherCommand),
            ("vault", "vault kv get server", &vault, OtherCommand),
            ("vault", "vault monitor", &vault, OtherCommand),
            // A copy under another name.
            ("v2", "/opt/v2 agent -config=x", &vault, OtherCommand),
            ("v2", "v2 proxy -config=x", &vault, OtherCommand),
            ("telegraf", "telegraf agent", &other, OtherProgram),
            ("bao", "bao operator raft join server", &bao, OtherCommand),
            ("vault", "vault -- server", &vault, OtherCommand),
            ("vault", "vault -version", &vault, OtherCommand),
            ("vault", "", &vault, OtherCommand),
            // What starts a server.
            ("dash", "/bin/sh -c vault server", &not_go, OtherProgram),
            ("dumb-init", "dumb-init vault server", &not_go, OtherProgram),
            ("tini", "tini -- vault server", &not_go, OtherProgram),
            (
                "busybox",
                "sh docker-entrypoint.sh server",
                &not_go,
                OtherProgram,
            ),
            (
                "su-exec",
                "su-exec vault vault server",
                &not_go,
                OtherProgram,
            ),
            (
                "gosu",
                "gosu vault vault server",
                &go("github.com/tianon/gosu"),
                OtherProgram,
            ),
            ("bash", "vault server", &not_go, OtherProgram),
            ("tool", "tool server", &other, OtherProgram),
            (
                "x",
                "x server",
                &go("github.com/hashicorp/vaulted"),
                OtherProgram,
            ),
        ] {
            assert_eq!(kind(file, line, program), expected, "{file}: {line}");
        }
    }

    #[test]
    fn a_plugin_is_no_server_whatever_it_is_called() {
        let facts = ProcessFacts {
            file_name: "vault",
            command: &words("vault server"),
            program: &go(VAULT),
            has_plugin_variable: true,
        };
        assert_eq!(classify(&facts), ProcessKind::Plugin);
    }

    #[test]
    fn what_is_shown_is_one_line_without_values() {
        assert_eq!(shown("-token=s.secret"), "-token");
        assert_eq!(shown("a\nb"), "a\\nb");
    }

    #[test]
    fn this_test_is_another_program() {
        let me = Process::observe(&tracer_proc::Process::myself()).expect("running");
        assert_eq!(me.kind, ProcessKind::OtherProgram);
        assert_eq!(me.exe, std::env::current_exe().expect("a path"));
    }
}

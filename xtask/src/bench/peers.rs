//! What somebody without us would take instead: data. All are to tell what the agent is told, system call by system
//! call, as far as they can; what they write goes to a file.

use crate::{
    setup::{apt, find_program},
    ui::Step,
};

/// A program of others.
#[derive(PartialEq, Eq)]
pub struct Peer {
    /// Its name in the table.
    pub name: &'static str,
    /// The program.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// Its arguments; `{pid}` and `{output}` are replaced.
    pub arguments: &'static [&'static str],
    /// When it is at work.
    pub ready: Ready,
    /// What it tells.
    pub tells: &'static str,
}

/// How it can be seen that a program is at work.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// It is the tracer of each of the server's threads.
    Ptrace,
    /// It has opened perf events or attached BPF programs, and opens no more.
    Descriptors,
}

/// The system calls that a Go server connects, reads and writes with, each with begin, duration and result; and what
/// TCP does meanwhile. Tracepoints only, since not every kernel has kprobes.
const SCRIPT: &str = r#"
tracepoint:syscalls:sys_enter_connect, tracepoint:syscalls:sys_enter_read,
tracepoint:syscalls:sys_enter_write, tracepoint:syscalls:sys_enter_close
/pid == {pid}/ { @at[tid] = nsecs; @fd[tid] = args->fd; }
tracepoint:syscalls:sys_exit_connect, tracepoint:syscalls:sys_exit_read,
tracepoint:syscalls:sys_exit_write, tracepoint:syscalls:sys_exit_close
/@at[tid]/ {
  printf("%lld %d %s fd=%d ret=%ld took=%lld\n", nsecs, tid, probe, @fd[tid], args->ret, nsecs - @at[tid]);
  delete(@at[tid]); delete(@fd[tid]);
}
tracepoint:sock:inet_sock_set_state { printf("%lld %d state %d > %d port %d\n", nsecs, tid, args->oldstate, args->newstate, args->dport); }
tracepoint:tcp:tcp_retransmit_skb { printf("%lld retransmit port %d\n", nsecs, args->dport); }
tracepoint:tcp:tcp_receive_reset { printf("%lld reset port %d\n", nsecs, args->dport); }
"#;

/// The peers.
pub const PEERS: &[Peer] = &[
    Peer {
        name: "strace",
        program: "strace",
        package: "strace",
        arguments: &[
            "-f",
            "-ttt",
            "-T",
            "-e",
            "trace=connect,read,write,close",
            "-o",
            "{output}",
            "-p",
            "{pid}",
        ],
        ready: Ready::Ptrace,
        tells: "each of these system calls; no hang, since each returns at once",
    },
    Peer {
        name: "perf-trace",
        program: "perf",
        package: "linux-perf",
        arguments: &[
            "trace",
            "-e",
            "connect,read,write,close",
            "-o",
            "{output}",
            "-p",
            "{pid}",
        ],
        ready: Ready::Descriptors,
        tells: "each of these system calls; no hang, since each returns at once",
    },
    Peer {
        name: "bpftrace",
        program: "bpftrace",
        package: "bpftrace",
        arguments: &["-o", "{output}", "-e", SCRIPT],
        ready: Ready::Descriptors,
        tells: "the same system calls, TCP's states, retransmits and resets",
    },
    Peer {
        name: "tcpstates",
        program: "tcpstates",
        package: "libbpf-tools",
        arguments: &[],
        ready: Ready::Descriptors,
        tells: "connections opened and closed, and nothing else",
    },
    Peer {
        name: "tcpconnect",
        program: "tcpconnect",
        package: "libbpf-tools",
        arguments: &["-p", "{pid}"],
        ready: Ready::Descriptors,
        tells: "connection attempts, and nothing else",
    },
    Peer {
        name: "tcpretrans",
        program: "tcpretrans-bpfcc",
        package: "bpfcc-tools",
        arguments: &[],
        ready: Ready::Descriptors,
        tells: "segments that are sent again, and nothing else",
    },
];

impl Peer {
    /// Sees that the program is there; the error says why it cannot be had.
    pub fn install(&self) -> Result<(), String> {
        if find_program(self.program).is_some() {
            return Ok(());
        }
        if !apt::can_install() {
            return Err(format!(
                "{} is not installed, and there is no apt to install it with (Debian's package is {})",
                self.program, self.package
            ));
        }
        let step = Step::new("bench", self.name);
        apt::install(&[self.package], &step)
            .map_err(|error| format!("cannot install {}: {error:#}", self.package))?;
        step.done("installed");
        match find_program(self.program) {
            Some(_) => Ok(()),
            None => Err(format!(
                "Debian's package {} has no {}",
                self.package, self.program
            )),
        }
    }

    /// Its arguments for this server and this file.
    pub fn arguments_for(&self, pid: u32, output: &str) -> Vec<String> {
        let filled = |argument: &&str| {
            argument
                .replace("{pid}", &pid.to_string())
                .replace("{output}", output)
        };
        self.arguments.iter().map(filled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_to_fill_in() {
        for peer in PEERS {
            for argument in peer.arguments_for(77, "/tmp/out") {
                let left = ["{pid}", "{output}"].map(|word| argument.contains(word));
                assert_eq!(left, [false; 2], "{argument}");
            }
        }
        let bpftrace = PEERS.iter().find(|peer| peer.name == "bpftrace").unwrap();
        let arguments = bpftrace.arguments_for(77, "/tmp/out");
        assert!(arguments[3].contains("/pid == 77/") && arguments[3].contains("{ @at[tid]"));
    }
}

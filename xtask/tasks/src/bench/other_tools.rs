//! Tools that a user would take without this one. They report the same facts, system call by system call, as far as
//! they can, to a file.

use std::{path::Path, process::Command};

use anyhow::Result;

use crate::setup;

const TRACEFS: &str = "/sys/kernel/tracing";
/// Some tools need tracefs. Where it is not mounted they get it in a mount namespace of their own. `$0` is [`TRACEFS`].
const WITH_TRACEFS: &str = "mount -t tracefs tracefs \"$0\" && exec \"$@\"";

pub struct OtherTool {
    /// Its name in the table.
    pub name: &'static str,
    program: &'static str,
    package: &'static str,
    /// `{pid}` and `{output}` are replaced.
    arguments: &'static [&'static str],
    pub reports: &'static str,
}

/// The system calls of a Go server on sockets, each with start, duration and result; state changes, retransmits and resets
/// of TCP. Tracepoints only, since not every kernel has kprobes.
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

pub const OTHER_TOOLS: &[OtherTool] = &[
    OtherTool {
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
        reports: "each of these system calls; no hang, since each returns at once",
    },
    OtherTool {
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
        reports: "each of these system calls; no hang, since each returns at once",
    },
    OtherTool {
        name: "bpftrace",
        program: "bpftrace",
        package: "bpftrace",
        arguments: &["-o", "{output}", "-e", SCRIPT],
        reports: "the same system calls, TCP's states, retransmits and resets",
    },
    OtherTool {
        name: "tcpstates",
        program: "tcpstates",
        package: "libbpf-tools",
        arguments: &[],
        reports: "connections opened and closed, and nothing else",
    },
    OtherTool {
        name: "tcpconnect",
        program: "tcpconnect",
        package: "libbpf-tools",
        arguments: &["-p", "{pid}"],
        reports: "connection attempts, and nothing else",
    },
    OtherTool {
        name: "tcpretrans",
        program: "tcpretrans-bpfcc",
        package: "bpfcc-tools",
        arguments: &[],
        reports: "segments that are sent again, and nothing else",
    },
];

impl OtherTool {
    /// Finds the program, or installs it where that is possible.
    pub fn install(&self) -> Result<()> {
        setup::require(&[(self.program, self.package)])
    }

    /// The command line for this server and this file.
    pub fn command(&self, pid: u32, output: &str) -> Command {
        let tracefs = Path::new(TRACEFS);
        let mounted = tracefs.join("events").exists() || !tracefs.exists();
        let mut command = Command::new(if mounted { self.program } else { "unshare" });
        if !mounted {
            command.args(["--mount", "sh", "-c", WITH_TRACEFS, TRACEFS, self.program]);
        }
        command.args(self.arguments_for(pid, output));
        command
    }

    fn arguments_for(&self, pid: u32, output: &str) -> Vec<String> {
        let pid = pid.to_string();
        let filled = |argument: &&str| argument.replace("{pid}", &pid).replace("{output}", output);
        self.arguments.iter().map(filled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_replaced() {
        for tool in OTHER_TOOLS {
            for argument in tool.arguments_for(77, "/tmp/out") {
                let unfilled = ["{pid}", "{output}"].map(|word| argument.contains(word));
                assert_eq!(unfilled, [false; 2], "{argument}");
            }
        }
        let bpftrace = OTHER_TOOLS
            .iter()
            .find(|tool| tool.name == "bpftrace")
            .unwrap();
        let arguments = bpftrace.arguments_for(77, "/tmp/out");
        assert!(arguments[3].contains("/pid == 77/") && arguments[3].contains("{ @at[tid]"));
    }
}

//! What a trace has to see, and the probes that show it, best first. Data only: `plan` chooses.
//!
//! Kernel versions are documentation: no code compares them.

mod hook;

pub use hook::Hook;

/// A program and its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spec {
    /// Name of the program in the eBPF object.
    pub program: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// What is not seen without it; `None` if its strategy requires it.
    pub if_missing: Option<&'static str>,
}

/// What the probes of a [`Strategy`] are attached to, for `--probes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Probes on the kernel's own functions.
    Function,
    /// Probes on tracepoints.
    Tracepoint,
    /// Probes on functions of the traced server.
    Server,
}

/// What a strategy costs processes that are not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A comparison in their sends, receives and the like.
    Own,
    /// Every system call of every process takes the kernel's slow path.
    EverySystemCall,
    /// The same, and the program runs in each.
    EverySystemCallRuns,
}

impl Cost {
    /// Whether processes that use no socket pay.
    pub fn slows_host(self) -> bool {
        self != Self::Own
    }
}

/// Probes that together give a capability.
#[derive(Debug, PartialEq, Eq)]
pub struct Strategy {
    /// Its name in `doctor`.
    pub name: &'static str,
    /// For `--probes`.
    pub family: Family,
    /// Its probes.
    pub probes: &'static [Spec],
    /// What it costs other processes.
    pub cost: Cost,
    /// What it requires: documentation.
    pub requires: &'static str,
    /// What it does not show, compared with the best one.
    pub limitation: Option<&'static str>,
}

/// What a trace does without a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// It cannot begin.
    Fatal,
    /// It begins with this warning.
    Warn(&'static str),
    /// It begins without this detail, which only `doctor` reports.
    Detail(&'static str),
}

/// Something that a trace has to see.
#[derive(Debug, PartialEq, Eq)]
pub struct Capability {
    /// What it is.
    pub shows: &'static str,
    /// How to see it, best first.
    pub strategies: &'static [Strategy],
    /// What happens without it.
    pub fallback: Fallback,
}

const fn spec(program: &'static str, hook: Hook) -> Spec {
    Spec {
        program,
        hook,
        if_missing: None,
    }
}

/// One that its strategy does not require.
const fn extra(program: &'static str, hook: Hook, if_missing: &'static str) -> Spec {
    Spec {
        program,
        hook,
        if_missing: Some(if_missing),
    }
}

/// A program with the name of its tracepoint.
const fn raw(name: &'static str, reads: usize) -> Spec {
    spec(name, Hook::RawTracepoint { name, reads })
}

const fn exit_of(name: &'static str) -> Spec {
    spec("syscall_exit", Hook::SyscallExit(name))
}

const ALL_EXITS: Spec = raw("sys_exit", 2);

const UNIX: &str = "stalls of Unix socket devices are not seen";
const DATAGRAMS: &str = "sends to Unix datagram devices are not seen";
const UDP: &str = "refusals of UDP devices are not seen";
const V6: &str = "this is not seen over IPv6";

const fn tracepoint(probes: &'static [Spec], requires: &'static str) -> Strategy {
    Strategy {
        name: "tracepoint",
        family: Family::Tracepoint,
        probes,
        cost: Cost::Own,
        requires,
        limitation: None,
    }
}

const fn fexit(probes: &'static [Spec]) -> Strategy {
    Strategy {
        name: "fentry/fexit",
        family: Family::Function,
        probes,
        cost: Cost::Own,
        requires: "Linux 5.5 on x86-64, 6.4 on arm64, with BTF",
        limitation: None,
    }
}

const fn kprobe(probes: &'static [Spec]) -> Strategy {
    Strategy {
        name: "kprobe",
        family: Family::Function,
        probes,
        cost: Cost::Own,
        requires: "CONFIG_KPROBES",
        limitation: None,
    }
}

const fn syscalls(probes: &'static [Spec], limitation: Option<&'static str>) -> Strategy {
    Strategy {
        name: "syscalls",
        family: Family::Tracepoint,
        probes,
        cost: Cost::EverySystemCall,
        requires: "CONFIG_FTRACE_SYSCALLS and tracefs",
        limitation,
    }
}

const fn all_syscalls(limitation: Option<&'static str>) -> Strategy {
    Strategy {
        name: "all syscalls",
        family: Family::Tracepoint,
        probes: &[ALL_EXITS],
        cost: Cost::EverySystemCallRuns,
        requires: "nothing more",
        limitation,
    }
}

const NO_WRITE: Option<&str> = Some("sends that make no write, such as sendfile");

/// Everything that a trace has to see.
pub const CAPABILITIES: &[Capability] = &[
    Capability {
        shows: "sends and receives",
        strategies: &[
            Strategy {
                name: "socket",
                family: Family::Tracepoint,
                probes: &[raw("sock_send_length", 2), raw("sock_recv_length", 2)],
                cost: Cost::Own,
                requires: "Linux 6.3",
                limitation: None,
            },
            fexit(&[
                spec("tcp_sendmsg_exit", Hook::FExit("tcp_sendmsg")),
                spec("tcp_recvmsg_exit", Hook::FExit("tcp_recvmsg")),
                extra(
                    "unix_stream_sendmsg_exit",
                    Hook::FExit("unix_stream_sendmsg"),
                    UNIX,
                ),
                extra(
                    "unix_dgram_sendmsg_exit",
                    Hook::FExit("unix_dgram_sendmsg"),
                    DATAGRAMS,
                ),
                extra("udp_sendmsg_exit", Hook::FExit("udp_sendmsg"), UDP),
                extra("udpv6_sendmsg_exit", Hook::FExit("udpv6_sendmsg"), UDP),
            ]),
            kprobe(&[
                spec("enter_send", Hook::KProbe("tcp_sendmsg")),
                spec("leave_send", Hook::KRetProbe("tcp_sendmsg")),
                spec("enter_receive", Hook::KProbe("tcp_recvmsg")),
                spec("leave_receive", Hook::KRetProbe("tcp_recvmsg")),
                extra("enter_unix_send", Hook::KProbe("unix_stream_sendmsg"), UNIX),
                extra("leave_send", Hook::KRetProbe("unix_stream_sendmsg"), UNIX),
                extra(
                    "enter_unix_send",
                    Hook::KProbe("unix_dgram_sendmsg"),
                    DATAGRAMS,
                ),
                extra(
                    "leave_send",
                    Hook::KRetProbe("unix_dgram_sendmsg"),
                    DATAGRAMS,
                ),
                extra("enter_send", Hook::KProbe("udp_sendmsg"), UDP),
                extra("leave_send", Hook::KRetProbe("udp_sendmsg"), UDP),
                extra("enter_send", Hook::KProbe("udpv6_sendmsg"), UDP),
                extra("leave_send", Hook::KRetProbe("udpv6_sendmsg"), UDP),
            ]),
            syscalls(
                &[
                    exit_of("sys_exit_write"),
                    exit_of("sys_exit_writev"),
                    exit_of("sys_exit_sendto"),
                    exit_of("sys_exit_sendmsg"),
                    exit_of("sys_exit_read"),
                    exit_of("sys_exit_recvfrom"),
                    exit_of("sys_exit_recvmsg"),
                ],
                NO_WRITE,
            ),
            all_syscalls(NO_WRITE),
        ],
        fallback: Fallback::Fatal,
    },
    Capability {
        shows: "TCP connections opened, accepted and closed",
        strategies: &[tracepoint(
            &[raw("inet_sock_set_state", 3), raw("tcp_destroy_sock", 1)],
            "Linux 4.16",
        )],
        fallback: Fallback::Fatal,
    },
    Capability {
        shows: "connects that fail immediately",
        strategies: &[
            fexit(&[
                spec("tcp_v4_connect_exit", Hook::FExit("tcp_v4_connect")),
                extra("tcp_v6_connect_exit", Hook::FExit("tcp_v6_connect"), V6),
            ]),
            kprobe(&[
                spec("enter_connect", Hook::KProbe("tcp_v4_connect")),
                spec("leave_connect", Hook::KRetProbe("tcp_v4_connect")),
                extra("enter_connect", Hook::KProbe("tcp_v6_connect"), V6),
                extra("leave_connect", Hook::KRetProbe("tcp_v6_connect"), V6),
            ]),
            syscalls(&[exit_of("sys_exit_connect")], None),
            all_syscalls(None),
        ],
        fallback: Fallback::Detail(
            "a device without a route is reported once, not at each further attempt that fails immediately",
        ),
    },
    Capability {
        shows: "TCP retransmits",
        strategies: &[
            tracepoint(&[raw("tcp_retransmit_skb", 1)], "Linux 4.15"),
            fexit(&[spec(
                "tcp_retransmit_entry",
                Hook::FEntry("tcp_retransmit_skb"),
            )]),
            kprobe(&[spec("at_retransmit", Hook::KProbe("tcp_retransmit_skb"))]),
        ],
        fallback: Fallback::Warn("stalls without an ACK have no cause"),
    },
    Capability {
        shows: "TCP resets",
        strategies: &[tracepoint(&[raw("tcp_receive_reset", 1)], "Linux 4.16")],
        fallback: Fallback::Warn("a connection that the peer reset may seem to have timed out"),
    },
    Capability {
        shows: "packets dropped by this host",
        strategies: &[
            tracepoint(&[raw("kfree_skb", 3)], "Linux 5.17"),
            Strategy {
                name: "tracepoint without reason",
                limitation: Some("why, other than by a netfilter rule"),
                ..tracepoint(
                    &[spec(
                        "kfree_skb_at",
                        Hook::RawTracepoint {
                            name: "kfree_skb",
                            reads: 2,
                        },
                    )],
                    "nothing more",
                )
            },
        ],
        fallback: Fallback::Warn(
            "packets dropped by this host's own firewall seem to be lost in the network",
        ),
    },
    Capability {
        shows: "socket errors",
        strategies: &[
            tracepoint(&[raw("inet_sk_error_report", 1)], "Linux 5.14"),
            fexit(&[spec(
                "error_report_entry",
                Hook::FEntry("sock_def_error_report"),
            )]),
            kprobe(&[spec(
                "at_error_report",
                Hook::KProbe("sock_def_error_report"),
            )]),
        ],
        fallback: Fallback::Warn("ICMP errors on established connections are not seen"),
    },
    Capability {
        shows: "window probes",
        strategies: &[
            fexit(&[spec(
                "tcp_send_probe0_entry",
                Hook::FEntry("tcp_send_probe0"),
            )]),
            kprobe(&[spec("at_window_probe", Hook::KProbe("tcp_send_probe0"))]),
        ],
        fallback: Fallback::Detail(
            "of window probes only the number of unanswered ones is known, when a stall begins and ends",
        ),
    },
    Capability {
        shows: "failures in the server's own log",
        strategies: &[Strategy {
            name: "uprobe",
            family: Family::Server,
            probes: &[spec(
                "log_flush", // Each line of the server's log passes by it.
                Hook::UProbe("hclog.(*writer).Flush"),
            )],
            cost: Cost::Own,
            requires: "CONFIG_UPROBES, and a server whose functions have names",
            limitation: None,
        }],
        fallback: Fallback::Detail(
            "a device that fails without a system call on a socket is seen later, by what others took or by answers with HTTP 5xx",
        ),
    },
];

/// All hooks of the table.
pub fn hooks() -> impl Iterator<Item = Hook> {
    let candidates = CAPABILITIES
        .iter()
        .flat_map(|capability| capability.strategies);
    candidates
        .flat_map(|strategy| strategy.probes)
        .map(|spec| spec.hook)
}

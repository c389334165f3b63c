//! What the agent wants to see, and the probes that show it, best first. Data only: `plan` chooses.
//!
//! Versions say where a probe is known from. They are documentation and are never compared.

/// Where a program goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// A tracepoint, straight from the kernel's table: no tracefs, no perf event. `reads`: how many of
    /// its arguments the program reads.
    RawTracepoint {
        /// The kernel's name of it.
        name: &'static str,
        /// How many arguments it must have.
        reads: usize,
    },
    /// The exit of one system call, a perf event, whose number is in tracefs.
    SyscallExit(&'static str),
    /// A kernel function's entry, by its trampoline.
    FEntry(&'static str),
    /// A kernel function's exit, by its trampoline.
    FExit(&'static str),
    /// A kernel function's entry, by a breakpoint.
    KProbe(&'static str),
    /// A kernel function's return, by a breakpoint at its entry.
    KRetProbe(&'static str),
}

impl Hook {
    /// The kernel's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint { name, .. }
            | Self::SyscallExit(name)
            | Self::FEntry(name)
            | Self::FExit(name)
            | Self::KProbe(name)
            | Self::KRetProbe(name) => name,
        }
    }

    /// How it is attached, in one word.
    pub fn kind(self) -> &'static str {
        match self {
            Self::RawTracepoint { .. } => "raw_tracepoint",
            Self::SyscallExit(_) => "tracepoint",
            Self::FEntry(_) => "fentry",
            Self::FExit(_) => "fexit",
            Self::KProbe(_) => "kprobe",
            Self::KRetProbe(_) => "kretprobe",
        }
    }
}

/// One program and the hook it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spec {
    /// Name of the program in the eBPF object.
    pub program: &'static str,
    /// Where it goes.
    pub hook: Hook,
    /// What is lost without it; `None` where its way is none without it.
    pub without: Option<&'static str>,
}

/// What all of a kind of [`Way`] have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Probes on the kernel's own functions.
    Function,
    /// Probes on tracepoints.
    Tracepoint,
}

/// What a way costs those who are not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// A comparison in the process's own sends, receives and the like.
    Own,
    /// Every system call of every process takes the kernel's slow path.
    EverySystemCall,
    /// The same, and the program runs at each.
    EverySystemCallRuns,
}

impl Cost {
    /// Whether processes that touch no socket pay.
    pub fn is_everybodys(self) -> bool {
        self != Self::Own
    }
}

/// One way to see something.
#[derive(Debug, PartialEq, Eq)]
pub struct Way {
    /// Its name, as `doctor` shows it.
    pub name: &'static str,
    /// For `--probes`.
    pub family: Family,
    /// Its probes.
    pub probes: &'static [Spec],
    /// What it costs others.
    pub cost: Cost,
    /// What it needs: documentation.
    pub needs: &'static str,
    /// What it does not show, compared with the best.
    pub lacks: Option<&'static str>,
}

/// What becomes of a trace without something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing works.
    Nothing,
    /// The operator has to know that this is missing.
    Warn(&'static str),
    /// A detail is missing: `doctor` tells.
    Detail(&'static str),
}

/// Something to see.
#[derive(Debug, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub gives: &'static str,
    /// Ways to see it, best first.
    pub ways: &'static [Way],
    /// What is missing without it.
    pub without: Without,
}

const fn spec(program: &'static str, hook: Hook) -> Spec {
    Spec {
        program,
        hook,
        without: None,
    }
}

/// One that its way can do without.
const fn extra(program: &'static str, hook: Hook, without: &'static str) -> Spec {
    Spec {
        program,
        hook,
        without: Some(without),
    }
}

/// A program that bears its tracepoint's name.
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

const fn tracepoint(probes: &'static [Spec], needs: &'static str) -> Way {
    Way {
        name: "tracepoint",
        family: Family::Tracepoint,
        probes,
        cost: Cost::Own,
        needs,
        lacks: None,
    }
}

const fn fexit(probes: &'static [Spec]) -> Way {
    Way {
        name: "fentry/fexit",
        family: Family::Function,
        probes,
        cost: Cost::Own,
        needs: "Linux 5.5 on x86-64, 6.0 on arm64, with BTF",
        lacks: None,
    }
}

const fn kprobe(probes: &'static [Spec]) -> Way {
    Way {
        name: "kprobe",
        family: Family::Function,
        probes,
        cost: Cost::Own,
        needs: "CONFIG_KPROBES",
        lacks: None,
    }
}

const fn syscalls(probes: &'static [Spec], lacks: Option<&'static str>) -> Way {
    Way {
        name: "syscalls",
        family: Family::Tracepoint,
        probes,
        cost: Cost::EverySystemCall,
        needs: "CONFIG_FTRACE_SYSCALLS and tracefs",
        lacks,
    }
}

const fn all_syscalls(lacks: Option<&'static str>) -> Way {
    Way {
        name: "all syscalls",
        family: Family::Tracepoint,
        probes: &[ALL_EXITS],
        cost: Cost::EverySystemCallRuns,
        needs: "nothing more",
        lacks,
    }
}

const NO_WRITE: Option<&str> = Some("sends that make no write, such as sendfile");

/// Everything the agent wants to see.
pub const NEEDS: &[Need] = &[
    Need {
        gives: "sends and receives",
        ways: &[
            Way {
                name: "socket",
                family: Family::Tracepoint,
                probes: &[raw("sock_send_length", 2), raw("sock_recv_length", 2)],
                cost: Cost::Own,
                needs: "Linux 6.3",
                lacks: None,
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
        without: Without::Nothing,
    },
    Need {
        gives: "TCP connections opened, accepted and closed",
        ways: &[tracepoint(
            &[raw("inet_sock_set_state", 3), raw("tcp_destroy_sock", 1)],
            "Linux 4.16",
        )],
        without: Without::Nothing,
    },
    Need {
        gives: "connects that fail at once",
        ways: &[
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
        without: Without::Detail(
            "a device without a route is told once, not at each further attempt that fails at once",
        ),
    },
    Need {
        gives: "TCP retransmits",
        ways: &[
            tracepoint(&[raw("tcp_retransmit_skb", 1)], "Linux 4.15"),
            fexit(&[spec(
                "tcp_retransmit_entry",
                Hook::FEntry("__tcp_retransmit_skb"),
            )]),
            kprobe(&[spec("at_retransmit", Hook::KProbe("__tcp_retransmit_skb"))]),
        ],
        without: Without::Warn("stalls for want of an ACK stay without a cause"),
    },
    Need {
        gives: "TCP resets",
        ways: &[tracepoint(&[raw("tcp_receive_reset", 1)], "Linux 4.16")],
        without: Without::Warn("a connection reset by the peer may look like one given up"),
    },
    Need {
        gives: "packets dropped by this host",
        ways: &[
            tracepoint(&[raw("kfree_skb", 3)], "Linux 5.17"),
            Way {
                name: "tracepoint without reason",
                lacks: Some("why, other than by a netfilter rule"),
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
        without: Without::Warn(
            "drops by this host's own firewall look like silence from the network",
        ),
    },
    Need {
        gives: "socket errors",
        ways: &[
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
        without: Without::Warn("ICMP errors on established connections are not seen"),
    },
    Need {
        gives: "window probes",
        ways: &[
            fexit(&[spec(
                "tcp_send_probe0_entry",
                Hook::FEntry("tcp_send_probe0"),
            )]),
            kprobe(&[spec("at_window_probe", Hook::KProbe("tcp_send_probe0"))]),
        ],
        without: Without::Detail(
            "only the number without an answer is known, when a stall begins and ends",
        ),
    },
];

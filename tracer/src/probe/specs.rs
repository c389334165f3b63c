//! What the agent wants to see, and the probes that show it, best first. Data only.

/// One program and the hook it goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the program in the eBPF object.
    pub program: &'static str,
    /// The kernel's name of the tracepoint.
    pub hook: &'static str,
}

const fn same(name: &'static str) -> Spec {
    Spec {
        program: name,
        hook: name,
    }
}

/// Something to see.
#[derive(Debug)]
pub struct Need {
    /// What.
    pub gives: &'static str,
    /// Ways to see it, best first; all probes of one way are needed.
    pub ways: &'static [Way],
    /// What is missing without it; `None` where nothing works without it.
    pub without: Option<&'static str>,
}

/// One way to see something.
#[derive(Debug)]
pub struct Way {
    /// Its name for `--probes`.
    pub name: &'static str,
    /// Its probes.
    pub probes: &'static [Spec],
}

/// Everything the agent wants to see.
pub const NEEDS: &[Need] = &[
    Need {
        gives: "sends and receives",
        ways: &[
            // Linux 6.3. Costs other system calls nothing.
            Way {
                name: "socket",
                probes: &[same("sock_send_length"), same("sock_recv_length")],
            },
            // Any kernel. Every system call of the host takes the kernel's slow path.
            Way {
                name: "syscall",
                probes: &[same("sys_exit")],
            },
        ],
        without: None,
    },
    Need {
        gives: "TCP connections opened, accepted and closed",
        ways: &[Way {
            name: "tracepoint",
            probes: &[same("inet_sock_set_state"), same("tcp_destroy_sock")],
        }],
        without: None,
    },
    Need {
        gives: "TCP retransmits",
        ways: &[Way {
            name: "tracepoint",
            probes: &[same("tcp_retransmit_skb")],
        }],
        without: Some("stalls for want of an ACK stay without a cause"),
    },
    Need {
        gives: "TCP resets",
        ways: &[Way {
            name: "tracepoint",
            probes: &[same("tcp_receive_reset")],
        }],
        without: Some("a connection reset by the peer may look like one given up"),
    },
    Need {
        gives: "packets dropped by this host",
        ways: &[Way {
            name: "tracepoint",
            probes: &[same("kfree_skb")],
        }],
        without: Some("drops by this host's own firewall look like silence from the network"),
    },
    Need {
        gives: "socket errors",
        ways: &[Way {
            name: "tracepoint",
            probes: &[same("inet_sk_error_report")],
        }],
        without: Some("ICMP errors on established connections are not seen"),
    },
];

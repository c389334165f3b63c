//! The text, from made-up facts.

use std::collections::{BTreeMap, BTreeSet};

use super::{server::ServerCheck, *};
use crate::probe::{availability::Availability, host::SyscallExits};

fn host() -> Host {
    let names = [
        "sock_send_length",
        "sock_recv_length",
        "inet_sock_set_state",
        "tcp_destroy_sock",
        "tcp_retransmit_skb",
        "tcp_receive_reset",
        "kfree_skb",
    ];
    Host {
        tracepoints: Some(names.map(|name| (name.to_owned(), 4)).into()),
        functions: Some(BTreeSet::new()),
        trampolines: Availability::Forbidden(
            "the kernel refuses it to this process (EPERM)".to_owned(),
        ),
        kprobes: Availability::No("this kernel is built without (CONFIG_KPROBE_EVENTS)".to_owned()),
        syscall_exits: SyscallExits {
            answer: Availability::Yes,
            names: ["sys_exit_connect".to_owned()].into(),
        },
        ..Host::default()
    }
}

fn report(host: &Host, obstacle: Option<&Error>) -> DoctorReport {
    DoctorReport::new(
        ("6.18.0", "x86_64"),
        checks::probing(host),
        Found::Not("no running vault or bao server found".to_owned()),
        Some(&plan_untried(host)),
        obstacle,
    )
}

#[test]
fn the_text_says_what_is_seen_what_is_lost_and_what_mends_it() {
    let text = report(&host(), None).to_string();
    for words in [
        "vault-tracer ",
        "on Linux 6.18.0, x86_64",
        "forbidden fentry and fexit",
        "no        kprobes",
        "-> mount -t tracefs tracefs /sys/kernel/tracing",
        "server: none: no running vault or bao server found",
        "socket: sock_recv_length, sock_send_length",
        "socket errors                               not seen",
        "lost: ICMP errors on established connections are not seen",
        "not fentry/fexit: forbidden: the kernel refuses it to this process (EPERM)",
        "not syscalls: too costly: every system call of this host would be slower",
        "This host can be traced.",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

#[test]
fn it_fits_on_a_screen() {
    let text = report(&host(), None).to_string();
    assert!(text.lines().count() <= 50, "{text}");
}

#[test]
fn an_obstacle_is_the_last_line() {
    let error = Error::msg("tracing needs CAP_BPF");
    let text = report(&host(), Some(&error)).to_string();
    let last = text.lines().last();
    assert_eq!(
        last,
        Some("This host cannot be traced: tracing needs CAP_BPF")
    );
}

#[test]
fn the_json_tells_the_same_apart() {
    let mut host = host();
    host.missing = vec!["CAP_BPF"];
    host.tracepoints = Some(BTreeMap::from([("sys_exit".to_owned(), 2)]));
    let error = Error::msg("tracing needs CAP_BPF");
    let json = serde_json::to_value(report(&host, Some(&error))).expect("serialises");
    assert_eq!(json["traceable"], false);
    assert_eq!(json["obstacle"], "tracing needs CAP_BPF");
    let sends = &json["probes"][0];
    assert_eq!(sends.get("by"), None);
    let verdict = |way: &str| {
        let ways = sends["ways"].as_array().expect("ways");
        let told = ways.iter().find(|told| told["way"] == way);
        told.expect("such a way")["verdict"].clone()
    };
    assert_eq!(verdict("socket"), "absent");
    assert_eq!(verdict("all syscalls"), "forbidden");
    let checks = json["checks"].as_array().expect("checks");
    let of = |name: &str| checks.iter().find(|check| check["name"] == name);
    assert_eq!(of("kprobes").expect("a check")["answer"], "no");
    assert_eq!(
        of("fentry and fexit").expect("a check")["answer"],
        "forbidden"
    );
    assert_eq!(of("ring buffer").expect("a check")["answer"], "unknown");
}

#[test]
fn the_text_says_how_the_server_audits() {
    use crate::server::generation::Generation;
    let server = ServerCheck {
        pid: 7,
        exe: "/usr/bin/vault".to_owned(),
        go_version: Some("go1.26.8".to_owned()),
        module: None,
        product: Some("Vault".to_owned()),
        version: Some("2.1.0".to_owned()),
        generation: Some(Generation::SinksPermits.facts()),
        goroutine_ids: None,
        stacks: true,
        warnings: vec!["it is newer".to_owned()],
    };
    let text = server.to_string();
    for words in [
        "PID 7 (/usr/bin/vault), Vault 2.1.0, go1.26.8",
        "audits as Vault since July 2026 (2.1): the request waits",
        "an entry queues for a permit",
        "time for an entry: 10 s of its own",
        "    it is newer",
    ] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
    let unknown = ServerCheck {
        version: None,
        generation: None,
        ..server
    };
    let text = unknown.to_string();
    for words in ["Vault of an unknown version", "how it audits is unknown"] {
        assert!(text.contains(words), "no {words:?} in\n{text}");
    }
}

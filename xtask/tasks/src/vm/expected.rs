//! Probes and strategies that each kernel is known to support, compared both ways with the report of its guest: a probe
//! that silently stops to attach fails as well as one that is said to be missing and is there.

use super::report::{GuestReport, Hook};
use crate::machine::Machine;

/// `6.3` is `(6, 3)`.
type Version = (u32, u32);

/// Older than any kernel that is run.
const ALWAYS: Version = (0, 0);

/// Programs of trampolines, which on arm64 attach to functions of the kernel since direct calls of ftrace (6.4).
const TRAMPOLINES: [&str; 2] = ["fentry", "fexit"];
const TRAMPOLINES_ON_ARM64: Version = (6, 4);

/// Strategies of probing (`--probes`), with the first kernel that supports each.
const STRATEGIES: [(&str, Version); 5] = [
    ("auto", ALWAYS),
    ("function", ALWAYS),
    ("kprobe", ALWAYS),
    ("socket", (6, 3)),
    ("syscall", ALWAYS),
];

/// Probes that any strategy attaches: kind, first kernel, hooks. Tracepoints are those of `include/trace/events/sock.h`,
/// `tcp.h` and `skb.h`.
const PROBES: [(&str, Version, &[&str]); 8] = [
    (
        "raw_tracepoint",
        ALWAYS,
        &[
            "inet_sock_set_state",
            "kfree_skb",
            "tcp_destroy_sock",
            "tcp_receive_reset",
            "tcp_retransmit_skb",
        ],
    ),
    ("raw_tracepoint", (5, 14), &["inet_sk_error_report"]),
    (
        "raw_tracepoint",
        (6, 3),
        &["sock_send_length", "sock_recv_length"],
    ),
    (
        "tracepoint",
        ALWAYS,
        &[
            "sys_exit_connect",
            "sys_exit_read",
            "sys_exit_recvfrom",
            "sys_exit_recvmsg",
            "sys_exit_sendmsg",
            "sys_exit_sendto",
            "sys_exit_write",
            "sys_exit_writev",
        ],
    ),
    ("fentry", ALWAYS, &ENTRY_ONLY),
    ("kprobe", ALWAYS, &ENTRY_ONLY),
    ("fexit", ALWAYS, &CALLS),
    ("uprobe", ALWAYS, &["hclog.(*writer).Flush"]),
];

/// Functions of which the entry is enough.
const ENTRY_ONLY: [&str; 3] = [
    "sock_def_error_report",
    "tcp_retransmit_skb",
    "tcp_send_probe0",
];

/// Functions of which the result is needed: one `fexit`, or a `kprobe` and a `kretprobe`.
const CALLS: [&str; 8] = [
    "tcp_recvmsg",
    "tcp_sendmsg",
    "tcp_v4_connect",
    "tcp_v6_connect",
    "udp_sendmsg",
    "udpv6_sendmsg",
    "unix_dgram_sendmsg",
    "unix_stream_sendmsg",
];

/// All probes of a kernel, as hook and kind.
fn probes_of(machine: Machine, version: Version) -> Vec<Hook> {
    let both = ["kprobe", "kretprobe"].map(|kind| (kind, ALWAYS, CALLS.as_slice()));
    let known = PROBES.into_iter().chain(both);
    let without_trampolines = machine == Machine::ARM64 && version < TRAMPOLINES_ON_ARM64;
    let supported = known.filter(|(kind, from, _)| {
        *from <= version && !(without_trampolines && TRAMPOLINES.contains(kind))
    });
    supported
        .flat_map(|(kind, _, hooks)| {
            hooks
                .iter()
                .map(move |hook| (hook.to_string(), kind.into()))
        })
        .collect()
}

/// One sentence for each difference. None if the guest tried no strategy.
pub fn differences(machine: Machine, report: &GuestReport) -> Vec<String> {
    let Some(version) = report.version() else {
        return vec!["the guest did not say which kernel it runs".to_owned()];
    };
    if report.strategies.is_empty() {
        return Vec::new();
    }
    [
        strategies(report, version),
        probes(machine, report, version),
    ]
    .concat()
}

fn strategies(report: &GuestReport, version: Version) -> Vec<String> {
    let differs =
        |(name, from): &(&str, Version)| match (*from <= version, report.strategies.get(*name)) {
            (true, Some(None)) | (false, Some(Some(_))) => None,
            (_, None) => Some(format!("--probes {name} was not tried")),
            (true, Some(Some(error))) => Some(format!("--probes {name} was refused: {error}")),
            (false, Some(None)) => Some(format!("--probes {name} should have been refused")),
        };
    STRATEGIES.iter().filter_map(differs).collect()
}

fn probes(machine: Machine, report: &GuestReport, version: Version) -> Vec<String> {
    let known = probes_of(machine, version);
    let unknown = report.probes.keys().filter(|probe| !known.contains(probe));
    let unknown = unknown
        .map(|(hook, kind)| format!("{kind} {hook} was attached, and is not known of this kernel"));
    let missing = known
        .iter()
        .filter(|probe| !report.probes.contains_key(*probe));
    let missing = missing.map(|(hook, kind)| format!("{kind} {hook} was not attached"));
    unknown.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probes_of(version: Version) -> Vec<Hook> {
        super::probes_of(Machine::X86_64, version)
    }

    fn differences(report: &GuestReport) -> Vec<String> {
        super::differences(Machine::X86_64, report)
    }

    #[test]
    fn on_arm64_trampolines_are_younger() {
        let trampolines = |version| {
            let all = super::probes_of(Machine::ARM64, version).into_iter();
            all.filter(|(_, kind)| TRAMPOLINES.contains(&&**kind))
                .count()
        };
        assert_eq!((trampolines((6, 1)), trampolines((6, 12))), (0, 11));
    }

    fn report(release: &str, refused: &[&str], attached: Vec<Hook>) -> GuestReport {
        let strategies = STRATEGIES.iter().map(|(name, _)| {
            let error = refused.contains(name).then(|| "no".to_owned());
            ((*name).to_owned(), error)
        });
        GuestReport {
            release: Some(release.to_owned()),
            strategies: strategies.collect(),
            probes: attached
                .into_iter()
                .map(|probe| (probe, Some(true)))
                .collect(),
            ..GuestReport::default()
        }
    }

    #[test]
    fn a_kernel_with_what_is_known_has_no_differences() {
        let old = report("6.1.0-5", &["socket"], probes_of((6, 1)));
        assert_eq!(differences(&old), [] as [&str; 0]);
        let new = report("6.12.9", &[], probes_of((6, 12)));
        assert_eq!(differences(&new), [] as [&str; 0]);
        assert_eq!(
            (probes_of((5, 10)).len(), probes_of((6, 12)).len()),
            (44, 47)
        );
    }

    #[test]
    fn presence_and_absence_are_both_asserted() {
        let too_much = differences(&report("6.1.0-5", &[], probes_of((6, 12))));
        assert!(
            too_much[0].contains("socket should have been refused"),
            "{too_much:?}"
        );
        assert!(
            too_much
                .iter()
                .any(|d| d.contains("sock_send_length was attached"))
        );
        let too_little = differences(&report("6.12.9", &["socket"], probes_of((6, 1))));
        assert!(
            too_little[0].contains("socket was refused: no"),
            "{too_little:?}"
        );
        assert!(
            too_little
                .iter()
                .any(|d| d.contains("sock_send_length was not attached"))
        );
    }

    #[test]
    fn a_strategy_that_was_not_tried_is_a_difference() {
        let mut some = report("6.12.9", &[], probes_of((6, 12)));
        some.strategies.remove("kprobe");
        assert_eq!(differences(&some), ["--probes kprobe was not tried"]);
        assert_eq!(differences(&GuestReport::default()).len(), 1);
    }
}

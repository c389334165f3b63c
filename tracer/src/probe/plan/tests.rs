//! Made-up hosts, as far as their kernels differ in what the plan asks about.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use super::*;
use crate::probe::{
    host::{CodeLocation, Refusal, SyscallExits},
    specs::{Hook, hooks},
    tracefs::Tracefs,
};

/// A host on which everything is there.
fn newest() -> Host {
    let (mut tracepoints, mut functions, mut exits) =
        (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
    for hook in hooks() {
        let name = hook.name().to_owned();
        match hook {
            Hook::RawTracepoint { .. } => drop(tracepoints.insert(name, 4)),
            Hook::SyscallExit(_) => drop(exits.insert(name)),
            _ => drop(functions.insert(name)),
        }
    }
    Host {
        ring_buffer: Availability::Yes,
        tracepoints: Some(tracepoints),
        functions: Some(functions),
        syscall_exits: SyscallExits {
            answer: Availability::Yes,
            names: exits,
        },
        trampolines: Availability::Yes,
        kprobes: Availability::Yes,
        task_pt_regs: true,
        tracefs: Tracefs::At("/sys/kernel/tracing".into()),
        log_writer: Some(CodeLocation {
            pid: NonZeroU32::MIN,
            offset: 0x1000,
        }),
        ..Host::default()
    }
}

/// The same before these tracepoints.
fn without_tracepoints(names: &[&str]) -> Host {
    let mut host = newest();
    if let Some(tracepoints) = &mut host.tracepoints {
        tracepoints.retain(|name, _| !names.contains(&name.as_str()));
    }
    host
}

/// 6.1, 5.15: no tracepoints in the socket layer.
fn before_6_3() -> Host {
    without_tracepoints(&["sock_send_length", "sock_recv_length"])
}

/// Debian 11, Amazon Linux 2: also without reasons for drops, errors, `bpf_task_pt_regs`.
fn before_5_14() -> Host {
    let mut host = without_tracepoints(&[
        "sock_send_length",
        "sock_recv_length",
        "inet_sk_error_report",
    ]);
    if let Some(tracepoints) = &mut host.tracepoints {
        tracepoints.insert("kfree_skb".to_owned(), 2);
    }
    host.task_pt_regs = false;
    host
}

/// No trampolines on arm64 before 6.4.
fn without_trampolines(mut host: Host) -> Host {
    host.trampolines = Availability::No("this kernel has none".to_owned());
    host
}

fn without_kprobes(mut host: Host) -> Host {
    host.kprobes = Availability::No("this kernel is built without".to_owned());
    host
}

fn without_functions(host: Host) -> Host {
    without_kprobes(without_trampolines(host))
}

/// This machine: as new as can be, but no kprobes, and trampolines refused for no stated reason.
fn firecracker() -> Host {
    let mut host = without_kprobes(newest());
    host.trampolines =
        Availability::Forbidden("the kernel refuses it to this process (EPERM)".into());
    host
}

/// What is chosen for each capability, in their order.
fn chosen(host: &Host, preference: Preference) -> Vec<&'static str> {
    let plan = plan(host, preference);
    let choices = plan.choices.iter();
    choices
        .map(|choice| choice.chosen().map_or("-", |strategy| strategy.name))
        .collect()
}

fn verdict(host: &Host, preference: Preference, shows: &str, strategy: &str) -> (Verdict, String) {
    let plan = plan(host, preference);
    let choice = plan.choices.iter().find(|c| c.capability.shows == shows);
    let candidates = &choice.expect("such a need").candidates;
    let candidate = candidates.iter().find(|j| j.strategy.name == strategy);
    let candidate = candidate.expect("such a way");
    (candidate.verdict, candidate.why.clone())
}

const SENDS: &str = "sends and receives";
const FAILED: &str = "connects that fail immediately";

#[test]
fn new_kernels_need_nothing_but_tracepoints_for_what_matters() {
    // 6.12, 6.18, 7.3.
    let expected = [
        "socket",
        "tracepoint",
        "fentry/fexit",
        "tracepoint",
        "tracepoint",
        "tracepoint",
        "tracepoint",
        "fentry/fexit",
        "uprobe",
    ];
    assert_eq!(chosen(&newest(), Preference::Auto), expected);
}

#[test]
fn before_6_3_functions_show_sends_and_receives() {
    let auto = |host: Host| chosen(&host, Preference::Auto)[0];
    assert_eq!(auto(before_6_3()), "fentry/fexit");
    assert_eq!(auto(without_trampolines(before_6_3())), "kprobe");
    assert_eq!(auto(without_functions(before_6_3())), "syscalls");
}

#[test]
fn before_5_14_functions_show_errors_and_drops_have_no_reason() {
    let expected = [
        "fentry/fexit",
        "tracepoint",
        "fentry/fexit",
        "tracepoint",
        "tracepoint",
        "tracepoint without reason",
        "fentry/fexit",
        "fentry/fexit",
        "uprobe",
    ];
    assert_eq!(chosen(&before_5_14(), Preference::Auto), expected);
    let host = without_functions(before_5_14());
    let plan = plan(&host, Preference::Auto);
    let errors = plan
        .choices
        .iter()
        .find(|c| c.capability.shows == "socket errors");
    assert_eq!(errors.expect("a need").chosen(), None);
    assert!(plan.missing_essential().is_none());
    let drops = &plan.choices[5];
    assert_eq!(drops.limitations, ["why, other than by a netfilter rule"]);
}

#[test]
fn without_tracefs_all_system_calls_are_looked_at_once() {
    let mut host = without_functions(before_6_3());
    host.tracefs = Tracefs::NotMounted;
    let answer = host.tracefs.refusal().expect("a reason");
    host.syscall_exits = SyscallExits {
        answer,
        ..SyscallExits::default()
    };
    let candidates = chosen(&host, Preference::Auto);
    assert_eq!(candidates[0], "all syscalls");
    // The same program sees connects: no second report of them.
    assert_eq!(candidates[2], "all syscalls");
    let (verdict, why) = verdict(&host, Preference::Auto, SENDS, "syscalls");
    assert_eq!(verdict, Verdict::Forbidden);
    assert!(why.contains("tracefs"), "{why}");
    let plan = plan(&host, Preference::Auto);
    assert_eq!(plan.slows_host().map(|w| w.name), Some("all syscalls"));
}

#[test]
fn nobody_else_pays_for_a_detail() {
    // This machine has no other way to see connects that fail immediately.
    let host = firecracker();
    let expected = [
        "socket",
        "tracepoint",
        "-",
        "tracepoint",
        "tracepoint",
        "tracepoint",
        "tracepoint",
        "-",
        "uprobe",
    ];
    assert_eq!(chosen(&host, Preference::Auto), expected);
    let of = |strategy| verdict(&host, Preference::Auto, FAILED, strategy).0;
    assert_eq!(of("fentry/fexit"), Verdict::Forbidden);
    assert_eq!(of("kprobe"), Verdict::Absent);
    assert_eq!(of("syscalls"), Verdict::TooCostly);
    // Unless everybody does already.
    assert_eq!(chosen(&host, Preference::Syscall)[2], "syscalls");
    assert_eq!(plan(&host, Preference::Auto).slows_host(), None);
}

#[test]
fn the_operator_decides() {
    let by = |preference| chosen(&newest(), preference);
    let functions = [
        "fentry/fexit",
        "tracepoint",
        "fentry/fexit",
        "fentry/fexit",
        "tracepoint",
        "tracepoint",
        "fentry/fexit",
        "fentry/fexit",
        "uprobe",
    ];
    assert_eq!(by(Preference::Function), functions);
    // Nothing is put into the server.
    for preference in [
        Preference::Tracepoint,
        Preference::Socket,
        Preference::Syscall,
    ] {
        assert_eq!(by(preference).last().copied(), Some("-"));
    }
    assert_eq!(by(Preference::Kprobe)[0], "kprobe");
    assert_eq!(by(Preference::Kprobe)[1], "tracepoint");
    assert_eq!(by(Preference::Tracepoint)[0], "socket");
    assert_eq!(by(Preference::Socket)[0], "socket");
    assert_eq!(by(Preference::Syscall)[0], "syscalls");
    let asked = verdict(&newest(), Preference::Function, SENDS, "socket");
    assert_eq!(asked.0, Verdict::Excluded);
}

#[test]
fn what_is_asked_for_and_not_there_is_no_reason_for_something_else() {
    let host = firecracker();
    let plan = plan(&host, Preference::Function);
    let choice = plan
        .missing_essential()
        .expect("functions cannot be probed here");
    assert_eq!(choice.capability.shows, SENDS);
    let reasons = choice.reasons();
    assert!(reasons.contains("EPERM"), "{reasons}");
    assert!(reasons.contains("built without"), "{reasons}");
    assert!(!reasons.contains("socket"), "{reasons}");
}

#[test]
fn what_the_kernel_refuses_makes_way_for_the_next() {
    let mut host = before_6_3();
    let refusal = Refusal {
        forbidden: false,
        why: "tcp_sendmsg: the kernel refused the program".to_owned(),
    };
    host.refused.insert((SENDS, "fentry/fexit"), refusal);
    assert_eq!(chosen(&host, Preference::Auto)[0], "kprobe");
    let (verdict, why) = verdict(&host, Preference::Auto, SENDS, "fentry/fexit");
    assert_eq!(verdict, Verdict::Absent);
    assert!(why.contains("refused"), "{why}");
}

#[test]
fn permission_is_never_mistaken_for_absence() {
    // An ordinary user: what is there would need a capability, what is not there is not there.
    let mut host = before_6_3();
    host.missing = vec!["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"];
    let of = |strategy| verdict(&host, Preference::Auto, SENDS, strategy);
    assert_eq!(of("socket").0, Verdict::Absent);
    assert_eq!(of("fentry/fexit").0, Verdict::Forbidden);
    assert!(of("fentry/fexit").1.contains("CAP_BPF, CAP_PERFMON"));
    assert!(plan(&host, Preference::Auto).missing_essential().is_some());
}

#[test]
fn what_cannot_be_told_is_tried() {
    // The kernel's BTF leaves out what lies in modules: IPv6 and Unix sockets, on some hosts.
    let mut host = without_trampolines(before_6_3());
    host.functions = Some(BTreeSet::new());
    let (verdict, why) = verdict(&host, Preference::Auto, SENDS, "kprobe");
    assert_eq!(verdict, Verdict::Chosen);
    assert!(why.contains("unknown without trying"), "{why}");
    // A container without /sys.
    host.kprobes = Availability::Unknown("/sys is not mounted".to_owned());
    assert_eq!(chosen(&host, Preference::Auto)[0], "kprobe");
}

#[test]
fn a_way_can_do_without_some_of_its_probes() {
    let mut host = before_6_3();
    if let Some(functions) = &mut host.functions {
        functions.remove("udpv6_sendmsg");
        functions.remove("unix_stream_sendmsg");
    }
    let plan = plan(&host, Preference::Auto);
    assert_eq!(
        plan.choices[0].chosen().map(|w| w.name),
        Some("fentry/fexit")
    );
    let lost = plan.choices[0].limitations.join("; ");
    assert!(lost.contains("Unix") && lost.contains("UDP"), "{lost}");
}

#[test]
fn el8_is_judged_by_what_it_has() {
    // 4.18 by its number, with much of 5.x in it: ring buffer and trampolines among that, and no reasons.
    let host = before_5_14();
    assert!(plan(&host, Preference::Auto).missing_essential().is_none());
    // Ubuntu 20.04's 5.4: no BTF, so nothing is known, and `KernelTypes` has refused before.
    let host = Host {
        tracepoints: None,
        functions: None,
        trampolines: Availability::No("this kernel has none".to_owned()),
        ..newest()
    };
    let (verdict, _) = verdict(&host, Preference::Auto, SENDS, "socket");
    assert_eq!(
        verdict,
        Verdict::Chosen,
        "tried, since it could not be told"
    );
}

#[test]
fn a_locked_down_kernel_says_so_itself() {
    // Confidentiality: kprobes and reading kernel memory are refused when tried, with EPERM.
    let mut host = newest();
    for capability in CAPABILITIES {
        for strategy in capability.strategies {
            let why = "the kernel refuses it to this process (EPERM)".to_owned();
            let refusal = Refusal {
                forbidden: true,
                why,
            };
            host.refused
                .insert((capability.shows, strategy.name), refusal);
        }
    }
    let plan = plan(&host, Preference::Auto);
    let missing_essential = plan.missing_essential().expect("nothing can be attached");
    assert!(
        missing_essential
            .candidates
            .iter()
            .all(|w| w.verdict == Verdict::Forbidden)
    );
}

#[test]
fn every_need_has_an_end() {
    for capability in CAPABILITIES {
        assert!(!capability.strategies.is_empty(), "{}", capability.shows);
        for strategy in capability.strategies {
            assert!(
                strategy.probes.iter().any(|spec| spec.if_missing.is_none()),
                "{}",
                strategy.name
            );
        }
    }
}

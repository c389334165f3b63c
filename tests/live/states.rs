//! What a log server's TCP socket can do to the server, each made for real: the right cause, and the
//! evidence that must be there. Over IPv4 and IPv6.

use anyhow::{Context, Result};
use lab::{
    Family, Lab, Measured, State, Trace,
    scenario::BIG_REQUEST,
    server::{bao_from_environment, usual_tie},
    states::{self, SHORT_TIMEOUT},
    tracer::RECORD,
    truth,
};
use serde_json::Value;

use crate::outage::attach;

/// What is expected of the trace, of the requests that made it, and of the lab it was made in.
type Check<'a> = &'a dyn Fn(&Trace, &[Measured], &Lab) -> Result<()>;

/// With normal traffic buffered in the kernel; and with every event recorded, which must replay to the same trace.
const WAYS: [&[&str]; 2] = [&[], &[RECORD]];

/// Lives through a state of the socket, each time in another family and way, and looks at what the agent says of it.
pub(crate) fn each(
    state: &State,
    check: impl Fn(&Trace, &[Measured], &Lab) -> Result<()>,
) -> Result<()> {
    for (family, way) in [Family::V4, Family::V6].into_iter().zip(WAYS) {
        let lived = live_through(&state.over(family), &[way], &check);
        lived.with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

/// Where IPv6 makes no difference: once, over the state's own protocol, both ways side by side.
pub(crate) fn in_its_family(
    state: &State,
    check: impl Fn(&Trace, &[Measured], &Lab) -> Result<()>,
) -> Result<()> {
    live_through(state, &WAYS, &check)
}

fn live_through(state: &State, ways: &[&[&str]], check: Check<'_>) -> Result<()> {
    let mut lab = state.lab(&bao_from_environment()?)?;
    let attach = |way: &&[&str]| attach(&lab, way);
    let tracers = ways.iter().map(attach).collect::<Result<Vec<_>>>()?;
    lab.client.get(BIG_REQUEST)?;
    let requests = (state.happen)(&mut lab)?;
    for (tracer, way) in tracers.into_iter().zip(ways) {
        let trace = tracer.stop()?;
        eprintln!("{} {way:?}: {}", state.name, trace.text); // shown where it fails
        check(&trace, &requests, &lab)?;
    }
    Ok(())
}

fn first_hang(trace: &Trace) -> Result<&Value> {
    trace.hangs().first().copied().context("no hang")
}

/// The stall that gave the hang its cause.
fn first_stall(hang: &Value) -> Result<&Value> {
    let stalls = hang["stalls"].as_array().context("no stalls")?;
    let of_cause = stalls.iter().find(|stall| stall["cause"] == hang["cause"]);
    of_cause.context("no stall has the hang's cause")
}

fn causes(records: &[&Value]) -> Vec<String> {
    let cause = |record: &&Value| record["cause"].as_str().unwrap_or("none").to_owned();
    records.iter().map(cause).collect()
}

fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("no number: {value}"))
}

/// A device that fails fast: refusals of these causes, and no hang.
fn only_refused(trace: &Trace, causes_allowed: &[&str]) {
    assert!(trace.hangs().is_empty(), "a hang");
    let refusals = trace.of_type("refusal");
    assert!(!refusals.is_empty(), "no refusal");
    for (refusal, cause) in refusals.iter().zip(causes(&refusals)) {
        assert!(causes_allowed.contains(&cause.as_str()), "{refusal}");
        assert!(number(&refusal["duration_ns"]) < 100_000_000, "{refusal}");
        assert!(knows_its_request(refusal), "{refusal}");
    }
}

/// A sink that fails at once is gone before a sample can show whose it is: its refusal may be nobody's.
pub(crate) fn knows_its_request(refusal: &Value) -> bool {
    let has_sinks = usual_tie().is_ok_and(|tie| tie == "lineage");
    has_sinks || refusal["request"]["id"].is_string()
}

#[test]
fn no_listener_is_refused_at_once() -> Result<()> {
    each(&states::NO_LISTENER, |trace, _, _| {
        only_refused(trace, &["reset", "refused"]);
        let refusals = trace.of_type("refusal");
        let last = refusals.last().context("no refusal")?;
        assert_eq!(last["cause"], "refused");
        assert!(last["explanation"].to_string().contains("RST"), "{last}");
        Ok(())
    })
}

#[test]
fn a_firewall_that_rejects_with_rst_is_a_refusal() -> Result<()> {
    each(&states::FIREWALL_RESET, |trace, _, _| {
        only_refused(trace, &["reset", "refused"]);
        Ok(())
    })
}

/// Taken apart from a RST. Over IPv6 the first answer comes too early for the kernel to act on it, and
/// the dial times out before the second: a hang, whose cause is known all the same.
#[test]
fn a_firewall_that_rejects_with_icmp_is_not_taken_for_a_rst() -> Result<()> {
    let rejects = [
        (states::FIREWALL_ICMP_PORT, ["refused", "unreachable"]),
        (states::FIREWALL_ICMP_HOST, ["unreachable", "unreachable"]),
    ];
    for (state, allowed) in rejects {
        each(&state, |trace, _, _| {
            let records = [trace.of_type("refusal"), trace.hangs()].concat();
            let last = records.last().context("neither refusal nor hang")?;
            assert!(
                allowed.contains(&last["cause"].as_str().unwrap_or("")),
                "{last}"
            );
            assert!(!last["explanation"].to_string().contains("RST"), "{last}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn syns_that_nobody_answers_are_syn_unanswered() -> Result<()> {
    each(&states::SYN_UNANSWERED, |trace, _, _| {
        assert_eq!(causes(&trace.hangs()), ["syn_unanswered", "syn_unanswered"]);
        let chain = trace.hangs()[1]["stalls"].as_array().map(Vec::len);
        assert_eq!(chain, Some(4), "four dials");
        Ok(())
    })
}

#[test]
fn a_full_accept_queue_looks_like_silence_to_new_connections() -> Result<()> {
    each(&states::FULL_ACCEPT_QUEUE, |trace, _, _| {
        let unanswered = |record: &Value| {
            let stalls = record["stalls"].as_array();
            stalls.is_some_and(|stalls| stalls.iter().any(|s| s["cause"] == "syn_unanswered"))
        };
        assert_eq!(first_hang(trace)?["cause"], "zero_window");
        assert!(trace.hangs().into_iter().any(unanswered));
        Ok(())
    })
}

#[test]
fn data_that_nobody_acknowledges_is_no_ack() -> Result<()> {
    each(&states::NO_ACK, |trace, _, _| {
        let hang = first_hang(trace)?;
        assert_eq!(hang["cause"], "no_ack");
        let evidence = &first_stall(hang)?["evidence"];
        assert!(number(&evidence["retransmits"]) > 0, "{evidence}");
        assert!(number(&evidence["unacked_bytes"]) > 0, "{evidence}");
        assert!(number(&evidence["rto_ns"]) >= 200_000_000, "{evidence}");
        let later = number(&evidence["at_end"]["last_ack_age_ns"]);
        assert!(
            later >= SHORT_TIMEOUT.as_nanos() as u64 * 9 / 10,
            "{evidence}"
        );
        is_explained_by_the_buffer(hang, evidence);
        Ok(())
    })
}

/// The riddle: why nothing hung until now.
fn is_explained_by_the_buffer(hang: &Value, evidence: &Value) {
    let (queue, buffer) = (
        number(&evidence["send_queue_bytes"]),
        number(&evidence["send_buffer_bytes"]),
    );
    assert!(queue >= buffer, "{evidence}");
    let explanation = hang["explanation"].as_str().unwrap_or("");
    assert!(explanation.contains("send buffer"), "{explanation}");
    assert!(evidence["silent_since"].is_string(), "{evidence}");
}

#[test]
fn what_this_host_drops_on_its_way_out_is_a_local_drop() -> Result<()> {
    each(&states::DROP_ON_VAULT_HOST, |trace, _, _| {
        is_local_drop(trace, "output")
    })
}

/// The seed's `iptables-drop.sh`, by its own means.
#[test]
fn an_iptables_rule_is_a_local_drop_too() -> Result<()> {
    in_its_family(&states::IPTABLES_DROP, |trace, _, _| {
        is_local_drop(trace, "output")
    })
}

#[test]
fn what_this_host_drops_of_the_answers_is_a_local_drop() -> Result<()> {
    each(&states::DROP_OF_REPLIES, |trace, _, _| {
        is_local_drop(trace, "input")
    })
}

fn is_local_drop(trace: &Trace, hook: &str) -> Result<()> {
    assert_eq!(causes(&trace.hangs()), ["local_drop", "local_drop"]);
    for hang in trace.hangs() {
        let evidence = &first_stall(hang)?["evidence"];
        assert!(number(&evidence["dropped_locally"]) > 0, "{evidence}");
        assert_eq!(evidence["drop_reason"], "NETFILTER_DROP", "{evidence}");
        assert_eq!(evidence["drop_hook"], hook, "{evidence}");
        let explanation = hang["explanation"].to_string();
        assert!(explanation.contains(&hook.to_uppercase()), "{explanation}");
    }
    Ok(())
}

/// As policies of container networks do: no rule of the server's own namespace shows it.
#[test]
fn what_the_far_end_of_the_link_drops_is_dropped_beyond() -> Result<()> {
    each(&states::DROP_BEYOND, |trace, _, _| {
        assert_eq!(causes(&trace.hangs()), ["local_drop", "local_drop"]);
        for hang in trace.hangs() {
            let evidence = &first_stall(hang)?["evidence"];
            assert_eq!(evidence["drop_hook"], "beyond", "{evidence}");
            let explanation = hang["explanation"].to_string();
            assert!(explanation.contains("namespace"), "{explanation}");
            assert!(!explanation.contains("INPUT"), "{explanation}");
        }
        Ok(())
    })
}

#[test]
fn a_connection_attempt_that_is_answered_late_is_a_slow_path() -> Result<()> {
    each(&states::SYN_ANSWERED_LATE, |trace, _, _| {
        assert_eq!(causes(&trace.hangs()), ["slow_path"]);
        let stall = first_stall(first_hang(trace)?)?;
        assert_eq!(stall["op"], "connect", "{stall}");
        assert_eq!(stall["outcome"], "ok", "{stall}");
        let others = causes(&trace.of_type("incident"));
        assert!(!others.contains(&"syn_unanswered".to_owned()), "{others:?}");
        Ok(())
    })
}

#[test]
fn a_narrow_link_is_a_slow_path_and_no_closed_window() -> Result<()> {
    in_its_family(&states::SLOW_PATH, |trace, _, _| {
        first_hang(trace)?;
        for hang in trace.hangs() {
            assert_eq!(hang["cause"], "slow_path", "{hang}");
            assert_eq!(first_stall(hang)?["outcome"], "ok", "{hang}");
        }
        Ok(())
    })
}

/// The negative twin.
#[test]
fn huge_entries_over_a_fast_link_block_nobody() -> Result<()> {
    in_its_family(&states::HUGE_ENTRIES, |trace, requests, _| {
        truth::nobody_was_blocked(requests, trace)
    })
}

#[test]
fn a_log_process_that_does_not_read_is_a_zero_window() -> Result<()> {
    each(&states::ZERO_WINDOW, |trace, _, _| {
        // The send buffer may grow once before it is full for good.
        let hangs = trace.hangs();
        let causes = causes(&hangs);
        assert!(causes.iter().all(|cause| cause == "zero_window"));
        let last = hangs.last().context("no hang")?;
        let evidence = &first_stall(last)?["evidence"];
        let closing = number(&evidence["at_end"]["peer_window_bytes"]);
        assert!(closing < 1460, "{evidence}");
        assert_eq!(
            number(&evidence["at_end"]["unacked_bytes"]),
            0,
            "{evidence}"
        );
        Ok(())
    })
}

#[test]
fn a_slow_reader_makes_stalls_that_end_well() -> Result<()> {
    each(&states::SLOW_READER, |trace, _, _| {
        let hang = first_hang(trace)?;
        let stall = first_stall(hang)?;
        assert_eq!(stall["outcome"], "ok");
        assert_eq!(stall["cause"], "zero_window");
        let explanation = hang["explanation"].to_string();
        assert!(explanation.contains("too slowly"), "{explanation}");
        Ok(())
    })
}

#[test]
fn a_reset_after_which_the_entry_is_written_again_is_no_refusal() -> Result<()> {
    each(&states::RESET_IN_MID_STREAM, |trace, _, _| {
        for kind in ["hang", "refusal", "incident"] {
            assert!(trace.of_type(kind).is_empty(), "{}", trace.text);
        }
        Ok(())
    })
}

#[test]
fn a_host_that_is_gone_from_the_network_is_silence_until_the_kernel_knows() -> Result<()> {
    each(&states::HOST_GONE, |trace, _, _| {
        // The near end of the link has no carrier either: this kernel drops without a reason.
        let allowed = ["no_ack", "syn_unanswered", "unreachable", "local_drop"];
        for cause in causes(&trace.hangs()) {
            assert!(allowed.contains(&cause.as_str()), "{cause}");
        }
        first_hang(trace).map(|_| ())
    })
}

/// A way that this host knows it does not have.
fn is_unreachable(state: &State) -> Result<()> {
    each(state, |trace, _, _| {
        assert_eq!(first_hang(trace)?["cause"], "unreachable");
        Ok(())
    })
}

#[test]
fn a_link_that_is_down_here_is_unreachable() -> Result<()> {
    is_unreachable(&states::LINK_DOWN_HERE)
}

#[test]
fn a_blackhole_route_is_unreachable() -> Result<()> {
    is_unreachable(&states::BLACKHOLE_ROUTE)
}

#[test]
fn no_route_is_unreachable() -> Result<()> {
    is_unreachable(&states::NO_ROUTE)
}

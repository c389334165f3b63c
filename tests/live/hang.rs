//! The hang that operators report: this host drops what the server sends to the log server.

use std::{collections::BTreeSet, time::Duration};

use anyhow::Result;
use lab::{
    Family, Tracer,
    tracer::{RECORD, agent_from_environment},
};
use serde_json::Value;

use crate::{
    assertions,
    doctor::says_yes_to,
    outage::{DEFAULT_TIMEOUT, Outage, SHORT_TIMEOUT, lab, run_outage, run_outage_seen_by},
};

#[test]
fn with_the_servers_own_time_out_each_stall_takes_two_seconds() -> Result<()> {
    both_hangs_are_found(&run_outage(Family::V4, DEFAULT_TIMEOUT, &[])?)
}

/// Whether normal traffic is buffered or streamed makes no difference to them.
#[test]
fn over_ipv4_both_hangs_are_tied_to_their_requests() -> Result<()> {
    all_agree([&[], &[RECORD]]).map(drop)
}

#[test]
fn over_ipv6_both_hangs_are_tied_to_their_requests() -> Result<()> {
    both_hangs_are_found(&run_outage(Family::V6, SHORT_TIMEOUT, &[])?)
}

#[test]
fn the_socket_layer_alone_shows_both_hangs() -> Result<()> {
    let [alone, _] = all_agree([&["--probes", "socket"], &[RECORD]])?;
    assert!(!hooks(&alone).contains("sys_exit"), "{}", hooks(&alone));
    Ok(())
}

#[test]
fn system_calls_show_both_hangs_where_the_socket_layer_has_no_tracepoints() -> Result<()> {
    let [outage, _] = all_agree([&["--probes", "syscall"], &[RECORD]])?;
    let hooks = hooks(&outage);
    assert!(!hooks.contains("sock_send_length"), "{hooks}");
    Ok(())
}

#[test]
fn functions_show_both_hangs_where_they_can_be_probed() -> Result<()> {
    by_functions("function", &["fentry and fexit", "kprobes"])
}

#[test]
fn kprobes_show_both_hangs_where_there_are_any() -> Result<()> {
    by_functions("kprobe", &["kprobes"])
}

/// Where the doctor says that this can be done, it can; else the agent says in one line why not.
fn by_functions(probes: &str, takes: &[&str]) -> Result<()> {
    let arguments = ["--probes", probes];
    if says_yes_to(takes)? {
        let [outage, _] = all_agree([&arguments, &[RECORD]])?;
        let hooks = hooks(&outage);
        assert!(hooks.contains("tcp_sendmsg"), "{hooks}");
        assert!(!hooks.contains("sock_send_length"), "{hooks}");
        return Ok(());
    }
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    let agent = agent_from_environment()?;
    let trace = Tracer::run(&agent, &["trace", "--pid", &pid, "--probes", probes])?.finish()?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    assert!(trace.stderr.contains("kprobe:"), "{}", trace.stderr);
    assert_eq!(trace.stderr.lines().count(), 1, "{}", trace.stderr);
    Ok(())
}

fn hooks(outage: &Outage) -> String {
    outage.trace.records[0]["probes"].to_string()
}

/// Two agents that probe in two ways tell the same of one outage.
fn all_agree(agents: [&[&str]; 2]) -> Result<[Outage; 2]> {
    let outages = run_outage_seen_by(Family::V4, SHORT_TIMEOUT, agents)?;
    let [one, other] = &outages;
    let told = |outage: &Outage| {
        let hangs = outage.trace.hangs().into_iter();
        hangs.map(essence).collect::<Vec<_>>()
    };
    let hooks = [one, other].map(hooks);
    assert_eq!(told(one), told(other), "{hooks:?}");
    outages.iter().try_for_each(both_hangs_are_found)?;
    Ok(outages)
}

fn essence(hang: &Value) -> BTreeSet<String> {
    let stalls = hang["stalls"].as_array().map_or(&[][..], Vec::as_slice);
    let request = &hang["request"];
    stalls
        .iter()
        .map(|stall| {
            let of_stall =
                ["op", "outcome", "errno", "cause"].map(|field| stall[field].to_string());
            let of_request = ["operation", "path", "tie", "http_version", "status"];
            let of_request = of_request.map(|field| request[field].to_string());
            format!(
                "{} {} {}",
                hang["cause"],
                of_stall.join(" "),
                of_request.join(" ")
            )
        })
        .collect()
}

/// Two hangs and nothing else: not before the buffer was full, not after the fault was lifted.
fn both_hangs_are_found(outage: &Outage) -> Result<()> {
    let trace = &outage.trace;
    assert!(trace.status.success(), "{}", trace.stderr);
    let hangs = trace.hangs();
    assert_eq!(hangs.len(), 2, "{}", trace.text);
    assertions::is_of(hangs[0], &outage.full, &outage.lab);
    assertions::is_of(hangs[1], &outage.next, &outage.lab);
    let timeout = outage.lab.timeout;
    met_the_full_buffer(
        &assertions::time_outs(hangs[0], timeout),
        outage.full.duration,
        timeout,
    );
    assert_eq!(
        assertions::time_outs(hangs[1], timeout),
        [
            "connect request",
            "connect request",
            "connect response",
            "connect response"
        ]
    );
    assert!(trace.of_type("refusal").is_empty(), "{}", trace.text);
    let summary = trace.summary()?;
    assert_eq!(summary["hangs"], 2);
    assert_eq!(summary["requests"], outage.requests, "{}", trace.text);
    assert_eq!(summary["events_lost"], 0);
    Ok(())
}

/// Which of its two entries meets the full buffer is a matter of bytes.
fn met_the_full_buffer(stalls: &[String], duration: Duration, timeout: Duration) {
    let by_the_request = [
        "write request",
        "connect request",
        "connect response",
        "connect response",
    ];
    if duration >= timeout * 4 {
        assert_eq!(stalls, by_the_request);
    } else {
        assert_eq!(stalls, ["write response", "connect response"]);
    }
}

//! The slices of a trace are those of its findings.

use std::collections::HashMap;

use anyhow::{Context, Result, ensure};
use tracer::sink::perfetto::proto::{Data, EventType, TracePacket};
use tracer_model::{Finding, Nanos, Op, Stall};

use test_support::replays;
use tracer::source::recording;

use super::{findings, packets};
use crate::case::replay;

/// By name, beginning and end; sorted.
type Slices = Vec<(String, Nanos, Nanos)>;

/// The slices as a reader makes them: it sorts packets by time, and an end ends the innermost slice. Slices that cross
/// would exchange their ends.
fn slices(packets: &[TracePacket]) -> Result<Slices> {
    let mut events: Vec<_> = packets
        .iter()
        .filter_map(|packet| match &packet.data {
            Some(Data::TrackEvent(event)) => Some((packet.timestamp(), event)),
            _ => None,
        })
        .collect();
    events.sort_by_key(|(at, _)| *at);
    let mut open: HashMap<u64, Vec<(String, Nanos)>> = HashMap::new();
    let mut slices = Vec::new();
    for (at, event) in events {
        let stack = open.entry(event.track_uuid()).or_default();
        match event.r#type() {
            EventType::SliceBegin => stack.push((event.name().to_owned(), at)),
            EventType::SliceEnd => {
                let (name, start) = stack.pop().context("ends, but never began")?;
                slices.push((name, start, at));
            }
            _ => {}
        }
    }
    ensure!(open.values().all(Vec::is_empty), "never end: {open:?}");
    slices.sort();
    Ok(slices)
}

/// The slices of the findings: a stall on its device's track and on its request's, a request once.
fn expected_slices(findings: &[Finding]) -> Slices {
    let mut slices = Slices::new();
    let mut requests = Vec::new();
    let end = findings.iter().find_map(|finding| match finding {
        Finding::Summary(summary) => Some(summary.end),
        _ => None,
    });
    for finding in findings {
        match finding {
            Finding::Hang(hang) => {
                let name = format!("hang: {}", hang.cause().name());
                slices.push((name, hang.start, hang.end));
                for stall in &hang.stalls {
                    slices.extend(vec![of_stall(stall); track_count(stall)]);
                }
                let request = &hang.request;
                let key = (request.id.clone(), request.client, request.start);
                if !requests.contains(&key) {
                    requests.push(key);
                    let operation = request.operation.clone().unwrap_or_default();
                    let path = request.path.clone().unwrap_or_default();
                    let name = match format!("{operation} {path}").trim() {
                        "" => "request".to_owned(),
                        name => name.to_owned(),
                    };
                    slices.push((name, request.start, request.start + request.duration));
                }
            }
            Finding::Incident(incident) => {
                let name = format!("incident: {}", incident.cause.name());
                let end = incident.end.or(end).unwrap_or_default();
                slices.push((name, incident.start, end));
            }
            _ => {}
        }
    }
    slices.sort();
    slices
}

/// The tracks of a stall: a queued request is not on the device's.
fn track_count(stall: &Stall) -> usize {
    if stall.op == Op::Lock { 1 } else { 2 }
}

fn of_stall(stall: &Stall) -> (String, Nanos, Nanos) {
    let name = format!("{}: {}", stall.op.name(), stall.cause.name());
    (name, stall.start, stall.start + stall.duration)
}

#[test]
fn slices_are_those_of_the_findings() -> Result<()> {
    for name in replays::names()? {
        let findings = findings(&name)?;
        let slices = slices(&packets(&findings)?).with_context(|| name.clone())?;
        assert_eq!(slices, expected_slices(&findings), "{name}");
    }
    Ok(())
}

/// Losses that are tried of each recording, one at a time: every event of a short one.
const LOSSES: usize = 20;

/// Findings after lost events may overlap as real ones cannot.
#[test]
fn slices_are_those_of_the_findings_whichever_event_is_lost() -> Result<()> {
    for name in replays::names()? {
        let events = recording::read(&replays::recording(&name))?;
        let whole = without_summary(replay(&events));
        // The last one is the end, the first the session.
        for lost in (1..events.len() - 1).step_by((events.len() / LOSSES).max(1)) {
            let kept = events.iter().enumerate();
            let kept = kept.filter(|(index, _)| *index != lost);
            let findings = replay(kept.map(|(_, event)| event));
            if without_summary(findings.clone()) == whole {
                continue;
            }
            let case = format!("{name} without event {lost}");
            let slices = slices(&packets(&findings)?).with_context(|| case.clone())?;
            assert_eq!(slices, expected_slices(&findings), "{case}");
        }
    }
    Ok(())
}

/// Which has no slice, and counts each event.
fn without_summary(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|finding| !matches!(finding, Finding::Summary(_)));
    findings
}

//! The hangs: closed, which request was blocked and for how long; open, by what, and the evidence.

use std::collections::HashMap;

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::{Map, Value};
use tracer_format::{
    Time,
    describe::{NOT_OVER, chain, client, operation_and_path, wait},
    record::{self, Request},
    text::{between, clean, clock, count, digits, duration, moment, span},
};
use tracer_model::Op;

use super::{chip, class, figure, label};
use crate::report::{
    summary::{FromFile, Report, WholeHang},
    timeline::nanos,
};

/// A stall with all that its trace has of it.
type Stall = record::Stall<String, Map<String, Value>>;

/// Ranks of the hangs, by the ids of their requests: a request that queued links to the one in the device.
type Ranks<'a> = HashMap<&'a str, usize>;

pub(super) fn section(report: &Report) -> Markup {
    if report.worst_hangs.is_empty() {
        return html! {};
    }
    let ids = report.worst_hangs.iter().enumerate().rev();
    let ranks: Ranks<'_> = ids
        .filter_map(|(rank, hang)| Some((hang.record.request.id.as_deref()?, rank)))
        .collect();
    html! {
        section #hangs {
            h2 { "Hangs, the longest first" }
            @if report.hangs_left_out > 0 {
                p.hint { "These " (report.worst_hangs.len()) " are the longest of "
                    (digits(report.total.hangs)) "; all are counted above." }
            }
            p.tools hidden {
                label { "Show only " input type="search" id="filter" placeholder="path, client, cause, request id"; }
                button type="button" id="all" { "Open all" }
            }
            @for (rank, hang) in report.worst_hangs.iter().enumerate() {
                (one(report, rank, hang, &ranks))
            }
        }
    }
}

fn one(report: &Report, rank: usize, hang: &FromFile<WholeHang>, ranks: &Ranks<'_>) -> Markup {
    let record = &hang.record;
    html! {
        details class=(format!("hang {}", class(&record.cause))) {
            summary {
                span.time { (duration(record.duration_ns)) } " "
                (chip(&record.cause)) " "
                span.asked { (operation_and_path(&record.request))
                    @if let Some(client) = client(&record.request) { " " span.of { "of " (client) } } } " "
                span.when { (clock(record.start)) }
            }
            div id=(format!("h{rank}")) {
                p.explanation { (clean(&record.explanation)) }
                (facts(report, hang))
                (chain_to_scale(record))
                div.scroll { (stalls(record, ranks)) }
                @for (place, stall) in record.stalls.iter().enumerate() {
                    (evidence(place, stall))
                }
            }
        }
    }
}

fn facts(report: &Report, hang: &FromFile<WholeHang>) -> Markup {
    let record = &hang.record;
    let request = &record.request;
    let file = &report.files[hang.file].file;
    let facts = [
        ("device", Some(record.device.to_string())),
        ("request id", request.id.clone()),
        ("client", client(request)),
        ("blocked", Some(span(record.start, record.end))),
        ("request took", Some(took(request))),
        (
            "answered",
            request.status.map(|status| format!("HTTP {status}")),
        ),
        ("tie", request.tie.as_ref().map(ToString::to_string)),
        ("in", (report.files.len() > 1).then(|| file.clone())),
    ];
    let facts = facts
        .iter()
        .filter_map(|(name, fact)| Some((name, fact.as_ref()?)));
    html! {
        dl.facts {
            @for (name, fact) in facts { div { dt { (name) } dd { (clean(fact)) } } }
        }
    }
}

fn took(request: &Request) -> String {
    let took = duration(request.duration_ns);
    let least = if request.duration_is_lower_bound {
        "at least "
    } else {
        ""
    };
    format!("{least}{took}")
}

/// Its stalls, to scale.
fn chain_to_scale(hang: &WholeHang) -> Markup {
    let start = nanos(hang.start);
    let end_of = |stall: &Stall| nanos(stall.start).saturating_add_unsigned(stall.duration_ns);
    let end = hang.stalls.iter().map(end_of).max();
    let Some(end) = end.filter(|end| *end > start) else {
        return html! {};
    };
    let percent = |time: i64| time as f64 / (end - start) as f64 * 100.0;
    html! {
        svg.chain width="100%" height="34" role="img" aria-label=(chain(&hang.stalls)) {
            @for stall in &hang.stalls {
                @let from = nanos(stall.start);
                    @let (x, width) = (percent(from - start), percent(stall.duration_ns.min(i64::MAX.unsigned_abs()) as i64));
                    svg x=(format!("{x:.3}%")) width=(format!("{width:.3}%")) y="0" height="34" {
                        rect class=(format!("stall {} {}", op_class(stall), class(&stall.cause))) x="0.5" y="2" width="100%" height="14" {
                            title { (wait(&stall.op)) " " (duration(stall.duration_ns)) }
                        }
                        @if width > 15.0 { text x="2" y="29" { (wait(&stall.op)) } }
                    }
            }
        }
    }
}

/// The class of an operation: queueing is drawn paler.
pub(super) fn op_class(stall: &Stall) -> &'static str {
    match stall.op.known() {
        Some(Op::Lock) => "op-lock",
        Some(Op::Write) => "op-write",
        _ => "op-connect",
    }
}

fn stalls(hang: &WholeHang, ranks: &Ranks<'_>) -> Markup {
    html! {
        table.stalls {
            thead { tr { th {} th { "waited to" } th { "entry" } th { "after" } th { "for" } th { "ended" } th { "cause" } } }
            tbody {
                @for (place, stall) in hang.stalls.iter().enumerate() {
                    tr {
                        td { (place + 1) }
                        td { (wait(&stall.op)) (behind(stall, ranks)) }
                        td { (clean(&stall.phase)) }
                        td { (duration(between(hang.start, stall.start))) }
                        td { @if stall.uncertainty_ns.is_some() { "about " } (duration(stall.duration_ns)) }
                        td { (ended(stall)) }
                        td { (clean(&stall.cause)) }
                    }
                }
            }
        }
    }
}

fn ended(stall: &Stall) -> String {
    let outcome = stall.outcome.as_ref().map_or(NOT_OVER.into(), clean);
    let errno = stall.errno.as_ref();
    let errno = errno.map(|errno| format!(" ({})", clean(errno)));
    outcome.into_owned() + &errno.unwrap_or_default()
}

/// Of a wait for the lock: the request that was in the device.
fn behind(stall: &Stall, ranks: &Ranks<'_>) -> Markup {
    let Some(id) = &stall.blocked_by else {
        return html! { @if stall.inferred { " (inferred)" } };
    };
    html! {
        " behind "
        @match ranks.get(&**id) {
            Some(rank) => { a href=(format!("#h{rank}")) { (shortened(id)) } }
            None => { (shortened(id)) }
        }
        @if stall.inferred { " (inferred)" }
    }
}

/// The first eight characters of a UUID tell it from the others of a page.
fn shortened(id: &str) -> String {
    clean(id).chars().take(8).collect()
}

fn evidence(place: usize, stall: &Stall) -> Markup {
    let figures = figures(&stall.evidence);
    let frames = stall.evidence.get("frames").and_then(Value::as_array);
    let frames: Vec<_> = frames
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if figures.is_empty() && frames.is_empty() {
        return html! {};
    }
    html! {
        h4 { "What shows it: " (place + 1) ". " (wait(&stall.op)) }
        dl.evidence {
            @for (name, figure) in figures { div { dt { (name) } dd { (figure) } } }
        }
        @if !frames.is_empty() {
            p.frames { "stack, innermost first: "
                @for frame in frames { code { (clean(frame)) } " " } }
        }
    }
}

/// Each figure once, with its values when the stall began and when it ended.
fn figures(evidence: &Map<String, Value>) -> Vec<(String, String)> {
    let none = Map::new();
    let at_end = evidence
        .get("at_end")
        .and_then(Value::as_object)
        .unwrap_or(&none);
    let known = evidence
        .iter()
        .filter(|(name, _)| !["at_end", "frames"].contains(&&***name));
    let both = known.map(|(name, begin)| {
        let begin = shown(name, begin);
        let end = at_end.get(name).map(|end| shown(name, end));
        let change = match end {
            Some(end) if end != begin => format!("{begin} \u{2192} {end}"),
            _ => begin,
        };
        (label(name), change)
    });
    let only_at_end = at_end
        .iter()
        .filter(|(name, _)| !evidence.contains_key(*name));
    let only_at_end =
        only_at_end.map(|(name, end)| (label(name), format!("{} at its end", shown(name, end))));
    both.chain(only_at_end).collect()
}

fn shown(name: &str, value: &Value) -> String {
    let moment = value
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok());
    moment.map_or_else(|| figure(name, value), |at| clock(Time(at)))
}

pub(super) fn under_way(report: &Report) -> Markup {
    if report.under_way.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Blocked when the trace was cut" }
            ul {
                @for FromFile { record, .. } in &report.under_way {
                    li { (duration(record.blocked_ns)) " so far, since " (moment(record.start)) ": "
                        (operation_and_path(&record.request)) " by " (clean(&record.device.to_string()))
                        " (" (clean(&record.op)) ", " (clean(&record.cause)) ")"
                        @if record.waiting > 0 { "; " (count(record.waiting, "request")) " behind it" } }
                }
                @if report.under_way_left_out > 0 { li { "and " (report.under_way_left_out) " more" } }
            }
        }
    }
}

//! The tables of the page: percentiles, rankings, incidents, lost entries, files.

use maud::{Markup, html};
use tracer_format::{
    record::Incident,
    text::{between, bytes, clean, count, digits, duration, moment},
};

use super::chip;
use crate::report::{
    summary::{FromFile, Ranking, Report},
    text,
};

pub(super) fn times(report: &Report) -> Markup {
    let Some(times) = &report.percentiles else {
        return html! {};
    };
    let rows = [
        ("half", times.p50_ns),
        ("90 %", times.p90_ns),
        ("99 %", times.p99_ns),
        ("99.9 %", times.p999_ns),
        ("all", report.longest_ns),
    ];
    let longest = report.waits.iter().map(|wait| wait.duration_ns).max();
    html! {
        section.columns {
            div {
                h2 { "How long hangs were" }
                table {
                    thead { tr { th { "of all hangs" } th { "took at most" } th {} } }
                    tbody { @for (part, time) in rows {
                        tr { td { (part) } td.number { (duration(time)) } td.meter { (meter(time, report.longest_ns)) } }
                    } }
                }
                p.hint { "To " (times.precision * 100.0) " %." }
            }
            div {
                h2 { "What they waited for" }
                table {
                    thead { tr { th { "operation" } th { "waits" } th { "time" } th {} } }
                    tbody { @for wait in &report.waits {
                        tr { td { (clean(&wait.op)) } td.number { (digits(wait.count)) }
                            td.number { (duration(wait.duration_ns)) }
                            td.meter { (meter(wait.duration_ns, longest.unwrap_or(0))) } }
                    } }
                }
                p.hint { "lock: queueing for the device behind another request." }
            }
        }
    }
}

/// A bar, as a part of the largest.
fn meter(part: u64, most: u64) -> Markup {
    let percent = part as f64 / most.max(1) as f64 * 100.0;
    html! {
        svg width="100%" height="10" aria-hidden="true" {
            rect.meter width=(format!("{percent:.1}%")) height="10" rx="2" {}
        }
    }
}

pub(super) fn affected(report: &Report) -> Markup {
    let affected = &report.affected;
    let tables = [
        ("Paths most affected", &affected.paths),
        ("Clients", &affected.clients),
        ("Operations", &affected.operations),
    ];
    html! {
        @if tables.iter().any(|(_, ranking)| !ranking.top.is_empty()) {
            section.columns {
                @for (what, ranking) in tables {
                    @if !ranking.top.is_empty() { div { h2 { (what) } (of_ranking(ranking)) } }
                }
            }
        }
    }
}

fn of_ranking(ranking: &Ranking) -> Markup {
    let most = ranking
        .top
        .first()
        .map_or(0, |named| named.totals.blocked_ns);
    let others = &ranking.others;
    html! {
        table {
            thead { tr { th { "name" } th { "hangs" } th { "time lost" } th {} } }
            tbody {
                @for named in &ranking.top {
                    tr { td.name { (clean(&named.name)) } td.number { (digits(named.totals.hangs)) }
                        td.number { (duration(named.totals.blocked_ns))
                            @if named.at_most_more_ns > 0 { " or up to " (duration(named.at_most_more_ns)) " more" } }
                        td.meter { (meter(named.totals.blocked_ns, most)) } }
                }
                @if others.totals.hangs > 0 {
                    tr { td.name { @if others.names_is_lower_bound { "more than " } (digits(others.names)) " others" }
                        td.number { (digits(others.totals.hangs)) }
                        td.number { (duration(others.totals.blocked_ns)) } td {} }
                }
            }
        }
    }
}

pub(super) fn incidents(report: &Report) -> Markup {
    if report.incidents.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Incidents" }
            p.hint { "From a device's first failure to its first success." }
            div.scroll { table {
                thead { tr { th { "began" } th { "device" } th { "cause" } th { "lasted" } th { "requests" } th { "time lost" } th { "entries lost" } th { "not taken" } th { "never tried" } } }
                tbody { @for FromFile { record, .. } in &report.incidents {
                    tr { td { (moment(record.start)) } td { (clean(&record.device.to_string())) } td { (chip(&record.cause)) }
                        td { @match record.end {
                            Some(end) => { (duration(between(record.start, end))) }
                            None => { "to the end of the server or the trace" }
                        } }
                        td.number { (digits(record.requests)) } td.number { (duration(record.blocked_ns)) }
                        td.number { (record.lost_entries.map(digits).unwrap_or_default()) }
                        td.number { (untaken(record, record.failed_entries)) }
                        td.number { (untaken(record, record.missed_entries)) } }
                } }
            } }
            @if report.incidents_left_out > 0 { p { "And " (digits(report.incidents_left_out)) " that cost less." } }
        }
    }
}

pub(super) fn losses(report: &Report) -> Markup {
    if report.lost.is_empty() && report.fillings.is_empty() {
        return html! {};
    }
    html! {
        section {
            h2 { "Entries not acknowledged, and warnings" }
            ul {
                @for FromFile { record, .. } in &report.fillings {
                    li { (moment(record.at)) ": " (clean(&record.explanation)) }
                }
                @for FromFile { record, .. } in &report.lost {
                    li { (moment(record.at)) ": " (clean(&record.explanation))
                        @if !record.requests.is_empty() {
                            details { summary { (count(record.requests.len() as u64, "request")) " (" (bytes(record.bytes)) ")" }
                                p.ids { @for id in &record.requests { code { (clean(id)) } " " } } }
                        }
                    }
                }
            }
            @let more = report.lost_left_out + report.fillings_left_out;
            @if more > 0 { p { "And " (digits(more)) " more." } }
        }
    }
}

pub(super) fn files(report: &Report) -> Markup {
    html! {
        section #files {
            h2 { "The trace itself" }
            @for file in &report.files {
                article {
                    h3 { (clean(&file.file)) }
                    @for line in text::about_file(file) { p { (line) } }
                    @for line in text::missing(&file.trace) {
                        p.warning[!file.trace.is_whole()] { (line) }
                    }
                }
            }
        }
    }
}

/// Entries that a device did not take: `12`, `at least 7`.
fn untaken(incident: &Incident, entries: Option<u64>) -> String {
    let least = if incident.untaken_is_lower_bound {
        "at least "
    } else {
        ""
    };
    entries.map_or_else(String::new, |entries| format!("{least}{}", digits(entries)))
}

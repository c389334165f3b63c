//! The report as a page: one file that loads nothing, for screens of any size, for paper, light and dark. Text of a trace is
//! escaped (by `maud`), and the page's content security policy forbids any script and style but its own.

mod hangs;
mod tables;
mod timeline;

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use tracer_format::{
    Name,
    text::{
        between, bytes,
        cause::{remedy, seen},
        clean, count, digits, duration, moment, span,
    },
};
use tracer_model::Cause;

use super::{
    summary::{DeviceSummary, Report},
    text,
};

const STYLE: &str = include_str!("html/assets/page.css");
const SCRIPT: &str = include_str!("html/assets/page.js");

/// The page, as HTML.
pub fn page(report: &Report) -> String {
    let headline = text::headline_of(report);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { "vault-tracer report: " (headline) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (header(report, &headline))
                main {
                    (figures(report))
                    (devices(report))
                    (timeline::section(report))
                    (hangs::under_way(report))
                    (hangs::section(report))
                    (tables::times(report))
                    (tables::affected(report))
                    (tables::incidents(report))
                    (tables::losses(report))
                    (tables::files(report))
                }
                footer {
                    "Made by vault-tracer " (env!("CARGO_PKG_VERSION"))
                    ". Times are UTC. This page loads nothing and sends nothing."
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// Allows nothing but the style and the script that are in the page.
fn policy() -> String {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
}

fn header(report: &Report, headline: &str) -> Markup {
    let is_whole = report.files.iter().all(|file| file.trace.is_whole());
    html! {
        header {
            p.what { "vault-tracer report" }
            h1 { (headline) }
            @if let (Some(start), Some(end)) = (report.start, report.end) {
                p { (span(start, end)) " (" (duration(between(start, end))) "), "
                    @match &*report.files {
                        [one] => { (clean(&one.file)) }
                        several => { (several.len()) " files" }
                    }
                }
            }
            @if let Some(forwarded) = &report.forwarded { p { (forwarded.sentence()) } }
            @if !is_whole {
                p.warning { "The trace is not whole: counts and durations are lower bounds. "
                    a href="#files" { "What is missing" } }
            }
        }
    }
}

fn figures(report: &Report) -> Markup {
    let lost: u64 = report
        .devices
        .iter()
        .map(|device| device.lost.entries)
        .sum();
    let pending: u64 = report
        .devices
        .iter()
        .map(|device| device.pending.entries)
        .sum();
    let mut figures = vec![
        ("requests blocked", digits(report.requests_blocked)),
        ("time lost", duration(report.total.blocked_ns)),
        ("longest hang", duration(report.longest_ns)),
    ];
    if let Some(times) = &report.percentiles {
        figures.push(("median hang", duration(times.p50_ns)));
    }
    if report.refusals > 0 {
        figures.push(("failed immediately for", count(report.refusals, "request")));
    }
    figures.push(("entries lost", digits(lost)));
    if pending > 0 {
        figures.push(("entries not acknowledged yet", digits(pending)));
    }
    html! {
        dl.figures {
            @for (name, figure) in figures {
                div { dt { (name) } dd { (figure) } }
            }
        }
    }
}

fn devices(report: &Report) -> Markup {
    html! {
        @if !report.devices.is_empty() {
            section {
                h2 { "What happened, and why" }
                @for device in &report.devices { (of_device(report, device)) }
                @if let Some(others) = report.other_devices {
                    p { "Further devices: " (count(others.hangs, "hang")) ", " (duration(others.blocked_ns)) " in all." }
                }
            }
        }
    }
}

fn of_device(report: &Report, device: &DeviceSummary) -> Markup {
    let warning = (report.fillings.iter()).find(|f| f.record.device == device.device);
    html! {
        article.device {
            h3 { (clean(&device.device.to_string())) }
            p.facts { (text::facts(device)) }
            @for cause in &device.causes {
                div class=(format!("cause {}", class(&cause.cause))) {
                    p { (chip(&cause.cause)) " "
                        @if cause.total.hangs > 0 {
                            (count(cause.total.hangs, "hang")) ", " (duration(cause.total.blocked_ns)) ". "
                        }
                        @if cause.refusals > 0 { "Failed immediately for " (count(cause.refusals, "request")) ". " }
                        @if let Some(words) = cause.cause.known().map(seen) { "Seen: " (words) "." }
                    }
                    p.explanation { (clean(&cause.explanation)) }
                    @if let Some(words) = cause.cause.known().map(remedy) { p.remedy { "Remedy: " (words) } }
                }
            }
            @for line in text::losses(device) { p.loss { (line) "." } }
            @if let Some(warning) = warning {
                p { "Warned at " (moment(warning.record.at)) ": " (clean(&warning.record.explanation)) }
            }
        }
    }
}

/// The colour of what has no cause, or one without a colour of its own.
const NO_CAUSE: &str = "c";

/// The classes that colour this cause. A name of a later version, which may be any text, is no class.
fn class(cause: &Name<Cause>) -> String {
    match cause.known() {
        Some(cause) => format!("{NO_CAUSE} c-{}", cause.name()),
        None => NO_CAUSE.to_owned(),
    }
}

fn chip(cause: &Name<Cause>) -> Markup {
    html! {
        span class=(format!("chip {}", class(cause))) { (clean(cause)) }
    }
}

/// A figure of evidence, by the unit in its name: `103.0 kB`, `0.50 s`, or as it is.
fn figure(name: &str, value: &serde_json::Value) -> String {
    match value.as_u64() {
        Some(number) if name.ends_with("_bytes") => bytes(number),
        Some(number) if name.ends_with("_ns") => duration(number),
        Some(number) => digits(number),
        None => value.as_str().map_or_else(
            || clean(&value.to_string()).into_owned(),
            |text| clean(text).into_owned(),
        ),
    }
}

/// `send queue` of `send_queue_bytes`.
fn label(name: &str) -> String {
    let name = name.strip_suffix("_bytes").unwrap_or(name);
    let name = name.strip_suffix("_ns").unwrap_or(name);
    clean(&name.replace('_', " ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_evidence_have_their_unit() {
        let shown = |name, value: serde_json::Value| (label(name), figure(name, &value));
        assert_eq!(
            shown("send_queue_bytes", 103_000.into()),
            ("send queue".into(), "103.0 kB".into())
        );
        assert_eq!(
            shown("rto_ns", 204_000_000.into()),
            ("rto".into(), "0.20 s".into())
        );
        assert_eq!(
            shown("drop_reason", "NETFILTER_DROP".into()),
            ("drop reason".into(), "NETFILTER_DROP".into())
        );
    }

    #[test]
    fn style_and_script_cannot_end_their_own_element() {
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"));
        assert!(!STYLE.contains("url(") && !SCRIPT.contains("http"));
    }
}

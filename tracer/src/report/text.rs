//! The report as plain text, for a ticket: the answer first. At most 80 columns wide, but for longer words.

mod tables;

pub(super) use tables::{about_file, missing};

use std::fmt::Write as _;

use textwrap::Options;

use tracer_format::{
    describe::{chain, client, operation_and_path},
    text::{
        between, bytes,
        cause::{remedy, seen},
        clean, count, digits, duration, explain, moment, span,
    },
};

use super::summary::{
    CauseSummary, Completeness, DeviceSummary, FromFile, Lost, Report, WholeHang,
};

const WIDTH: usize = 80;

/// Hangs that are listed.
const HANGS: usize = 5;

/// The report as text.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    headline(&mut out, report);
    if let Some(forwarded) = &report.forwarded {
        paragraph(&mut out, "", &forwarded.sentence());
    }
    for device in &report.devices {
        of_device(&mut out, report, device);
    }
    if let Some(others) = report.other_devices {
        let line = format!(
            "further devices: {}, {} in all",
            count(others.hangs, "hang"),
            duration(others.blocked_ns)
        );
        paragraph(&mut out, "\n", &line);
    }
    under_way(&mut out, report);
    worst(&mut out, report);
    tables::times(&mut out, report);
    tables::affected(&mut out, report);
    tables::incidents(&mut out, report);
    tables::files(&mut out, report);
    out
}

/// Adds a wrapped, indented paragraph.
fn paragraph(out: &mut String, indent: &str, text: &str) {
    let spaces = indent.trim_start_matches('\n');
    let options = Options::new(WIDTH)
        .initial_indent(indent)
        .subsequent_indent(spaces)
        .break_words(false);
    // Each indented line begins a new one.
    let _ = writeln!(out, "{}", textwrap::fill(text, options));
}

fn title(out: &mut String, text: &str) {
    let _ = writeln!(out, "\n{}", text.to_uppercase());
}

fn headline(out: &mut String, report: &Report) {
    let text = headline_of(report);
    paragraph(out, "", &text);
    let mut seen = Vec::new();
    if let (Some(start), Some(end)) = (report.start, report.end) {
        let lasted = duration(between(start, end));
        seen.push(format!("{} ({lasted})", span(start, end)));
    }
    let sum = |of: fn(&super::summary::FileSummary) -> Option<u64>| {
        report
            .files
            .iter()
            .filter_map(of)
            .reduce(u64::saturating_add)
    };
    if let Some(requests) = sum(|file| file.requests) {
        let is_least = report.files.iter().any(|file| file.requests_is_lower_bound);
        let least = if is_least { "at least " } else { "" };
        seen.push(format!("{least}{} seen", count(requests, "request")));
    }
    if let Some(writes) = sum(|file| file.audit_writes) {
        seen.push(format!("{} written", count(writes, "entry")));
    }
    match &*report.files {
        [one] => seen.push(clean(&one.file).into_owned()),
        several => seen.push(format!("{} files", several.len())),
    }
    paragraph(out, "", &seen.join("; "));
    if report.is_clean()
        && let Some(failed) = sum(|file| file.failed_requests)
        && let Some(requests) = sum(|file| file.requests)
        && let Some(sentence) = explain::unexplained(failed, requests)
    {
        paragraph(out, "", &sentence);
    }
    let unsound = report.files.iter().filter(|file| !file.trace.is_whole());
    if unsound.count() > 0 {
        let text =
            "The trace is not whole (see THE TRACE ITSELF): counts and durations are lower bounds.";
        paragraph(out, "", text);
    }
}

/// The report in a sentence.
pub(super) fn headline_of(report: &Report) -> String {
    let devices = devices(report);
    let total = &report.total;
    let missing = report.files.iter().map(|file| file.trace.hangs_missing);
    let missing: u64 = missing.sum();
    match (total.hangs, report.refusals) {
        (0, 0) if !report.under_way.is_empty() => {
            "Requests were blocked when the trace was cut.".to_owned()
        }
        (0, 0) if missing > 0 => format!(
            "{} missing from the trace ({}): requests were blocked, and it does not say which.",
            if missing == 1 {
                "1 hang is".to_owned()
            } else {
                format!("{} are", count(missing, "hang"))
            },
            lacking(report)
        ),
        (0, 0) if report.lacks_records() => {
            format!(
                "Not known whether requests were blocked: {}.",
                lacking(report)
            )
        }
        (0, 0) if report.is_clean() => format!("{}.", explain::ALL_WELL),
        (0, 0) => format!("No request was blocked, but {devices} had trouble."),
        (0, refusals) if report.lacks_records() => format!(
            "{devices} {}; not known whether requests were blocked: {}.{}",
            explain::failed_for(refusals),
            lacking(report),
            main_cause(report)
        ),
        (0, refusals) => format!(
            "No request was blocked; {devices} {}.{}",
            explain::failed_for(refusals),
            main_cause(report)
        ),
        (hangs, _) => {
            let requests = report.requests_blocked;
            let worst = match hangs {
                1 => String::new(),
                _ => format!(" in all, {} at worst", duration(report.longest_ns)),
            };
            let number = if hangs == requests {
                String::new()
            } else {
                format!(" ({})", count(hangs, "hang"))
            };
            format!(
                "{devices} blocked {} for {}{worst}{number}.{}",
                count(requests, "request"),
                duration(total.blocked_ns),
                main_cause(report)
            )
        }
    }
}

/// The device, if there is one only.
fn devices(report: &Report) -> String {
    match &*report.devices {
        [one] if report.other_devices.is_none() => clean(&one.device.to_string()).into_owned(),
        several => count(several.len() as u64, "audit device"),
    }
}

/// ` Cause: local_drop (this host itself dropped the packets).`, if one device has all the trouble.
fn main_cause(report: &Report) -> String {
    let [one] = &*report.devices else {
        return String::new();
    };
    let Some(first) = one.causes.first() else {
        return String::new();
    };
    let word = if one.causes.len() > 1 {
        "Main cause"
    } else {
        "Cause"
    };
    let what = first.cause.known().map(seen);
    let what = what.map_or_else(String::new, |what| format!(" ({what})"));
    format!(" {word}: {}{what}.", clean(&first.cause))
}

/// What the traces lack, in a few words.
fn lacking(report: &Report) -> String {
    let sum = |of: fn(&Completeness) -> u64| -> u64 {
        report.files.iter().map(|file| of(&file.trace)).sum()
    };
    let mut words = Vec::new();
    let mut add = |number: u64, what: String| words.extend((number > 0).then_some(what));
    let damaged = sum(|trace| trace.damaged_lines);
    add(
        damaged,
        format!("{} could not be read", count(damaged, "damaged line")),
    );
    let torn = sum(|trace| u64::from(trace.torn));
    add(torn, "its last line is cut".to_owned());
    let lost = sum(|trace| trace.events_lost.unwrap_or(0));
    add(lost, format!("{} lost in the kernel", count(lost, "event")));
    if words.is_empty() {
        words.push("records are missing".to_owned());
    }
    words.join(", ")
}

/// `5 hangs, 27.06 s in all, longest 8.02 s, failed immediately for 1 request, up to 3 queued`
pub(super) fn facts(device: &DeviceSummary) -> String {
    let mut facts = Vec::new();
    if device.total.hangs > 0 {
        facts.push(count(device.total.hangs, "hang"));
        facts.push(format!("{} in all", duration(device.total.blocked_ns)));
        facts.push(format!("longest {}", duration(device.longest_ns)));
    }
    if device.refusals > 0 {
        facts.push(explain::failed_for(device.refusals));
    }
    if device.most_waiting > 0 {
        facts.push(format!("up to {} queued", digits(device.most_waiting)));
    }
    facts.join(", ")
}

fn of_device(out: &mut String, report: &Report, device: &DeviceSummary) {
    let name = device.device.to_string();
    paragraph(out, "\n", &format!("{}: {}", clean(&name), facts(device)));
    for cause in &device.causes {
        of_cause(out, cause);
    }
    for line in losses(device) {
        paragraph(out, "  ", &line);
    }
    if device.fillings > 0 {
        let last = report
            .fillings
            .iter()
            .find(|f| f.record.device == device.device);
        if let Some(last) = last {
            let at = moment(last.record.at);
            let why = clean(&last.record.explanation);
            paragraph(out, "  ", &format!("warned at {at}: {why}"));
        }
    }
    if device.incidents > 0 {
        let open = match device.incidents_open {
            0 => "; the device works again".to_owned(),
            _ if report.files.len() == 1 => {
                "; the device did not work again before the server or the trace ended".to_owned()
            }
            open => format!("; {open} without an end when the server or the trace ended"),
        };
        let text = format!("{}{open}", count(device.incidents, "incident"));
        paragraph(out, "  ", &text);
    }
}

fn of_cause(out: &mut String, cause: &CauseSummary) {
    let mut facts = Vec::new();
    if cause.total.hangs > 0 {
        let time = duration(cause.total.blocked_ns);
        facts.push(format!("{}, {time}", count(cause.total.hangs, "hang")));
    }
    if cause.refusals > 0 {
        facts.push(explain::failed_for(cause.refusals));
    }
    let name = clean(&cause.cause);
    let what = cause
        .cause
        .known()
        .map(seen)
        .map(|what| format!(": {what}"));
    let text = format!("{name} ({}){}", facts.join(", "), what.unwrap_or_default());
    paragraph(out, "  ", &text);
    paragraph(out, "    ", &clean(&cause.explanation));
    if let Some(known) = cause.cause.known() {
        paragraph(out, "    ", &format!("Remedy: {}", remedy(known)));
    }
}

/// Entries that a device did not acknowledge.
pub(super) fn losses(device: &DeviceSummary) -> Vec<String> {
    let describe = |lost: &Lost, what: &str| {
        let least = if lost.is_lower_bound { "at least " } else { "" };
        let entries = count(lost.entries, "whole entry");
        (lost.bytes > 0).then(|| format!("{least}{entries} ({}) {what}", bytes(lost.bytes)))
    };
    let lost = describe(
        &device.lost,
        &format!("never acknowledged: {}", explain::MAY_LACK),
    );
    let pending = describe(
        &device.pending,
        "not acknowledged when the trace ended; the kernel was still trying to deliver them",
    );
    lost.into_iter().chain(pending).collect()
}

fn under_way(out: &mut String, report: &Report) {
    if report.under_way.is_empty() {
        return;
    }
    title(out, "blocked when the trace was cut");
    for FromFile { record, .. } in report.under_way.iter().take(HANGS) {
        let line = format!(
            "{} so far, since {}: {} by {} ({}, {})",
            duration(record.blocked_ns),
            moment(record.start),
            operation_and_path(&record.request),
            clean(&record.device.to_string()),
            clean(&record.op),
            clean(&record.cause),
        );
        paragraph(out, "  ", &line);
    }
    let more = report.under_way.len().saturating_sub(HANGS) as u64 + report.under_way_left_out;
    if more > 0 {
        let _ = writeln!(out, "  and {more} more");
    }
}

fn worst(out: &mut String, report: &Report) {
    if report.worst_hangs.is_empty() {
        return;
    }
    title(out, "worst hangs");
    for hang in report.worst_hangs.iter().take(HANGS) {
        one_hang(out, report, hang);
    }
    let listed = report.worst_hangs.len().min(HANGS) as u64;
    if report.total.hangs > listed {
        let more = digits(report.total.hangs - listed);
        let _ = writeln!(out, "  and {more} that were shorter");
    }
}

fn one_hang(out: &mut String, report: &Report, FromFile { file, record }: &FromFile<WholeHang>) {
    let device = record.device.to_string();
    let (device, cause) = (clean(&device), clean(&record.cause));
    let time = format!(
        "{:>9}  {}",
        duration(record.duration_ns),
        moment(record.start)
    );
    let first = format!("{time}  {device}  {cause}");
    let request = &record.request;
    let mut lines = Vec::new();
    if first.chars().count() <= WIDTH {
        let _ = writeln!(out, "{first}");
    } else {
        let _ = writeln!(out, "{time}  {cause}");
        lines.push(device.to_string());
    }
    let whose = client(request).map(|client| format!(" of client {client}"));
    lines.push(format!(
        "{}{}",
        operation_and_path(request),
        whose.unwrap_or_default()
    ));
    if let Some(id) = &request.id {
        lines.push(format!("request {}", clean(id)));
    }
    lines.push(chain(&record.stalls));
    if report.files.len() > 1 {
        lines.push(format!("in {}", clean(&report.files[*file].file)));
    }
    for line in lines {
        paragraph(out, "           ", &line);
    }
}

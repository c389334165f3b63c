//! Reports on the traces of the recordings: the expected text and JSON (`UPDATE_REPLAYS=1` writes them), and for every
//! trace the numbers that a count over its JSON gives, which shares no code with the reader.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer::report::{self, aggregate::Aggregator, html, summary::Report, text};

use crate::case::{Case, replay, to_lines};

/// Recordings with expected reports: many requests that queue, two devices, entries that are lost.
const CASES: [&str; 4] = ["convoy", "filling-warning", "lost-entries", "two-devices"];

/// The case's name and its trace.
fn traces() -> Result<Vec<(String, String)>> {
    let cases = Case::all()?;
    let trace = |case: &Case| Ok((case.name(), to_lines(&replay(&case.events))?));
    cases.iter().map(trace).collect()
}

fn report_on(trace: &str) -> Result<Report> {
    let mut totals = Aggregator::default();
    report::read(&mut totals, "trace.jsonl", trace.as_bytes())?;
    Ok(totals.finish())
}

#[test]
fn reports_are_those_that_are_expected() -> Result<()> {
    for case in CASES {
        let Case {
            directory, events, ..
        } = Case::open(case)?;
        let report = report_on(&to_lines(&replay(&events))?)?;
        for (name, actual) in [
            ("expected.report.txt", text::text(&report)),
            ("expected.report.json", report::json(&report)?),
        ] {
            let path = directory.join(name);
            if env::var_os("UPDATE_REPLAYS").is_some() {
                fs::write(&path, &actual)?;
            }
            let expected = fs::read_to_string(&path);
            let expected = expected.with_context(|| format!("cannot read {}", path.display()))?;
            assert_eq!(actual, expected, "{case}: {name}");
        }
    }
    Ok(())
}

/// For a ticket: no line wider than a terminal but where a word is, and nothing that a terminal obeys.
#[test]
fn reports_are_plain_and_narrow() -> Result<()> {
    for (name, trace) in traces()? {
        let text = text::text(&report_on(&trace)?);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
            assert!(!line.chars().any(char::is_control), "{name}: {line}");
        }
        // The answer, then what is wrong with which device.
        assert!(text.lines().next().is_some_and(|line| !line.is_empty()));
    }
    Ok(())
}

/// The writer and the reader of the format agree.
#[test]
fn every_trace_is_read_to_the_numbers_that_it_holds() -> Result<()> {
    for (name, trace) in traces()? {
        let records: Vec<Value> = trace
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let report = report_on(&trace)?;
        check_numbers(&report, &records).context(name)?;
    }
    Ok(())
}

fn check_numbers(report: &Report, records: &[Value]) -> Result<()> {
    let of = |kind: &'static str| records.iter().filter(move |record| record["type"] == kind);
    let number = |record: &Value, name: &str| record[name].as_u64().unwrap_or(0);
    let sum = |kind, name| of(kind).map(|record| number(record, name)).sum::<u64>();
    let reported: Value = serde_json::from_str(&report::json(report)?)?;
    let file = &reported["files"][0];
    let same = |name: &str, reported: &Value, counted: u64| {
        ensure!(
            reported.as_u64() == Some(counted),
            "{name}: {reported}, not {counted}"
        );
        Ok(())
    };
    same("records", &file["records"], records.len() as u64)?;
    same("damaged", &file["damaged_lines"], 0)?;
    same("unknown", &file["unknown_records"], 0)?;
    ensure!(
        file["complete"] == true && file["has_beginning"] == true,
        "not whole"
    );
    same("hangs", &reported["hangs"], of("hang").count() as u64)?;
    same(
        "time lost",
        &reported["blocked_ns"],
        sum("hang", "duration_ns"),
    )?;
    let longest = of("hang").map(|hang| number(hang, "duration_ns")).max();
    same("longest", &reported["longest_ns"], longest.unwrap_or(0))?;
    same(
        "refusals",
        &reported["refusals"],
        sum("summary", "refusals"),
    )?;
    let requests: BTreeSet<_> = of("hang").map(|hang| identity(&hang["request"])).collect();
    same(
        "requests",
        &reported["requests_held_up"],
        requests.len() as u64,
    )?;
    for name in ["requests", "audit_writes", "events", "events_lost"] {
        same(name, &file[name], sum("summary", name))?;
    }
    same("missing hangs", &file["hangs_missing"], 0)?;
    same(
        "lost entries",
        &file["lost"]["entries"],
        sum("lost_entries", "entries"),
    )?;
    same(
        "lost bytes",
        &file["lost"]["bytes"],
        sum("lost_entries", "bytes"),
    )?;
    let waits = of("hang")
        .filter_map(|hang| hang["stalls"].as_array())
        .flatten();
    let mut by_op = BTreeMap::<String, u64>::new();
    for stall in waits {
        let op = stall["op"].as_str().unwrap_or_default();
        *by_op.entry(op.to_owned()).or_default() += number(stall, "duration_ns");
    }
    let reported_by_op = report
        .waits
        .iter()
        .map(|wait| (wait.op.to_string(), wait.duration_ns));
    ensure!(reported_by_op.collect::<BTreeMap<_, _>>() == by_op, "waits");
    check_records(&reported["worst_hangs"], of("hang"))?;
    check_records(&reported["incidents"], of("incident"))?;
    check_records(&reported["lost"], of("lost_entries"))?;
    check_records(&reported["fillings"], of("filling"))?;
    check_page(report, records)
}

/// The id, or what else there is to know it by.
fn identity(request: &Value) -> String {
    match request["id"].as_str() {
        Some(id) => id.to_owned(),
        None => format!(
            "{} {} {}",
            request["client_address"], request["client_port"], request["start"]
        ),
    }
}

/// Each record is reported with fields that are equal to those in the trace.
fn check_records<'a>(reported: &Value, records: impl Iterator<Item = &'a Value>) -> Result<()> {
    let reported = reported.as_array().context("no list")?;
    let records: Vec<_> = records.collect();
    ensure!(
        reported.len() == records.len(),
        "{} of {}",
        reported.len(),
        records.len()
    );
    let is_part = |reported: &Value, record: &Value| {
        let mut fields = reported.as_object().into_iter().flatten();
        fields.all(|(name, value)| name == "file" || *value == record[name])
    };
    for one in reported {
        let found = records.iter().any(|record| is_part(one, record));
        ensure!(found, "no such record: {one}");
    }
    Ok(())
}

/// On the page there is a bar and an entry for each hang, and a lane for each device.
fn check_page(report: &Report, records: &[Value]) -> Result<()> {
    let page = html::page(report);
    let hangs = records
        .iter()
        .filter(|record| record["type"] == "hang")
        .count();
    let count = |text: &str| page.matches(text).count();
    ensure!(count("<rect class=\"bar ") == hangs, "bars");
    ensure!(count("<details class=\"hang ") == hangs, "entries");
    ensure!(
        count("<svg class=\"lane\"") == report.devices.len(),
        "lanes"
    );
    Ok(())
}

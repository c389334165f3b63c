//! The types and names that the public contract promises of a JSON Lines trace. Fields beyond those are welcome.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

const OPERATIONS: [&str; 3] = ["connect", "write", "lock"];
const PHASES: [&str; 2] = ["request", "response"];
const OUTCOMES: [&str; 5] = ["timeout", "ok", "refused", "reset", "error"];
const TRANSPORTS: [&str; 3] = ["tcp", "udp", "unix"];
const TIES: [&str; 4] = ["goroutine", "lineage", "payload", "queued"];
const CAUSES: [&str; 10] = [
    "syn_unanswered",
    "no_ack",
    "zero_window",
    "local_drop",
    "refused",
    "reset",
    "unreachable",
    "peer_full",
    "resolver",
    "unknown",
];

/// Checks a whole trace: the session first, the summary last and once, every record as promised.
pub fn check(text: &str) -> Result<()> {
    ensure!(text.ends_with('\n'), "the last line is cut short");
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect::<Result<_>>()?;
    for record in &records {
        check_record(record).with_context(|| format!("in the record {record}"))?;
    }
    let of_type = |kind: &str| {
        let places = records
            .iter()
            .enumerate()
            .filter(|(_, r)| r["type"] == kind);
        places.map(|(place, _)| place).collect::<Vec<_>>()
    };
    ensure!(
        of_type("session") == [0],
        "not one session, at the beginning"
    );
    let last = records.len() - 1;
    ensure!(of_type("summary") == [last], "not one summary, at the end");
    Ok(())
}

/// Checks one record.
pub fn check_record(record: &Value) -> Result<()> {
    check_names("", record)?;
    match string(record, "type")? {
        "session" => check_session(record),
        "hang" => check_hang(record),
        "refusal" => check_refusal(record),
        "summary" => check_summary(record),
        _ => Ok(()),
    }
}

/// What a name promises holds wherever it stands, in whatever record; and what is unknown is absent.
fn check_names(name: &str, value: &Value) -> Result<()> {
    match value {
        Value::Null => bail!("{name} is null, where it ought to be absent"),
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| check_names(name, value)),
        Value::Array(values) => values.iter().try_for_each(|value| check_names("", value)),
        _ if name.ends_with("_ns") || name.ends_with("_bytes") => {
            ensure!(value.is_u64(), "{name} is no whole number: {value}");
            Ok(())
        }
        _ if ["start", "end", "at"].contains(&name) => check_time(name, value),
        _ => Ok(()),
    }
}

/// RFC 3339 in UTC with nanoseconds.
fn check_time(name: &str, value: &Value) -> Result<()> {
    let text = value.as_str().unwrap_or_default();
    let pattern = text.replace(|c: char| c.is_ascii_digit(), "9");
    ensure!(
        pattern == "9999-99-99T99:99:99.999999999Z",
        "{name} is no time: {value}"
    );
    Ok(())
}

fn check_session(record: &Value) -> Result<()> {
    for name in ["version", "exe", "kernel", "start"] {
        string(record, name)?;
    }
    number(record, "pid")?;
    for probe in array(record, "probes")? {
        string(probe, "hook").and(string(probe, "kind"))?;
    }
    Ok(())
}

fn check_hang(record: &Value) -> Result<()> {
    string(record, "start").and(string(record, "end"))?;
    ensure!(
        record["start"].as_str() <= record["end"].as_str(),
        "ends before it starts"
    );
    ensure!(
        !string(record, "explanation")?.is_empty(),
        "explains nothing"
    );
    one_of(record, "cause", &CAUSES)?;
    check_device(record)?;
    check_request(record)?;
    let stalls = array(record, "stalls")?;
    for stall in stalls {
        check_stall(stall).with_context(|| format!("in the stall {stall}"))?;
    }
    let sum = stalls.iter().map(|stall| number(stall, "duration_ns"));
    let sum: u64 = sum.sum::<Result<_>>()?;
    ensure!(
        sum == number(record, "duration_ns")?,
        "the stalls add up to {sum}"
    );
    Ok(())
}

fn check_refusal(record: &Value) -> Result<()> {
    string(record, "start")?;
    number(record, "duration_ns")?;
    check_device(record)?;
    check_request(record)
}

fn check_summary(record: &Value) -> Result<()> {
    string(record, "end")?;
    for name in ["requests", "audit_writes", "hangs", "events", "events_lost"] {
        number(record, name)?;
    }
    Ok(())
}

fn check_device(record: &Value) -> Result<()> {
    one_of(&record["device"], "transport", &TRANSPORTS)?;
    string(&record["device"], "address").map(drop)
}

fn check_request(record: &Value) -> Result<()> {
    let request = &record["request"];
    string(request, "start")?;
    number(request, "duration_ns")?;
    for name in ["id", "operation", "path", "client_address", "http_version"] {
        ensure!(
            optional(request, name, Value::is_string),
            "request.{name} is no string"
        );
    }
    ensure!(
        optional(request, "client_port", Value::is_u64),
        "request.client_port is no number"
    );
    if request.get("tie").is_some() {
        one_of(request, "tie", &TIES)?;
    }
    Ok(())
}

fn check_stall(stall: &Value) -> Result<()> {
    one_of(stall, "op", &OPERATIONS)?;
    one_of(stall, "phase", &PHASES)?;
    one_of(stall, "cause", &CAUSES)?;
    string(stall, "start")?;
    number(stall, "duration_ns")?;
    if stall.get("outcome").is_some() {
        one_of(stall, "outcome", &OUTCOMES)?;
    }
    ensure!(
        optional(stall, "evidence", Value::is_object),
        "evidence is no object"
    );
    Ok(())
}

fn string<'a>(record: &'a Value, name: &str) -> Result<&'a str> {
    let value = record[name].as_str();
    value.with_context(|| format!("{name} is no string: {}", record[name]))
}

fn number(record: &Value, name: &str) -> Result<u64> {
    let value = record[name].as_u64();
    value.with_context(|| format!("{name} is no whole number: {}", record[name]))
}

fn array<'a>(record: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let value = record[name].as_array();
    value.with_context(|| format!("{name} is no array: {}", record[name]))
}

fn one_of(record: &Value, name: &str, allowed: &[&str]) -> Result<()> {
    let value = string(record, name)?;
    ensure!(
        allowed.contains(&value),
        "{name} is {value}, not one of {allowed:?}"
    );
    Ok(())
}

fn optional(record: &Value, name: &str, is: impl Fn(&Value) -> bool) -> bool {
    record.get(name).is_none_or(is)
}

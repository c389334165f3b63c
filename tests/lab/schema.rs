//! What the public contract says of a trace, beyond what `docs/trace.schema.json` can say.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tracer_format::{
    Name, Named, Record,
    record::{Device, Hang, Stall},
};

/// Checks a whole trace: the session first, the summary last and once, every record as promised.
pub fn check(text: &str) -> Result<()> {
    ensure!(text.ends_with('\n'), "the last line is cut short");
    let records: Vec<_> = text.lines().map(check_line).collect::<Result<_>>()?;
    let places = |is: fn(&Record) -> bool| -> Vec<_> {
        let found = records.iter().enumerate().filter(|(_, record)| is(record));
        found.map(|(place, _)| place).collect()
    };
    ensure!(
        places(|record| matches!(record, Record::Session(_))) == [0],
        "not one session, at the beginning"
    );
    ensure!(
        places(|record| matches!(record, Record::Summary(_))) == [records.len() - 1],
        "not one summary, at the end"
    );
    Ok(())
}

/// Checks one record.
pub fn check_record(record: &Value) -> Result<()> {
    let read = read(&record.to_string())?;
    // Another order of fields, but the same fields.
    ensure!(
        serde_json::to_value(read)? == *record,
        "other fields: {record}"
    );
    Ok(())
}

fn check_line(line: &str) -> Result<Record> {
    let record = read(line)?;
    // No field that is not declared, no other spelling of a number or a time, and nothing null.
    ensure!(
        serde_json::to_string(&record)? == line,
        "other fields: {line}"
    );
    Ok(record)
}

fn read(line: &str) -> Result<Record> {
    let record = Record::parse(line.as_bytes()).with_context(|| format!("no record: {line}"))?;
    let record = record.with_context(|| format!("of an unknown type: {line}"))?;
    let checked = match &record {
        Record::Hang(hang) => check_hang(hang),
        Record::Refusal(refusal) => {
            check_device(&refusal.device).and_then(|()| check_name(&refusal.cause))
        }
        _ => Ok(()),
    };
    checked.with_context(|| format!("in the record {line}"))?;
    Ok(record)
}

fn check_hang(hang: &Hang) -> Result<()> {
    ensure!(hang.start <= hang.end, "ends before it starts");
    ensure!(!hang.explanation.is_empty(), "explains nothing");
    check_device(&hang.device)?;
    check_name(&hang.cause)?;
    hang.request.tie.as_ref().map_or(Ok(()), check_name)?;
    hang.stalls.iter().try_for_each(check_stall)?;
    let sum: u64 = hang.stalls.iter().map(|stall| stall.duration_ns).sum();
    ensure!(sum == hang.duration_ns, "the stalls add up to {sum}");
    Ok(())
}

fn check_stall(stall: &Stall) -> Result<()> {
    check_name(&stall.op)?;
    check_name(&stall.phase)?;
    check_name(&stall.cause)?;
    stall.outcome.as_ref().map_or(Ok(()), check_name)
}

fn check_device(device: &Device) -> Result<()> {
    check_name(&device.transport)
}

fn check_name<T: Named>(name: &Name<T>) -> Result<()> {
    ensure!(name.known().is_some(), "the contract has no {name}");
    Ok(())
}

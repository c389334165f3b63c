//! Traces against the JSON Schema that is shipped (`docs/trace.schema.json`), by a validator that is none of ours.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, ensure};
use test_support::replays;

/// Says that Python has no `jsonschema`.
const NO_PACKAGE: i32 = 77;

/// How many records were valid; `None` where there is no validator.
fn validate(traces: &[impl AsRef<Path>]) -> Result<Option<Result<usize, String>>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut python = Command::new("python3");
    python.arg(here.join("validate_trace.py"));
    python.arg(here.join("../docs/trace.schema.json"));
    python.args(traces.iter().map(AsRef::as_ref));
    let output = match python.output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if output.status.code() == Some(NO_PACKAGE) {
        return Ok(None);
    }
    if !output.status.success() {
        return Ok(Some(Err(String::from_utf8(output.stderr)?)));
    }
    let valid = String::from_utf8(output.stdout)?;
    Ok(Some(Ok(valid.trim().parse()?)))
}

/// Not by `eprintln!`, which a test that passes keeps to itself.
fn not_run(test: &str) -> Result<()> {
    let why = "needs python3 with jsonschema (pip install jsonschema)";
    Ok(writeln!(io::stderr(), "\nNOT RUN: {test} {why}\n")?)
}

#[test]
fn every_expected_trace_is_valid() -> Result<()> {
    let names = replays::names()?;
    let traces = names
        .iter()
        .map(|name| replays::directory(name).join("expected.jsonl"));
    let traces: Vec<_> = traces.filter(|trace| trace.is_file()).collect();
    let mut records = 0;
    for trace in &traces {
        records += fs::read_to_string(trace)?.lines().count();
    }
    ensure!(records > 0, "no traces");
    match validate(&traces)? {
        Some(valid) => assert_eq!(valid, Ok(records)),
        None => not_run("every_expected_trace_is_valid")?,
    }
    Ok(())
}

/// A schema that takes everything would prove nothing.
#[test]
fn records_that_break_the_contract_are_invalid() -> Result<()> {
    let whole = fs::read_to_string(replays::directory("convoy").join("expected.jsonl"))?;
    let hang = whole
        .lines()
        .find(|line| line.starts_with(r#"{"type":"hang""#));
    let hang = hang.context("no hang")?;
    let directory = tempfile::tempdir()?;
    for (of, instead) in [
        (r#""type":"hang""#, r#""type":"hung""#),
        (r#""transport":"tcp""#, r#""transport":"sctp""#),
        (r#""cause":"local_drop""#, r#""cause":null"#),
        (r#""duration_ns":"#, r#""duration_ns":-"#),
        (r#""phase":"#, r#""part":"#),
        (r#"Z""#, r#"""#),
    ] {
        let broken = hang.replacen(of, instead, 1);
        ensure!(broken != hang, "{of} is not in {hang}");
        let trace = directory.path().join("broken.jsonl");
        fs::write(&trace, broken + "\n")?;
        match validate(&[&trace])? {
            Some(valid) => assert!(valid.is_err(), "{instead} is valid"),
            None => return not_run("records_that_break_the_contract_are_invalid"),
        }
    }
    Ok(())
}

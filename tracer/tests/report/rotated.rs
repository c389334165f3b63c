//! Traces of which several are in one file, and traces that are in several files.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{convoy, directory, failure, run, text_of};

pub(crate) const BEGINS: &str = r#"{"type":"session","version":"0.1.0","pid":7,"exe":"/usr/bin/bao","kernel":"6.1","start":"2026-11-29T12:00:00.000000000Z","probes":[]}"#;

/// The session of a file that goes on with a trace.
fn part(number: u32) -> String {
    let mut session: Value = serde_json::from_str(BEGINS).expect("JSON");
    session["part"] = number.into();
    session.to_string()
}

pub(crate) fn stalled() -> String {
    json!({"type": "stalled", "hang": "h1", "device": {"transport": "tcp", "address": "10.0.0.2:1515"},
        "start": "2026-11-29T12:00:01.000000000Z", "at": "2026-11-29T12:00:02.000000000Z", "op": "write",
        "cause": "no_ack", "request": {"start": "2026-11-29T12:00:01.000000000Z", "duration_ns": 1_000_000_000},
        "blocked_ns": 1_000_000_000, "waiting": 0})
    .to_string()
}

fn hang() -> String {
    json!({"type": "hang", "id": "h1", "start": "2026-11-29T12:00:01.000000000Z",
        "end": "2026-11-29T12:00:03.000000000Z", "duration_ns": 2_000_000_000_u64,
        "device": {"transport": "tcp", "address": "10.0.0.2:1515"}, "cause": "no_ack", "explanation": "It was blocked.",
        "request": {"start": "2026-11-29T12:00:01.000000000Z", "duration_ns": 2_000_000_000_u64}, "stalls": []})
    .to_string()
}

pub(crate) fn rotated(part: u32) -> String {
    json!({"type": "rotated", "part": part}).to_string()
}

fn summary(hangs: u64) -> String {
    json!({"type": "summary", "end": "2026-11-29T12:00:09.000000000Z", "requests": 9, "audit_writes": 18,
        "hangs": hangs, "refusals": 0, "incidents": 0, "events": 90, "events_lost": 0})
    .to_string()
}

fn write(directory: &Path, name: &str, lines: &[String]) {
    fs::write(directory.join(name), lines.join("\n") + "\n").expect("written");
}

fn report(directory: &Path, files: &[&str]) -> Value {
    let output = run(&[files, &["--format", "json"]].concat(), directory, b"");
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A hang that begins in the first file and ends in the last, and whose `stalled` record is no second hang.
#[test]
fn the_files_of_a_trace_are_one_trace_in_whatever_order_they_are_given() {
    let directory = directory();
    let at = directory.path();
    write(at, "t.2", &[BEGINS.to_owned(), stalled(), rotated(1)]);
    write(at, "t.1", &[part(2), rotated(2)]);
    write(at, "t", &[part(3), hang(), summary(1)]);
    for files in [["t.2", "t.1", "t"], ["t", "t.1", "t.2"]] {
        let report = report(at, &files);
        assert_eq!(report["hangs"], 1, "{report}");
        assert_eq!(report["under_way"], json!([]), "{report}");
        for (file, name) in ["t.2", "t.1", "t"].iter().enumerate() {
            let file = &report["files"][file];
            assert_eq!(file["file"], *name, "{report}");
            assert_eq!(file["complete"], true, "{report}");
            assert_eq!(file["has_beginning"], true, "{report}");
            assert_eq!(file["hangs_missing"], 0, "{report}");
        }
        assert_eq!(report["files"][2]["requests"], 9, "{report}");
    }
}

#[test]
fn a_hang_that_no_file_has_is_missing_once_all_files_are_given() {
    let directory = directory();
    let at = directory.path();
    write(at, "t.1", &[BEGINS.to_owned(), rotated(1)]);
    write(at, "t", &[part(2), hang(), summary(2)]);
    let both = report(at, &["t.1", "t"]);
    assert_eq!(both["files"][1]["hangs_missing"], 1, "{both}");
    // Alone it cannot be known whether the first one has it.
    let alone = report(at, &["t"]);
    assert_eq!(alone["files"][0]["hangs_missing"], 0, "{alone}");
    assert_eq!(alone["files"][0]["part"], 2, "{alone}");
    let text = text_of(&run(&["t"], at, b"").stdout);
    assert!(
        text.contains("goes on with the trace of an earlier file"),
        "{text}"
    );
}

/// Whether the second part, of which it is damaged, was read to its end is not known.
#[test]
fn no_hang_is_missing_where_the_session_of_a_part_is_damaged() {
    let directory = directory();
    let at = directory.path();
    let damaged = "{".to_owned();
    let lines = [BEGINS.to_owned(), hang(), rotated(1), damaged, rotated(2)];
    write(at, "t.1", &lines);
    write(at, "t", &[part(3), summary(1)]);
    let both = report(at, &["t.1", "t"]);
    assert_eq!(both["hangs"], 1, "{both}");
    assert_eq!(both["files"][1]["hangs_missing"], 0, "{both}");
}

#[test]
fn what_was_under_way_at_the_end_of_a_file_is_so_where_the_next_one_is_missing() {
    let directory = directory();
    let at = directory.path();
    write(at, "t.1", &[BEGINS.to_owned(), stalled(), rotated(1)]);
    let report = report(at, &["t.1"]);
    assert_eq!(report["under_way"][0]["hang"], "h1", "{report}");
    assert_eq!(report["files"][0]["next_part"], 2, "{report}");
    let text = text_of(&run(&["t.1"], at, b"").stdout);
    assert!(text.contains("goes on in a later file"), "{text}");
}

/// As a tracer leaves them that is killed, started again, and appends.
#[test]
fn traces_that_were_appended_are_several_sessions_of_one_file() {
    let directory = directory();
    let at = directory.path();
    let torn = r#"{"type":"hang","id":"#.to_owned();
    let lines = [
        BEGINS.to_owned(),
        stalled(),
        torn,
        BEGINS.to_owned(),
        hang(),
        summary(1),
    ];
    write(at, "t", &lines);
    let report = report(at, &["t"]);
    let file = &report["files"][0];
    assert_eq!(
        file["sessions"].as_array().map(Vec::len),
        Some(2),
        "{report}"
    );
    assert_eq!(file["complete"], false, "{report}");
    assert_eq!(file["damaged_lines"], 1, "{report}");
    assert_eq!(report["under_way"][0]["hang"], "h1", "{report}");
    assert_eq!(report["hangs"], 1, "{report}");
}

#[test]
fn a_file_that_is_given_twice_is_refused() {
    let directory = directory();
    let at = directory.path();
    fs::write(at.join("t"), convoy()).expect("written");
    fs::hard_link(at.join("t"), at.join("link")).expect("linked");
    for files in [["t", "t"], ["t", "./t"], ["t", "link"]] {
        let message = failure(&files, at);
        assert!(message.contains("given twice"), "{message}");
    }
}

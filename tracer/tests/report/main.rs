//! `vault-tracer report`: files that are no traces, damaged traces, several traces, very long traces.

mod library;
mod rotated;

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use flate2::{Compression, write::GzEncoder};
use serde_json::Value;
use tempfile::TempDir;
use test_support::{replays, traces::Trace};

fn run(arguments: &[&str], directory: &Path, input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .arg("report")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut stdin = child.stdin.take().expect("piped");
    // It may not read any of it.
    let _ = stdin.write_all(input);
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn convoy() -> Vec<u8> {
    fs::read(replays::directory("convoy").join("expected.jsonl")).expect("a trace")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The report on a trace with this content, as text and as JSON.
fn report(content: &[u8]) -> (String, Value) {
    let directory = directory();
    fs::write(directory.path().join("trace.jsonl"), content).expect("written");
    let of = |format: &[&str]| {
        let arguments = [&["trace.jsonl"], format].concat();
        let output = run(&arguments, directory.path(), b"");
        assert!(output.status.success(), "{}", text_of(&output.stderr));
        assert_eq!(text_of(&output.stderr), "");
        text_of(&output.stdout)
    };
    let json = serde_json::from_str(&of(&["--format", "json"])).expect("JSON");
    // As one line, however it was wrapped.
    let text = of(&[]);
    (text.split_whitespace().collect::<Vec<_>>().join(" "), json)
}

/// The one line of a failure.
fn failure(arguments: &[&str], directory: &Path) -> String {
    let output = run(arguments, directory, b"");
    let error = text_of(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(output.stdout.is_empty());
    error
}

#[test]
fn files_that_are_no_traces_are_refused_in_one_line_with_a_remedy() {
    let directory = directory();
    let path = directory.path();
    let convoy = replays::directory("convoy");
    let copy = |from: &str, to: &str| fs::copy(convoy.join(from), path.join(to)).expect("copied");
    copy("recording.jsonl", "events");
    copy("expected.otlp.json", "spans");
    fs::write(path.join("empty"), "").expect("written");
    fs::write(path.join("blank"), "\n\n").expect("written");
    fs::write(path.join("words"), "hello\nworld\n").expect("written");
    fs::write(path.join("perfetto"), b"\x0a\x20\x00\x00binary").expect("written");
    fs::write(path.join("hollow"), "{\"type\":\"hang\"}\n").expect("written");
    fs::write(path.join("object"), "{\"a\":1}\n").expect("written");
    for (file, words) in [
        ("missing", &["missing", "cannot open"][..]),
        (".", &["is a directory", "*.jsonl"]),
        ("empty", &["empty is empty"]),
        ("blank", &["blank is not a trace", "--output"]),
        ("words", &["words is not a trace", "not JSON", "--output"]),
        (
            "hollow",
            &["hollow is not a trace", "line 1: missing field"],
        ),
        ("object", &["object is not a trace", "not a record"]),
        ("events", &["recording", "vault-tracer replay"]),
        ("spans", &["OpenTelemetry", "--format jsonl"]),
        ("perfetto", &["Perfetto", "ui.perfetto.dev"]),
    ] {
        let error = failure(&[file], path);
        for word in words {
            assert!(error.contains(word), "{file}: no {word} in {error}");
        }
    }
}

#[test]
fn a_trace_that_was_cut_is_reported_with_the_hangs_under_way() {
    let whole = convoy();
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    // To the first line about the second hang, and a piece of the next.
    let cut = [lines[..5].concat(), lines[5][..100].to_vec()].concat();
    let (text, json) = report(&cut);
    let file = &json["files"][0];
    assert_eq!(
        (&file["complete"], &file["torn"]),
        (&false.into(), &true.into())
    );
    assert_eq!(json["hangs"], 1);
    assert_eq!(json["under_way"][0]["hang"], "hang-2");
    for words in [
        "not whole",
        "vault-tracer was killed",
        "ends in the middle",
        "BLOCKED WHEN THE TRACE WAS CUT",
    ] {
        assert!(text.contains(words), "no {words} in {text}");
    }
    // Whole lines, of which the summary is missing.
    let (_, json) = report(&lines[..lines.len() - 1].concat());
    let file = &json["files"][0];
    assert_eq!(
        (&file["complete"], &file["torn"]),
        (&false.into(), &false.into())
    );
    // A summary without its line's end is all there.
    let (_, json) = report(whole.trim_ascii_end());
    let file = &json["files"][0];
    assert_eq!(
        (&file["complete"], &file["torn"]),
        (&true.into(), &false.into())
    );
}

#[test]
fn damaged_lines_are_skipped_and_counted_and_the_first_is_named() {
    let whole = convoy();
    let mut lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    lines.insert(2, b"{\"type\":\"hang\",\"start\":\n");
    lines.insert(5, b"\xff\xfe garbage \x00\n");
    lines.insert(7, b"{\"type\":\"of-the-future\",\"device\":5}\n");
    let (text, json) = report(&lines.concat());
    let file = &json["files"][0];
    assert_eq!(file["damaged_lines"], 2);
    assert_eq!(file["first_damaged"]["line"], 3);
    assert_eq!(file["unknown_records"], 1);
    assert_eq!(json["hangs"], 5);
    assert!(
        text.contains("2 damaged lines skipped; the first is line 3"),
        "{text}"
    );
    assert!(
        text.contains("1 record of types that this version does not know"),
        "{text}"
    );
}

/// An operator who reads one line must not take it for an answer.
#[test]
fn of_a_trace_whose_hangs_are_damaged_the_first_line_says_so() {
    let whole = convoy();
    let lines = || whole.split_inclusive(|byte| *byte == b'\n');
    let is =
        |line: &[u8], kind: &str| line.starts_with(format!("{{\"type\":\"{kind}\"").as_bytes());
    // Every kind that tells of a hang, with and without the summary that counts them.
    for (with_summary, headline) in [
        (true, "5 hangs are missing from the trace"),
        (false, "Not known whether requests were blocked"),
    ] {
        let mut trace = Vec::new();
        for line in lines() {
            if is(line, "session") || is(line, "summary") && with_summary {
                trace.extend_from_slice(line);
            } else if is(line, "hang") || is(line, "stalled") {
                trace.extend_from_slice(b"\x00\x00 damaged\n");
            }
        }
        let (text, json) = report(&trace);
        assert_eq!(json["hangs"], 0);
        let first: Vec<_> = text.lines().take(2).collect();
        let first = first.join(" ");
        assert!(first.starts_with(headline), "{text}");
        assert!(first.contains("damaged lines could not be read"), "{text}");
    }
    // What is whole and has no hang is not in question.
    let healthy = lines().filter(|line| is(line, "session"));
    let (text, _) = report(&healthy.collect::<Vec<_>>().concat());
    assert!(
        text.starts_with("No audit device blocked or failed a request."),
        "{text}"
    );
}

#[test]
fn a_part_of_a_trace_is_read_and_its_gaps_are_named() {
    let whole = convoy();
    let lines: Vec<_> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let hangs = |lines: &[&[u8]]| {
        lines
            .iter()
            .filter(|l| l.starts_with(b"{\"type\":\"hang\""))
            .count()
    };
    let (text, json) = report(&lines[4..].concat());
    assert_eq!(json["hangs"], hangs(&lines[4..]));
    assert_eq!(json["files"][0]["hangs_missing"], 1);
    assert!(text.contains("does not begin with a session"), "{text}");
    assert!(text.contains("1 hang that its summary counts"), "{text}");
}

#[test]
fn standard_input_and_compressed_traces_are_read_too() {
    let directory = directory();
    let whole = convoy();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&whole).expect("compressed");
    let gzip = gzip.finish().expect("compressed");
    let json = |input: &[u8]| {
        let output = run(&["-", "--format", "json"], directory.path(), input);
        assert!(output.status.success(), "{}", text_of(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let plain = json(&whole);
    assert_eq!(plain["files"][0]["file"], "standard input");
    assert_eq!(json(&gzip), plain);
    let cut = json(&gzip[..gzip.len() * 2 / 3]);
    assert_eq!(cut["files"][0]["torn"], true);
    assert!(cut["hangs"].as_u64() < plain["hangs"].as_u64());
    let none = run(&["-"], directory.path(), b"");
    assert_eq!(
        text_of(&none.stderr),
        "vault-tracer: standard input is empty: no trace was written to it\n"
    );
}

#[test]
fn several_files_are_reported_together_and_one_by_one() {
    let directory = directory();
    for case in ["convoy", "two-devices"] {
        let from = replays::directory(case).join("expected.jsonl");
        fs::copy(from, directory.path().join(case)).expect("copied");
    }
    let output = run(&["convoy", "two-devices"], directory.path(), b"");
    let text = text_of(&output.stdout);
    assert!(
        text.starts_with("2 audit devices blocked 7 requests for 33.07 s in all"),
        "{text}"
    );
    let by_file = text.split("BY FILE").nth(1).expect("files");
    for words in [
        "  convoy\n",
        "  two-devices\n",
        "5 hangs, 27.06 s in all",
        "4 hangs, 6.01 s in all",
    ] {
        assert!(by_file.contains(words), "no {words} in {text}");
    }
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let error = failure(&["convoy", "missing"], directory.path());
    assert!(error.contains("cannot open missing"), "{error}");
}

#[test]
fn the_page_is_for_its_owner_alone_and_overwrites_no_trace() {
    let directory = directory();
    let path = directory.path();
    let trace = path.join("trace.jsonl");
    fs::write(&trace, convoy()).expect("written");
    let output = run(&["trace.jsonl", "--html", "page.html"], path, b"");
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    assert!(text_of(&output.stdout).contains("WORST HANGS"));
    let page = path.join("page.html");
    let mode = fs::metadata(&page).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let written = fs::read_to_string(&page).expect("read");
    // To standard output the same, and the report goes to standard error.
    let output = run(&["trace.jsonl", "--html", "-"], path, b"");
    assert_eq!(text_of(&output.stdout), written);
    assert!(text_of(&output.stderr).contains("WORST HANGS"));

    std::os::unix::fs::symlink(&trace, path.join("link")).expect("linked");
    for (name, words) in [
        ("trace.jsonl", "is one of the traces"),
        ("link", "is one of the traces"),
        (".", "it is a directory"),
        ("nowhere/page.html", "there is no directory nowhere"),
    ] {
        let error = failure(&["trace.jsonl", "--html", name], path);
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(fs::read(&trace).expect("read"), convoy());
    let error = failure(&["missing", "--html", "other.html"], path);
    assert!(error.contains("cannot open missing"), "{error}");
    assert!(!path.join("other.html").exists());
}

/// `script` (Debian's bsdutils) makes the terminal.
#[test]
fn progress_is_shown_on_a_terminal_only() {
    let directory = directory();
    let path = directory.path().join("trace.jsonl");
    let mut file = fs::File::create(&path).expect("created");
    std::io::copy(&mut Trace::of(8000), &mut file).expect("written");
    let command = format!(
        "{} report {} >/dev/null",
        env!("CARGO_BIN_EXE_vault-tracer"),
        path.display()
    );
    let shown = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .output();
    match shown {
        Ok(output) => {
            assert!(output.status.success());
            let shown = text_of(&output.stdout);
            assert!(shown.contains("reading"), "{shown}");
        }
        Err(error) => {
            let line =
                format!("\nNOT RUN: progress_is_shown_on_a_terminal_only: script: {error}\n");
            let _ = std::io::stderr().write_all(line.as_bytes());
        }
    }
    let output = run(&["trace.jsonl"], directory.path(), b"");
    assert_eq!(text_of(&output.stderr), "");
}

//! The command line, as it is typed: no server, no root.

use std::{
    fs::{self, File},
    io::{Read, pipe},
    process::{Command, Output, Stdio},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use test_support::replays;
use tracer_model::FORMAT;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_was_meant_is_suggested_in_the_line_that_says_what_is_wrong() {
    for (typed, meant) in [
        (&["trace", "--tresh", "1s"][..], "'--threshold'"),
        (&["replay", "events", "--formt", "otlp"], "'--format'"),
        (&["trase"], "'trace'"),
        (&["replay", "events", "--format", "otpl"], "'otlp'"),
    ] {
        let output = run(typed);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let (wrong, rest) = said.split_once("; ").expect("two halves");
        assert!(wrong.starts_with("vault-tracer: "), "{said}");
        assert!(rest.contains(meant), "{said}");
        assert!(rest.trim_end().ends_with("(see --help)"), "{said}");
    }
}

#[test]
fn every_help_ends_with_examples_that_can_be_typed() {
    for command in [
        "",
        "trace",
        "replay",
        "report",
        "doctor",
        "stacks",
        "completions",
        "man",
    ] {
        let words: Vec<_> = [command, "--help"]
            .into_iter()
            .filter(|w| !w.is_empty())
            .collect();
        let output = run(&words);
        let help = text(&output.stdout);
        assert!(output.status.success(), "{help}");
        let (_, examples) = help.split_once("Examples:\n").expect("examples");
        let lines: Vec<_> = examples.lines().filter(|line| !line.is_empty()).collect();
        assert!(!lines.is_empty(), "{help}");
        for line in lines {
            let begins = format!("vault-tracer {command}");
            assert!(line.trim_start().starts_with(&begins), "{line}");
            assert!(line.chars().count() <= 105, "{line}");
        }
    }
}

#[test]
fn what_is_no_collector_is_a_usage_error_and_its_secrets_are_kept() {
    for url in [
        "collector:4317",
        "ftp://collector",
        "http://",
        "http://c:port",
        "http://user:secret@c:4318",
        "http://c:4318/?token=secret",
        "http://c:4317/secret",
    ] {
        let output = run(&["trace", "--otlp-endpoint", url]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("'--otlp-endpoint <URL>'"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
    let output = run(&["replay", "events", "--otlp-protocol", "grpc"]);
    assert_eq!(
        output.status.code(),
        Some(2),
        "a protocol without a collector"
    );
}

#[test]
fn a_threshold_below_a_millisecond_is_refused_in_one_line() {
    for threshold in ["0s", "0ms", "999us"] {
        let output = run(&["trace", "--threshold", threshold]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        for words in [
            "'--threshold <TIME>'",
            "healthy requests",
            "give 1ms or more",
        ] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
    }
}

/// A recording of `tests/replays`.
fn recording() -> String {
    fs::read_to_string(replays::recording("zero-window")).expect("a recording")
}

/// That of a recording.
fn replay(recording: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("events");
    fs::write(&path, recording).expect("written");
    run(&[
        "replay",
        "--quiet",
        "--output",
        "-",
        &path.to_string_lossy(),
    ])
}

#[test]
fn a_recording_of_a_format_to_come_is_refused_in_a_line_that_names_both() {
    let session = r#""event":"session","#;
    let of = |format: &str| {
        let events = recording().replacen(session, &format!("{session}\"format\":{format},"), 1);
        replay(&events)
    };
    let today = of("1");
    assert!(today.status.success(), "{}", text(&today.stderr));
    assert_eq!(
        today.stdout,
        replay(&recording()).stdout,
        "as without a number"
    );

    // Nothing else of it need be known.
    let next = FORMAT + 1;
    let unknown = format!("{{\"format\":{next},\"novelty\":[]}}\n{{}}\n");
    for newer in [of(&next.to_string()), replay(&unknown)] {
        let said = text(&newer.stderr);
        assert_eq!(newer.status.code(), Some(1), "{said}");
        assert_eq!((said.lines().count(), newer.stdout.len()), (1, 0), "{said}");
        assert!(
            said.contains(&format!("format {next}"))
                && said.contains(&format!("format {FORMAT}: update")),
            "{said}"
        );
    }
}

#[test]
fn a_recording_that_was_cut_short_ends_with_what_it_holds() {
    let whole = recording();
    for part in [1, 2, 3] {
        let output = replay(&whole[..whole.len() * part / 4]);
        let (said, told) = (text(&output.stderr), text(&output.stdout));
        assert!(output.status.success(), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("was cut short"), "{said}");
        let last = told.lines().last().expect("a record");
        assert!(last.starts_with(r#"{"type":"summary""#), "{last}");
    }
    assert_eq!(text(&replay(&whole).stderr), "");
}

/// As many lines as there are, of which some are longer than the pipe takes at once: it is read later than they are written.
#[test]
fn a_full_pipe_gets_whole_lines_whatever_others_have_set() {
    let events = replays::recording("convoy");
    let events = events.to_str().expect("text");
    for format in ["jsonl", "otlp"] {
        let arguments = [
            "replay", "--quiet", "--format", format, "--output", "-", events,
        ];
        let expected = run(&arguments);
        assert!(expected.status.success(), "{}", text(&expected.stderr));
        let (mut reader, writer) = pipe().expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("set");
        // Of the pipe, not of a descriptor: any process that shares it may have done so.
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("set");
        let agent = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
            .args(arguments)
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let (mut written, mut part) = (Vec::new(), [0; 16]);
        loop {
            let read = reader.read(&mut part).expect("read");
            if read == 0 {
                break;
            }
            written.extend(&part[..read]);
        }
        let output = agent.expect("the program runs").wait_with_output();
        let output = output.expect("its end");
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stderr), "");
        assert_eq!(text(&written), text(&expected.stdout));
    }
}

/// Standard errors that cannot be written: nobody reads on, and a full disk.
fn unwritable() -> [Stdio; 2] {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let full = File::options().write(true).open("/dev/full");
    [writer.into(), full.expect("a full device").into()]
}

#[test]
fn what_standard_error_cannot_take_changes_neither_the_exit_status_nor_the_trace() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (whole, trace) = (recording(), at("t.jsonl"));
    fs::write(at("whole"), &whole).expect("written");
    fs::write(at("cut"), &whole[..whole.len() / 2]).expect("written");
    for (arguments, status) in [
        (&["trase"][..], 2),
        (&["replay", &at("missing")], 1),
        (&["replay", &at("whole"), "-o", &trace], 0),
        (&["replay", &at("cut"), "-o", &trace], 0),
    ] {
        for stderr in unwritable() {
            let output = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
                .args(arguments)
                .stderr(stderr)
                .output()
                .expect("the program runs");
            assert_eq!(output.status.code(), Some(status), "{arguments:?}");
            if status == 0 {
                let written = fs::read_to_string(&trace).expect("a trace");
                let last = written.lines().last().expect("a record");
                assert!(last.starts_with(r#"{"type":"summary""#), "{last}");
                fs::remove_file(&trace).expect("removed");
            }
        }
    }
}

#[test]
fn what_is_no_recording_is_refused_in_one_line_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let trace = replays::directory("zero-window").join("expected.jsonl");
    fs::copy(trace, at("trace")).expect("copied");
    fs::write(at("empty"), "").expect("written");
    fs::write(at("words"), "hello\n").expect("written");
    fs::write(at("begun"), recording().lines().nth(1).expect("an event")).expect("written");
    let damaged = recording().replacen("\n{", "\n{damaged", 2);
    fs::write(at("damaged"), damaged).expect("written");
    for (name, words) in [
        ("missing", &["cannot open the recording"][..]),
        (
            "trace",
            &["trace is a trace, not a recording", "vault-tracer report"],
        ),
        ("empty", &["empty is empty"]),
        ("words", &["words is not a recording", "--record FILE"]),
        ("begun", &["begun is not a recording", "--record FILE"]),
        ("damaged", &["damaged is damaged: line 2 is not an event"]),
    ] {
        let output = run(&["replay", "--quiet", &at(name).to_string_lossy()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert_eq!(said.lines().count(), 1, "{name}: {said}");
        for word in words {
            assert!(said.contains(word), "{name}: no {word:?} in {said}");
        }
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    fs::write(at("events"), recording()).expect("written");
    let pipe = at("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|made| made.success()));
    for (arguments, status, words) in [
        (
            &["replay", &at("events"), "-o", &pipe][..],
            1,
            "start the process that reads this pipe first",
        ),
        (
            &["replay", &at("events"), "-o", &at("events")],
            1,
            "the recording too",
        ),
        (
            &["trace", "--record", "-"],
            2,
            "a recording is written to a file",
        ),
        (
            &["trace", "-o", "t", "--rotate-size", "1k"],
            2,
            "64k or more",
        ),
        (&["trace", "--rotate-size", "1M"], 2, "--output"),
        (&["trace", "-o", "t", "--output-mode", "0440"], 2, "0600"),
        (
            &["trace", "-o", "t", "--output-group", "no-such"],
            2,
            "no group of this name",
        ),
        (&["trace", "--pid", "1", "--port", "8200"], 2, "--port"),
        (&["trace", "--audit", "log"], 2, "expected host:port"),
    ] {
        let output = run(arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

//! The command line, as it is typed: no server, no root.

use std::process::{Command, Output};

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

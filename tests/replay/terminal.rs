//! What the terminal shows of recordings.

use std::{env, fs, io};

use anyhow::Result;
use tracer::sink::terminal::Terminal;

use crate::case::{Case, replay};

/// Requests that queue, two devices, short outages that follow each other, failures at once, waits without a socket, none.
const ON_A_TERMINAL: [&str; 8] = [
    "convoy",
    "firewall-reset",
    "full-accept-queue",
    "healthy-load",
    "lost-entries",
    "name-that-does-not-resolve",
    "two-devices",
    "vault-2.1-syslog-not-reading",
];

/// The beginning of a block.
const TIME: &str = "02:50:30.030Z";

/// Lines that a ticket or a README can hold.
const WIDTH: usize = 100;

fn text_of(case: &Case) -> String {
    let mut terminal = Terminal::to(io::sink(), false);
    let findings = replay(&case.events);
    findings.iter().filter_map(|f| terminal.text(f)).collect()
}

#[test]
fn recordings_show_on_the_terminal_what_is_expected() -> Result<()> {
    for name in ON_A_TERMINAL {
        let case = Case::open(name)?;
        let actual = text_of(&case);
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(case.directory.join("expected.terminal.txt"), &actual)?;
        }
        assert_eq!(actual, case.read("expected.terminal.txt")?, "{name}");
    }
    Ok(())
}

/// Of every recording: an outage has a block, times at the beginning of a block never step back, and no line is wider than a ticket
/// but where a word is.
#[test]
fn every_outage_is_one_block_and_no_line_is_wide() -> Result<()> {
    for case in Case::all()? {
        let text = text_of(&case);
        let blocks = text.lines().filter(|line| line.contains("Z  BLOCKED  "));
        let ends = ["Z  WORKS AGAIN ", "Z  NOT RECOVERED  "];
        let ends = text
            .lines()
            .filter(|line| ends.iter().any(|end| line.contains(end)));
        assert!(blocks.count() <= ends.count(), "{}: {text}", case.name());
        let is_time = |word: &&str| word.len() == TIME.len() && word.ends_with('Z');
        let times = text.lines().filter_map(|line| line.split(' ').next());
        let times: Vec<_> = times.filter(is_time).collect();
        assert!(times.is_sorted(), "{}: {text}", case.name());
        for line in text.lines() {
            let is_word = line.trim().split(' ').count() == 1;
            assert!(line.chars().count() <= WIDTH || is_word, "{line}");
        }
    }
    Ok(())
}

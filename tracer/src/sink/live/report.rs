//! What stays on the terminal when the view is left: the report as lines, but for what went on then.

use std::{collections::VecDeque, io};

use crate::sink::terminal::{Terminal, is_coloured};
use tracer_model::Finding;

/// Findings of which the text is kept; the trace has all.
const KEPT: usize = 500;

/// The report in the making.
pub(super) struct Report {
    terminal: Terminal<io::Sink>,
    /// First, if there is one.
    session: Option<String>,
    texts: VecDeque<String>,
    dropped: u64,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            terminal: Terminal::to(io::sink(), is_coloured()),
            session: None,
            texts: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Takes a finding.
    pub(super) fn take(&mut self, finding: &Finding) {
        if matches!(finding, Finding::Snapshot(_) | Finding::Stalled(_)) {
            return;
        }
        let Some(text) = self.terminal.text(finding) else {
            return;
        };
        if matches!(finding, Finding::Session(_)) {
            self.session = Some(text);
            return;
        }
        if self.texts.len() == KEPT {
            self.texts.pop_front();
            self.dropped += 1;
        }
        self.texts.push_back(text);
    }

    /// All of it.
    pub(super) fn text(self) -> String {
        let mut text = self.session.unwrap_or_default();
        if self.dropped > 0 {
            let left_out = format!(
                "({} earlier findings are left out: a trace file, -o FILE, has all)\n",
                self.dropped
            );
            text.push_str(&left_out);
        }
        text.extend(self.texts);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_what_is_left_out_is_counted() {
        let mut report = Report::new();
        for number in 0..KEPT + 3 {
            report.take(&Finding::Warning(format!("number {number};")));
        }
        let text = report.text();
        assert!(text.starts_with("(3 earlier findings are left out"));
        assert!(!text.contains("number 2;") && text.contains("number 3;"));
        assert!(text.contains("number 502;"));
    }
}

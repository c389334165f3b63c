//! The report that is printed when the view is closed: the lines of the plain terminal output.

use std::{collections::VecDeque, io, mem};

use crate::sink::terminal::{Terminal, is_coloured};
use tracer_model::Finding;

/// Latest findings whose text is kept; the trace has all.
const MAX_FINDINGS: usize = 500;

pub(super) struct ReportPane {
    terminal: Terminal<io::Sink>,
    /// Always the first line.
    session: String,
    findings: VecDeque<String>,
    left_out: u64,
}

impl ReportPane {
    pub(super) fn new() -> Self {
        Self {
            terminal: Terminal::to(io::sink(), is_coloured()),
            session: String::new(),
            findings: VecDeque::new(),
            left_out: 0,
        }
    }

    pub(super) fn add(&mut self, finding: &Finding) {
        // What was under way is over when the report is printed.
        if matches!(finding, Finding::Snapshot(_) | Finding::Stalled(_)) {
            return;
        }
        let Some(text) = self.terminal.text(finding) else {
            return;
        };
        if matches!(finding, Finding::Session(_)) {
            self.session = text;
            return;
        }
        if self.findings.len() == MAX_FINDINGS {
            self.findings.pop_front();
            self.left_out += 1;
        }
        self.findings.push_back(text);
    }

    /// Takes the text out.
    pub(super) fn text(&mut self) -> String {
        let mut text = mem::take(&mut self.session);
        if self.left_out > 0 {
            let left_out = format!(
                "({} earlier findings are left out: a trace file, -o FILE, has all)\n",
                self.left_out
            );
            text.push_str(&left_out);
        }
        text.extend(self.findings.drain(..));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_latest_findings_and_counts_the_others() {
        let mut report = ReportPane::new();
        for number in 0..MAX_FINDINGS + 3 {
            report.add(&Finding::Warning(format!("number {number};")));
        }
        let text = report.text();
        assert!(text.starts_with("(3 earlier findings are left out"));
        assert!(!text.contains("number 2;") && text.contains("number 3;"));
        assert!(text.contains("number 502;"));
    }
}

//! What came out of a guest.

use std::collections::BTreeMap;

use lab::guest::Report;

/// Everything a guest told.
#[derive(Debug, Default)]
pub struct Results {
    /// `uname -r`, once it was up.
    pub release: Option<String>,
    /// Each test's outcome, in libtest's word: `ok`, `FAILED`.
    pub tests: BTreeMap<String, String>,
}

impl Results {
    /// Of the reports' serial port.
    pub fn parse(text: &str) -> Self {
        let mut results = Self::default();
        for line in text.lines() {
            if let Some(Report::Booted { release, .. }) = Report::of_line(line) {
                results.release = Some(release);
            } else if let Some((name, outcome)) = test(line) {
                results.tests.insert(name.to_owned(), outcome.to_owned());
            }
        }
        results
    }
}

/// `test NAME ... ok`, as libtest writes it.
fn test(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_and_outcomes_are_told_apart() {
        let text = "#vm {\"report\":\"booted\",\"release\":\"6.1.0\",\"uptime_ms\":3000}\n\
                    running 2 tests\n\
                    test hang::a ... ok\n\
                    test hang::b ... FAILED\n\
                    test result: FAILED. 1 passed; 1 failed\n";
        let results = Results::parse(text);
        assert_eq!(results.release.as_deref(), Some("6.1.0"));
        let outcomes: Vec<_> = results.tests.iter().map(|(n, o)| (&**n, &**o)).collect();
        assert_eq!(outcomes, [("hang::a", "ok"), ("hang::b", "FAILED")]);
    }
}

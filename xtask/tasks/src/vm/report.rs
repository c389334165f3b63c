//! The report of a guest, read from its serial port.

use std::collections::BTreeMap;

use lab::guest::Report;

/// A probe: the kernel's name of its hook, and how it is attached.
pub type Hook = (String, String);

#[derive(Debug, Default)]
pub struct GuestReport {
    /// `uname -r`, once it was up.
    pub release: Option<String>,
    /// Each test's outcome, in libtest's word: `ok`, `FAILED`.
    pub tests: BTreeMap<String, String>,
    /// Probes that any strategy attached, and whether each was seen to fire.
    pub probes: BTreeMap<Hook, Option<bool>>,
    /// The strategies of probing that were tried (`--probes`), and why one was refused.
    pub strategies: BTreeMap<String, Option<String>>,
    pub complaints: Vec<String>,
    /// Whether the tests have ended.
    pub has_ended: bool,
    /// Their exit status then; `None` if a signal ended them.
    pub status: Option<i32>,
}

impl GuestReport {
    pub fn parse(text: &str) -> Self {
        let mut results = Self::default();
        for line in text.lines() {
            if let Some(report) = Report::of_line(line) {
                results.add(report);
            } else if let Some((name, outcome)) = test(line) {
                results.tests.insert(name.to_owned(), outcome.to_owned());
            }
        }
        results
    }

    fn add(&mut self, report: Report) {
        match report {
            Report::Booted { release, .. } => self.release = Some(release),
            Report::Attached { way, probes } => {
                self.strategies.insert(way, None);
                for probe in probes {
                    let fired = self.probes.entry((probe.hook, probe.kind)).or_default();
                    // One strategy may make it fire where another gives it nothing to do.
                    *fired = (*fired).max(probe.fired);
                }
            }
            Report::Refused { way, error } => {
                self.strategies.insert(way, Some(error));
            }
            Report::ModuleFailed { path, error } => {
                self.complaints.push(format!("cannot load {path}: {error}"));
            }
            Report::Broken { error } => self.complaints.push(error),
            Report::Ended { status, .. } => {
                self.has_ended = true;
                self.status = status;
            }
        }
    }

    /// The series: 6.12 of `6.12.117+deb12-cloud-amd64`.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.as_deref()?.split(['.', '-', '+']);
        let mut number = || numbers.next()?.parse().ok();
        Some((number()?, number()?))
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
        let text = "#vm {\"report\":\"booted\",\"release\":\"6.1.0-5\",\"uptime_ms\":3000}\n\
                    running 2 tests\n\
                    test hang::a ... ok\n\
                    test hang::b ... FAILED\n\
                    #vm {\"report\":\"attached\",\"way\":\"auto\",\"probes\":[{\"kind\":\"fexit\",\"hook\":\"f\"}]}\n\
                    #vm {\"report\":\"attached\",\"way\":\"function\",\"probes\":[{\"kind\":\"fexit\",\"hook\":\"f\",\"fired\":true}]}\n\
                    #vm {\"report\":\"refused\",\"way\":\"socket\",\"error\":\"no\"}\n\
                    test result: FAILED. 1 passed; 1 failed\n";
        let results = GuestReport::parse(text);
        assert_eq!(results.version(), Some((6, 1)));
        let outcomes: Vec<_> = results.tests.iter().map(|(n, o)| (&**n, &**o)).collect();
        assert_eq!(outcomes, [("hang::a", "ok"), ("hang::b", "FAILED")]);
        let fexit = ("f".to_owned(), "fexit".to_owned());
        assert_eq!(results.probes.get(&fexit), Some(&Some(true)));
        assert_eq!(results.strategies["auto"], None);
        assert_eq!(results.strategies["socket"].as_deref(), Some("no"));
    }

    #[test]
    fn a_release_without_a_version_is_none() {
        assert_eq!(GuestReport::parse("").version(), None);
        let release = |release: &str| GuestReport {
            release: Some(release.to_owned()),
            ..GuestReport::default()
        };
        assert_eq!(release("7.3.4+deb13").version(), Some((7, 3)));
        assert_eq!(release("next").version(), None);
    }
}

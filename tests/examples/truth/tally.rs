//! All outcomes, added up.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use lab::truth::SEEN;

use super::{
    kind::CAUSES,
    outcome::{Length, Outcome},
};

/// A row of the matrix.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Cases in which it was injected.
    pub(crate) cases: u64,
    pub(crate) records: u64,
    pub(crate) right: u64,
    /// What else was reported, and how often.
    pub(crate) otherwise: BTreeMap<String, u64>,
}

/// So many of so many.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) right: u64,
    pub(crate) all: u64,
}

impl Share {
    fn add(&mut self, is_right: bool) {
        self.all += 1;
        self.right += u64::from(is_right);
    }

    /// Nothing that could have been wrong is right.
    pub(crate) fn is_at_least(self, per_mille: u64) -> bool {
        self.right * 1000 >= self.all * per_mille
    }
}

/// What all cases say together.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: u64,
    /// Cases that could not be run: seed, and why.
    pub(crate) not_run: Vec<(u64, String)>,
    /// Cases that disagree: seed, the case, and what about.
    pub(crate) disagreements: Vec<(u64, String, Vec<String>)>,
    pub(crate) rows: BTreeMap<String, Row>,
    /// Cases, and those in which all agrees.
    pub(crate) kinds: BTreeMap<String, Share>,
    /// Those of which only IDs and false hangs were compared.
    pub(crate) busy: u64,
    pub(crate) requests: u64,
    pub(crate) blocked: u64,
    pub(crate) ties: u64,
    pub(crate) unnamed: u64,
    pub(crate) wrong_ids: u64,
    pub(crate) false_hangs: u64,
    pub(crate) missing_hangs: u64,
    pub(crate) wrong_devices: u64,
    pub(crate) wrong_lengths: u64,
    pub(crate) wrong_entries: u64,
    /// Within 2 ms and 0.1 %.
    pub(crate) seen: Share,
    /// The same, within what sampling leaves open as well.
    pub(crate) sampled: Share,
    /// The difference of those that were seen, ns.
    pub(crate) differences: Vec<i64>,
    /// Cases whose entries could be counted.
    pub(crate) entries: Share,
    pub(crate) missing_entries: u64,
    pub(crate) reported_entries: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, outcome: &Outcome) {
        self.cases += 1;
        let verdict = &outcome.verdict;
        let disagreements = verdict.disagreements();
        self.busy += u64::from(verdict.busy);
        let kind = self.kinds.entry(format!("{:?}", outcome.kind)).or_default();
        kind.add(disagreements.is_empty());
        self.add_cells(outcome);
        let count = |list: &[String]| list.len() as u64;
        self.requests += verdict.requests;
        self.blocked += verdict.blocked;
        self.ties += verdict.ties;
        self.unnamed += verdict.unnamed;
        self.wrong_ids += count(&verdict.wrong_ids);
        self.false_hangs += count(&verdict.false_hangs);
        self.missing_hangs += count(&verdict.missing_hangs);
        self.wrong_devices += count(&verdict.wrong_devices);
        self.wrong_lengths += count(&verdict.wrong_lengths);
        self.wrong_entries += count(&verdict.wrong_entries);
        verdict
            .lengths
            .iter()
            .for_each(|length| self.add_length(length));
        if let Some(entries) = &verdict.entries {
            self.entries.add(verdict.wrong_entries.is_empty());
            self.missing_entries += entries.missing;
            self.reported_entries += entries.reported;
        }
        if !disagreements.is_empty() {
            let found = (outcome.seed, outcome.case.clone(), disagreements);
            self.disagreements.push(found);
        }
    }

    fn add_cells(&mut self, outcome: &Outcome) {
        let mut injected = BTreeSet::new();
        for cell in &outcome.verdict.cells {
            injected.insert(cell.injected.as_str());
            let row = self.rows.entry(cell.injected.clone()).or_default();
            row.records += 1;
            if cell.injected == cell.reported {
                row.right += 1;
            } else {
                *row.otherwise.entry(cell.reported.clone()).or_default() += 1;
            }
        }
        for cause in injected {
            self.rows.entry(cause.to_owned()).or_default().cases += 1;
        }
    }

    fn add_length(&mut self, length: &Length) {
        let off = Duration::from_nanos(length.off.unsigned_abs());
        let allowed = SEEN + length.took / 1000;
        if length.open.is_zero() {
            self.seen.add(off <= allowed);
            self.differences.push(length.off);
        } else {
            self.sampled.add(off <= allowed + length.open);
        }
    }

    pub(crate) fn causes(&self) -> Share {
        let mut share = Share::default();
        for row in self.rows.values() {
            share.right += row.right;
            share.all += row.records;
        }
        share
    }

    pub(crate) fn named(&self) -> Share {
        Share {
            right: self.ties,
            all: self.ties + self.unnamed + self.wrong_ids,
        }
    }

    /// The difference that so many per mille of those that were seen do not exceed.
    pub(crate) fn difference(&self, per_mille: usize) -> Duration {
        let mut all: Vec<_> = self
            .differences
            .iter()
            .map(|off| off.unsigned_abs())
            .collect();
        all.sort_unstable();
        let index = (all.len() * per_mille / 1000).min(all.len().saturating_sub(1));
        Duration::from_nanos(all.get(index).copied().unwrap_or_default())
    }

    /// The rows in the order of the causes; causes that no case injected have none.
    pub(crate) fn ordered(&self) -> Vec<(&str, &Row)> {
        let named = CAUSES
            .iter()
            .filter_map(|(cause, _)| Some((*cause, self.rows.get(*cause)?)));
        let others = self
            .rows
            .iter()
            .filter(|(cause, _)| !CAUSES.iter().any(|(name, _)| name == cause));
        named
            .chain(others.map(|(cause, row)| (cause.as_str(), row)))
            .collect()
    }

    /// The targets: what, the figure, and whether it is met.
    pub(crate) fn targets(&self) -> Vec<(&'static str, String, bool)> {
        let percent = |share: Share| match share.all {
            0 => "none".to_owned(),
            all => format!(
                "{:.2} % ({} of {all})",
                share.right as f64 / all as f64 * 100.0,
                share.right
            ),
        };
        let none = |what, count: u64| (what, count.to_string(), count == 0);
        vec![
            (
                "cause right: at least 99 %",
                percent(self.causes()),
                self.causes().is_at_least(990),
            ),
            (
                "hangs with the ID of the request that waited: at least 99.9 %",
                percent(self.named()),
                self.named().is_at_least(999),
            ),
            none("hangs with a wrong ID: none", self.wrong_ids),
            none(
                "hangs of requests that were not blocked: none",
                self.false_hangs,
            ),
            none("blocked requests without a hang: none", self.missing_hangs),
            none("records of another device: none", self.wrong_devices),
            none(
                "hangs longer than their request, or shorter than what the client waited: none",
                self.wrong_lengths,
            ),
            (
                "both ends seen: within 2 ms + 0.1 % of the client",
                percent(self.seen),
                self.seen.is_at_least(1000),
            ),
            (
                "an end sampled: within `uncertainty_ns` + 2 ms + 0.1 %",
                percent(self.sampled),
                self.sampled.is_at_least(1000),
            ),
            (
                "cases in which all entries that were lost are counted, and by the right ID: all",
                percent(self.entries),
                self.entries.is_at_least(1000),
            ),
        ]
    }

    /// Whether a run passes: the length to 2 ms depends on what else the machine does, and is in the table only.
    pub(crate) fn passes(&self) -> bool {
        let hard = [
            self.wrong_ids,
            self.false_hangs,
            self.missing_hangs,
            self.wrong_devices,
            self.wrong_lengths,
            self.wrong_entries,
        ];
        self.cases > 0
            && self.causes().is_at_least(990)
            && self.named().is_at_least(999)
            && hard.iter().all(|&count| count == 0)
            && self.not_run.len() as u64 * 20 <= self.cases
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::NOTHING,
        kind::Kind,
        outcome::{Cell, Verdict},
    };

    fn outcome(seed: u64, cells: &[(&str, &str)]) -> Outcome {
        let cell = |(injected, reported): &(&str, &str)| Cell {
            injected: (*injected).to_owned(),
            reported: (*reported).to_owned(),
        };
        Outcome {
            seed,
            kind: Kind::ArrivalsDropped,
            case: String::new(),
            verdict: Verdict {
                cells: cells.iter().map(cell).collect(),
                ..Verdict::default()
            },
        }
    }

    #[test]
    fn a_row_counts_cases_records_and_what_else_was_reported() {
        let mut tally = Tally::default();
        tally.add(&outcome(
            1,
            &[
                ("no_ack", "no_ack"),
                ("no_ack", "unknown"),
                ("syn_unanswered", "syn_unanswered"),
            ],
        ));
        tally.add(&outcome(2, &[("no_ack", NOTHING)]));
        let rows = tally.ordered();
        let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["no_ack", "syn_unanswered"]);
        let otherwise = BTreeMap::from([("unknown".to_owned(), 1), (NOTHING.to_owned(), 1)]);
        assert_eq!(
            *rows[0].1,
            Row {
                cases: 2,
                records: 3,
                right: 1,
                otherwise
            }
        );
        assert_eq!(tally.causes(), Share { right: 2, all: 4 });
        assert!(!tally.passes());
        assert_eq!(tally.disagreements.len(), 2);
    }

    #[test]
    fn a_run_that_agrees_passes_and_one_without_cases_does_not() {
        let mut tally = Tally::default();
        assert!(!tally.passes());
        tally.add(&outcome(1, &[("no_ack", "no_ack")]));
        assert!(tally.passes());
        let mut wrong = outcome(2, &[]);
        wrong.verdict.wrong_ids.push("another's".to_owned());
        tally.add(&wrong);
        assert!(!tally.passes());
    }

    #[test]
    fn a_length_is_right_within_what_was_seen_or_left_open() {
        let ms = Duration::from_millis;
        let length = |off_ms: i64, open| Length {
            took: ms(1000),
            off: off_ms * 1_000_000,
            open,
            slack: ms(0),
        };
        let mut tally = Tally::default();
        for off in [-4, -3, 0, 3, 4] {
            tally.add_length(&length(off, ms(0)));
            tally.add_length(&length(off, ms(1)));
        }
        assert_eq!(tally.seen, Share { right: 3, all: 5 });
        assert_eq!(tally.sampled, Share { right: 5, all: 5 });
        assert_eq!(tally.difference(500), ms(3));
    }
}

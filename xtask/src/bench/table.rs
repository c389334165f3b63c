//! Tables: for the terminal, and as Markdown.

use std::fmt::Write;

use super::{
    figures::Spread,
    summary::{Row, Summary},
    targets::Target,
    variants::How,
};

/// What is in a row.
pub enum Line {
    /// A cell for each column.
    Cells(Vec<String>),
    /// The first cell, and what is to be said instead of the others.
    Instead(String, String),
}

/// A table.
pub struct Table {
    pub title: &'static str,
    pub head: Vec<&'static str>,
    pub lines: Vec<Line>,
}

/// A column: its head, and its cell for a variant.
type Column = (&'static str, fn(&Summary) -> String);

/// What the server's clients notice.
const SERVER: [Column; 8] = [
    ("throughput kept", |s| ratio(&s.throughput_kept)),
    ("req/s", |s| format!("{:.0}", s.requests_per_second.median)),
    ("p50 ms", |s| milliseconds(&s.p50_ns)),
    ("p99 ms", |s| milliseconds(&s.p99_ns)),
    ("p99.9 ms", |s| milliseconds(&s.p999_ns)),
    ("p99 ratio", |s| ratio(&s.p99_ratio)),
    ("server CPU us/req", |s| microseconds(&s.server_ns)),
    ("CPU ratio", |s| ratio(&s.server_ratio)),
];

/// What the host pays.
const HOST: [Column; 10] = [
    ("CPU %", |s| {
        some(s.observer_percent, |cpu| format!("{:.1}", cpu.median))
    }),
    ("MB", |s| some(s.loaded_bytes, megabytes)),
    ("MB at start", |s| some(s.starting_bytes, megabytes)),
    ("BPF us/req", |s| {
        some(s.program_ns_per_request, |ns| microseconds(&ns))
    }),
    ("runs/req", |s| {
        some(s.program_runs_per_request, |runs| {
            format!("{:.1}", runs.median)
        })
    }),
    ("getppid ns", |s| format!("{:.0}", s.getppid_ns.median)),
    ("write ns", |s| format!("{:.0}", s.write_ns.median)),
    ("records/s", |s| {
        some(s.records_per_second, |rate| format!("{:.0}", rate.median))
    }),
    ("records/req", |s| {
        some(s.records_per_request, |rate| format!("{:.2}", rate.median))
    }),
    ("lost", |s| some(s.records_lost, |lost| lost.to_string())),
];

/// The tables of the variants.
pub fn tables(rows: &[Row]) -> [Table; 4] {
    [
        of_columns(
            "What the server's clients notice",
            &SERVER,
            rows,
            |reason| format!("NOT RUN: {reason}"),
        ),
        of_columns(
            "What the host pays: who looks, BPF programs, other processes",
            &HOST,
            rows,
            |_| "NOT RUN: see above".to_owned(),
        ),
        of_floor(rows),
        Table {
            title: "What each tells",
            head: vec!["variant", "tells"],
            lines: rows
                .iter()
                .map(|row| {
                    Line::Cells(vec![
                        row.variant.name.to_owned(),
                        row.variant.what.to_owned(),
                    ])
                })
                .collect(),
        },
    ]
}

/// How far each way of probing is above programs that do nothing on the same hooks.
fn of_floor(rows: &[Row]) -> Table {
    let summary = |wanted: How| {
        let row = rows.iter().find(|row| row.variant.how == wanted)?;
        row.summary()
    };
    let line = |row: &Row| {
        let How::Empty { probes } = row.variant.how else {
            return None;
        };
        let agent = How::Agent {
            probes,
            record: false,
        };
        let (empty, agent) = (row.summary()?, summary(agent)?);
        let programs =
            |summary: &Summary| some(summary.program_ns_per_request, |ns| microseconds(&ns));
        Some(Line::Cells(vec![
            agent.variant.to_owned(),
            ratio(&agent.throughput_kept),
            ratio(&empty.throughput_kept),
            programs(agent),
            programs(empty),
        ]))
    };
    Table {
        title: "Above the floor: programs that do nothing on the same hooks",
        head: vec![
            "variant",
            "throughput kept",
            "by empty ones",
            "BPF us/req",
            "of empty ones",
        ],
        lines: rows.iter().filter_map(line).collect(),
    }
}

/// The table of the targets.
pub fn of_targets(targets: &[Target]) -> Table {
    let line = |target: &Target| {
        Line::Cells(vec![
            target.what.clone(),
            target.found.clone(),
            target.verdict.word().to_owned(),
        ])
    };
    Table {
        title: "Targets",
        head: vec!["target", "found", "verdict"],
        lines: targets.iter().map(line).collect(),
    }
}

fn of_columns(
    title: &'static str,
    columns: &[Column],
    rows: &[Row],
    trouble: fn(&str) -> String,
) -> Table {
    let names = columns.iter().map(|(head, _)| *head);
    Table {
        title,
        head: ["variant"].into_iter().chain(names).collect(),
        lines: rows
            .iter()
            .flat_map(|row| lines(row, columns, trouble))
            .collect(),
    }
}

/// What was measured of a variant, and what went wrong with it.
fn lines(row: &Row, columns: &[Column], trouble: fn(&str) -> String) -> Vec<Line> {
    let name = || row.variant.name.to_owned();
    let measured = row.summary().map(|summary| {
        let cells = columns.iter().map(|(_, cell)| cell(summary));
        Line::Cells([name()].into_iter().chain(cells).collect())
    });
    let rest = row.summary().map_or_else(String::new, |summary| {
        format!("GIVEN UP after {} rounds, ", summary.rounds)
    });
    let instead = row
        .trouble()
        .map(|reason| Line::Instead(name(), rest + &trouble(reason)));
    measured.into_iter().chain(instead).collect()
}

impl Table {
    /// For a terminal: columns as wide as they need to be.
    pub fn text(&self) -> String {
        let widths = self.widths();
        let mut text = format!("{}\n\n", self.title);
        let mut put = |cells: &[&str]| {
            for (place, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                // Words to the left, figures to the right.
                let _ = match place {
                    0 => write!(text, "  {cell:<width$}"),
                    _ if self.is_words() => write!(text, "  {cell:<width$}"),
                    _ => write!(text, "  {cell:>width$}"),
                };
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        };
        put(&self.head);
        for line in &self.lines {
            match line {
                Line::Cells(cells) => put(&cells.iter().map(String::as_str).collect::<Vec<_>>()),
                Line::Instead(name, instead) => put(&[name, instead]),
            }
        }
        text
    }

    /// For a README.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", self.title);
        let mut put = |cells: &[&str]| {
            let cells = cells.iter().map(|cell| cell.replace('|', "\\|"));
            let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        };
        put(&self.head);
        put(&vec!["---"; self.head.len()]);
        for line in &self.lines {
            match line {
                Line::Cells(cells) => put(&cells.iter().map(String::as_str).collect::<Vec<_>>()),
                Line::Instead(name, instead) => put(&[name, instead]),
            }
        }
        text
    }

    fn is_words(&self) -> bool {
        self.head.len() <= 3
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<_> = self.head.iter().map(|head| head.chars().count()).collect();
        for line in &self.lines {
            // What stands instead of cells may go on to the right.
            let cells = match line {
                Line::Cells(cells) => cells.as_slice(),
                Line::Instead(name, _) => std::slice::from_ref(name),
            };
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

fn ratio(spread: &Spread) -> String {
    format!(
        "{:.3} ({:.2}-{:.2})",
        spread.median, spread.lower_quartile, spread.upper_quartile
    )
}

fn milliseconds(ns: &Spread) -> String {
    format!("{:.2}", ns.median / 1e6)
}

fn microseconds(ns: &Spread) -> String {
    format!("{:.1}", ns.median / 1e3)
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn some<T>(figure: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    figure.map_or_else(|| "-".to_owned(), shown)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        super::{figures::samples::measurement, rounds::Results, summary::rows, variants},
        *,
    };

    #[test]
    fn what_did_not_run_stands_in_the_table() {
        let mut variants = variants::all();
        variants.retain(|variant| ["socket", "strace"].contains(&variant.name));
        let results = Results {
            measurements: vec![measurement("socket", 0, 990)],
            given_up: BTreeMap::from([("strace", "no | apt".to_owned())]),
        };
        let rows = rows(&variants, &results);
        let [server, host, _, _] = tables(&rows);
        let text = server.text();
        assert!(text.contains("NOT RUN: no | apt\n"), "{text}");
        assert!(text.contains("0.990 (0.99-0.99)"), "{text}");
        assert!(
            server
                .markdown()
                .contains("| strace | NOT RUN: no \\| apt |")
        );
        assert!(
            host.markdown()
                .contains("| socket | 0.5 | 10.5 | 100.0 | 2.0 | 8.0 | 150 | 200 | 2 | 0.00 | 0 |"),
            "{}",
            host.markdown()
        );
    }
}

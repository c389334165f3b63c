//! The table of the README: probe by kernel, from what the guests reported.

use std::{collections::BTreeSet, time::Duration};

use super::report::Results;

/// A kernel and what came of it.
pub struct Column {
    pub name: &'static str,
    pub results: Results,
    pub took: Duration,
}

/// In Markdown.
pub fn markdown(columns: &[Column]) -> String {
    let mut table = String::new();
    row(&mut table, "", columns, |column| column.name.to_owned());
    row(&mut table, "---", columns, |_| "---".to_owned());
    row(&mut table, "`uname -r`", columns, |column| {
        column.results.release.clone().unwrap_or_default()
    });
    let hooks: BTreeSet<_> = columns
        .iter()
        .flat_map(|c| c.results.probes.keys())
        .collect();
    for hook in hooks {
        let name = format!("{} `{}`", hook.1, hook.0);
        row(&mut table, &name, columns, |column| {
            probe(column.results.probes.get(hook)).to_owned()
        });
    }
    let ways: BTreeSet<_> = columns.iter().flat_map(|c| c.results.ways.keys()).collect();
    for way in ways {
        let name = format!("`--probes {way}`");
        row(&mut table, &name, columns, |column| {
            self::way(column.results.ways.get(way)).to_owned()
        });
    }
    let tests: BTreeSet<_> = columns
        .iter()
        .flat_map(|c| c.results.tests.keys())
        .collect();
    for test in tests {
        row(&mut table, &format!("test `{test}`"), columns, |column| {
            column.results.tests.get(test).cloned().unwrap_or_default()
        });
    }
    row(&mut table, "from power-on to the end", columns, |column| {
        format!("{:.0} s", column.took.as_secs_f64())
    });
    table
}

fn row(table: &mut String, name: &str, columns: &[Column], cell: impl Fn(&Column) -> String) {
    let cells = std::iter::once(name.to_owned()).chain(columns.iter().map(cell));
    let cells: Vec<_> = cells.collect();
    *table += &format!("| {} |\n", cells.join(" | "));
}

fn probe(found: Option<&Option<bool>>) -> &'static str {
    match found {
        None => "-",
        Some(Some(true)) => "fires",
        Some(Some(false)) => "SILENT",
        Some(None) => "attached",
    }
}

fn way(found: Option<&Option<String>>) -> &'static str {
    match found {
        None => "",
        Some(None) => "works",
        Some(Some(_)) => "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_row_for_whatever_any_kernel_reported() {
        let column = |name, text: &str| Column {
            name,
            results: Results::parse(text),
            took: Duration::from_secs(61),
        };
        let old = "#vm {\"report\":\"refused\",\"way\":\"socket\",\"error\":\"no\"}\n";
        let new = "#vm {\"report\":\"attached\",\"way\":\"socket\",\"probes\":[{\"kind\":\"raw_tracepoint\",\"hook\":\"s\",\"fired\":true}]}\ntest a ... ok\n";
        let table = markdown(&[column("5.10", old), column("6.12", new)]);
        for line in [
            "|  | 5.10 | 6.12 |",
            "| raw_tracepoint `s` | - | fires |",
            "| `--probes socket` | refused | works |",
            "| test `a` |  | ok |",
            "| from power-on to the end | 61 s | 61 s |",
        ] {
            assert!(table.lines().any(|l| l == line), "{line}: {table}");
        }
    }
}

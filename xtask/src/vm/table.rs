//! The table of the README: probe by kernel, from what the guests reported.

use std::{collections::BTreeSet, time::Duration};

use super::report::Results;

/// A kernel and what came of it.
pub struct Column {
    /// What it was asked for as.
    pub name: &'static str,
    /// What its guest reported.
    pub results: Results,
    /// From power-on to the end.
    pub took: Duration,
}

/// In Markdown.
pub fn markdown(columns: &[Column]) -> String {
    let row = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells = columns.iter().map(cell).map(|cell| format!(" {cell} |"));
        format!("| {name} |{}\n", cells.collect::<String>())
    };
    let mut rows = vec![
        row("", &|column| column.name.to_owned()),
        row("---", &|_| "---".to_owned()),
        row("`uname -r`", &|column| {
            column.results.release.clone().unwrap_or_default()
        }),
    ];
    let hooks = every(columns, |results| {
        results.probes.keys().map(|(hook, _)| hook)
    });
    for hook in hooks {
        rows.push(row(&format!("`{hook}`"), &|column| {
            probes(&column.results, hook)
        }));
    }
    for name in every(columns, |results| results.ways.keys()) {
        rows.push(row(&format!("`--probes {name}`"), &|column| {
            way(column.results.ways.get(name)).to_owned()
        }));
    }
    for test in every(columns, |results| results.tests.keys()) {
        rows.push(row(&format!("test `{test}`"), &|column| {
            column.results.tests.get(test).cloned().unwrap_or_default()
        }));
    }
    rows.push(row("from power-on to the end", &|column| {
        format!("{:.0} s", column.took.as_secs_f64())
    }));
    rows.concat()
}

/// What any of the kernels has, in order.
fn every<'a, T: Ord, I: Iterator<Item = T>>(
    columns: &'a [Column],
    of: impl Fn(&'a Results) -> I,
) -> BTreeSet<T> {
    columns
        .iter()
        .flat_map(|column| of(&column.results))
        .collect()
}

/// How it was attached: plainly where it was seen to work, in parentheses where it was given nothing to tell.
fn probes(results: &Results, hook: &str) -> String {
    let of_hook = results.probes.iter().filter(|((name, _), _)| name == hook);
    let kinds = of_hook.map(|((_, kind), fired)| match fired {
        Some(true) => kind.replace('_', " "),
        Some(false) => format!("{} SILENT", kind.replace('_', " ")),
        None => format!("({})", kind.replace('_', " ")),
    });
    let kinds: Vec<_> = kinds.collect();
    if kinds.is_empty() {
        "-".to_owned()
    } else {
        kinds.join(", ")
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
        let new = "#vm {\"report\":\"attached\",\"way\":\"socket\",\"probes\":[{\"kind\":\"raw_tracepoint\",\"hook\":\"s\",\"fired\":true},{\"kind\":\"kretprobe\",\"hook\":\"s\"},{\"kind\":\"kprobe\",\"hook\":\"s\",\"fired\":true}]}\ntest a ... ok\n";
        let table = markdown(&[column("5.10", old), column("6.12", new)]);
        for line in [
            "|  | 5.10 | 6.12 |",
            "| `s` | - | kprobe, (kretprobe), raw tracepoint |",
            "| `--probes socket` | refused | works |",
            "| test `a` |  | ok |",
            "| from power-on to the end | 61 s | 61 s |",
        ] {
            assert!(table.lines().any(|l| l == line), "{line}: {table}");
        }
    }
}

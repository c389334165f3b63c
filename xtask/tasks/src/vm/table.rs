//! The table of `docs/kernels.md`: probes by kernel.

use std::{collections::BTreeSet, time::Duration};

use super::report::GuestReport;

pub struct KernelColumn {
    pub name: &'static str,
    pub report: GuestReport,
    /// From power-on to the end.
    pub took: Duration,
}

pub fn markdown(columns: &[KernelColumn]) -> String {
    let row = |name: &str, cell: &dyn Fn(&KernelColumn) -> String| {
        let cells = columns.iter().map(cell).map(|cell| format!(" {cell} |"));
        format!("| {name} |{}\n", cells.collect::<String>())
    };
    let mut rows = vec![
        row("", &|column| column.name.to_owned()),
        row("---", &|_| "---".to_owned()),
        row("`uname -r`", &|column| {
            column.report.release.clone().unwrap_or_default()
        }),
    ];
    let hooks = every(columns, |report| report.probes.keys().map(|(hook, _)| hook));
    for hook in hooks {
        rows.push(row(&format!("`{hook}`"), &|column| {
            probes(&column.report, hook)
        }));
    }
    for name in every(columns, |report| report.strategies.keys()) {
        rows.push(row(&format!("`--probes {name}`"), &|column| {
            strategy(column.report.strategies.get(name)).to_owned()
        }));
    }
    for test in every(columns, |report| report.tests.keys()) {
        rows.push(row(&format!("test `{test}`"), &|column| {
            column.report.tests.get(test).cloned().unwrap_or_default()
        }));
    }
    rows.push(row("from power-on to the end", &|column| {
        format!("{:.0} s", column.took.as_secs_f64())
    }));
    rows.concat()
}

/// The union over all kernels, sorted.
fn every<'a, T: Ord, I: Iterator<Item = T>>(
    columns: &'a [KernelColumn],
    of: impl Fn(&'a GuestReport) -> I,
) -> BTreeSet<T> {
    columns
        .iter()
        .flat_map(|column| of(&column.report))
        .collect()
}

/// How a hook was attached; in parentheses where it had no chance to fire.
fn probes(report: &GuestReport, hook: &str) -> String {
    let of_hook = report.probes.iter().filter(|((name, _), _)| name == hook);
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

fn strategy(found: Option<&Option<String>>) -> &'static str {
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
        let column = |name, text: &str| KernelColumn {
            name,
            report: GuestReport::parse(text),
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

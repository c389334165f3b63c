//! `cargo xtask budget`: what the build costs, compared with what it may cost. The limits are in `xtask/budget.txt`, so that
//! a change that raises one shows it.

mod units;

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::{cpu_time, setup::workspace};
use units::Units;

const FILE: &str = "xtask/budget.txt";
const EXECUTABLE: &str = "target/release/vault-tracer";

/// A figure that is limited.
struct Item {
    name: &'static str,
    unit: &'static str,
    /// `None`: there is nothing to measure yet.
    now: Option<u64>,
}

/// The task: prints the table; an error if something costs more than it may.
pub fn run() -> Result<()> {
    let path = workspace().join(FILE);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let verdicts = compare(&measure()?, &text)?;
    for verdict in &verdicts {
        println!("budget: {}", verdict.line);
    }
    for (name, seconds) in cpu_time::last() {
        println!("budget: the last build of {name} took {seconds} CPU-seconds");
    }
    let over: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.is_over)
        .map(|verdict| verdict.line.as_str())
        .collect();
    ensure!(
        over.is_empty(),
        "over the budget: {}\n  what to do: spend less, or raise the limit in {FILE} and say in the commit what it buys",
        over.join("; ")
    );
    Ok(())
}

fn measure() -> Result<Vec<Item>> {
    let (agent, tasks) = (Units::of("vault-tracer")?, Units::of("tasks")?);
    let size = fs::metadata(workspace().join(EXECUTABLE)).map(|data| data.len());
    let units = |name, now: usize| Item {
        name,
        unit: "units",
        now: Some(now as u64),
    };
    Ok(vec![
        units("agent", agent.count()),
        units("tasks", tasks.count()),
        units("agent-and-tasks", agent.union(&tasks)),
        Item {
            name: "executable",
            unit: "bytes",
            now: size.ok(),
        },
    ])
}

struct Judged {
    line: String,
    is_over: bool,
}

fn compare(items: &[Item], limits: &str) -> Result<Vec<Judged>> {
    let limits = parse(limits)?;
    let limit_of = |name: &str| {
        let found = limits.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, limit)| *limit)
            .with_context(|| format!("{FILE} has no {name}"))
    };
    for (name, _) in &limits {
        let known = items.iter().any(|item| item.name == *name);
        ensure!(known, "{FILE}: nothing is measured as {name}");
    }
    items
        .iter()
        .map(|item| Ok(judge(item, limit_of(item.name)?)))
        .collect()
}

fn judge(item: &Item, limit: u64) -> Judged {
    let Item { name, unit, now } = item;
    let Some(now) = *now else {
        return Judged {
            line: format!("{name}: NOT MEASURED, it is not built (at most {limit} {unit})"),
            is_over: false,
        };
    };
    let is_over = now > limit;
    let verdict = if is_over { "OVER" } else { "fine" };
    Judged {
        line: format!("{name}: {verdict}, {now} of at most {limit} {unit}"),
        is_over,
    }
}

/// `NAME LIMIT` a line, and comments.
fn parse(text: &str) -> Result<Vec<(&str, u64)>> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            let (Some(name), Some(limit), None) = (words.next(), words.next(), words.next()) else {
                bail!("{FILE}: not a name and a number: {line}");
            };
            let limit = limit.replace('_', "").parse();
            Ok((name, limit.with_context(|| format!("{FILE}: {line}"))?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(now: Option<u64>, limits: &str) -> Result<Vec<Judged>> {
        let item = Item {
            name: "agent",
            unit: "units",
            now,
        };
        compare(&[item], limits)
    }

    #[test]
    fn more_than_the_limit_is_over() -> Result<()> {
        let limits = "# what\nagent 1_000 # why\n";
        assert!(!verdicts(Some(1000), limits)?[0].is_over);
        assert!(verdicts(Some(1001), limits)?[0].is_over);
        assert!(!verdicts(None, limits)?[0].is_over);
        Ok(())
    }

    #[test]
    fn the_file_has_what_is_measured_and_nothing_else() {
        assert!(verdicts(Some(1), "").is_err());
        assert!(verdicts(Some(1), "agent 1\nother 1\n").is_err());
        assert!(verdicts(Some(1), "agent many\n").is_err());
    }
}

//! The tables, as Markdown.

use std::fmt::{self, Write};

use super::tally::{Row, Share, Tally};

/// Where and when, for the head.
pub(crate) struct Run {
    pub(crate) command: String,
    pub(crate) seed: u64,
    pub(crate) date: String,
    pub(crate) kernel: String,
    pub(crate) minutes: u64,
}

/// Cases shown at most.
const SHOWN: usize = 40;
/// Characters of a disagreement.
const WIDTH: usize = 160;

/// All of it.
pub(crate) fn page(run: &Run, tally: &Tally) -> String {
    let mut page = String::new();
    write(&mut page, run, tally).expect("writing to a string cannot fail");
    page
}

fn write(to: &mut String, run: &Run, tally: &Tally) -> fmt::Result {
    writeln!(
        to,
        "Made by `{}` on {}: {} cases from seed {}, {} requests, in {} minutes, on Linux {}.\n",
        run.command, run.date, tally.cases, run.seed, tally.requests, run.minutes, run.kernel
    )?;
    if tally.busy > 0 {
        writeln!(
            to,
            "In {} of them the machine was so busy that healthy requests took long, or threads waited for a processor: of these only IDs and false hangs count.\n",
            tally.busy
        )?;
    }
    targets(to, tally)?;
    matrix(to, tally)?;
    kinds(to, tally)?;
    disagreements(to, tally)
}

fn targets(to: &mut String, tally: &Tally) -> fmt::Result {
    writeln!(to, "| target | figure | |\n|---|---|---|")?;
    for (what, figure, is_met) in tally.targets() {
        let verdict = if is_met { "met" } else { "**missed**" };
        writeln!(to, "| {what} | {figure} | {verdict} |")?;
    }
    let [middle, most] = [500, 990].map(|part| tally.difference(part).as_secs_f64() * 1e3);
    let sampled = Share {
        right: tally.sampled.all,
        all: tally.sampled.all + tally.seen.all,
    };
    writeln!(
        to,
        "\n{} requests were blocked for longer than the threshold. Of {} lengths, {} have a sampled end. The others differ from the client's own by \
        {middle:.2} ms in the median, and by {most:.1} ms at the 99th percentile. Of {} entries that log servers never got, {} were counted.\n",
        tally.blocked, sampled.all, sampled.right, tally.missing_entries, tally.reported_entries
    )
}

fn matrix(to: &mut String, tally: &Tally) -> fmt::Result {
    writeln!(
        to,
        "| injected | cases | records | right | reported otherwise |\n|---|---|---|---|---|"
    )?;
    for (cause, row) in tally.ordered() {
        let Row {
            cases,
            records,
            right,
            ..
        } = row;
        writeln!(
            to,
            "| `{cause}` | {cases} | {records} | {right} | {} |",
            otherwise(row)
        )?;
    }
    writeln!(to)
}

fn otherwise(row: &Row) -> String {
    let counted = row
        .otherwise
        .iter()
        .map(|(cause, count)| format!("`{cause}` {count}"));
    counted.collect::<Vec<_>>().join(", ")
}

fn kinds(to: &mut String, tally: &Tally) -> fmt::Result {
    writeln!(to, "| kind of fault | cases | all agrees |\n|---|---|---|")?;
    for (kind, Share { right, all }) in &tally.kinds {
        writeln!(to, "| {kind} | {all} | {right} |")?;
    }
    writeln!(to)
}

fn disagreements(to: &mut String, tally: &Tally) -> fmt::Result {
    for (seed, case, found) in tally.disagreements.iter().take(SHOWN) {
        writeln!(to, "- seed {seed}: {case}")?;
        let first = found.first().map_or("", String::as_str);
        // Without the records, which the kept files have.
        let text = first.split('{').next().unwrap_or_default();
        let cut: String = text.chars().take(WIDTH).collect();
        writeln!(to, "  - {} in all, the first: {}", found.len(), cut.trim())?;
    }
    for (seed, why) in &tally.not_run {
        let cut: String = why.chars().take(WIDTH).collect();
        writeln!(
            to,
            "- seed {seed} could not be run: {}",
            cut.replace('\n', " ")
        )?;
    }
    Ok(())
}

//! Runs cases side by side, each in a process of its own: what one leaves behind or breaks, no other meets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{private_run, process::Process, wait};

use super::{
    Options,
    outcome::Outcome,
    run::run,
    table::{self, Run},
    tally::Tally,
};

/// More than the longest case takes, on a machine that is busy with other things.
const CASE_LIMIT: Duration = Duration::from_mins(3);
/// Cases of a day.
const SEEDS_A_DAY: u64 = 10_000;

/// Runs the one case of this process.
pub(crate) fn run_one(options: &Options, file: &Path) -> Result<()> {
    private_run::enter()?;
    let seed = options.seed.context("no seed")?;
    let ended = run(&options.case(seed))?;
    let disagrees = !ended.outcome.verdict.disagreements().is_empty();
    if disagrees || options.keep_all {
        ended.keep(&options.keep.join(seed.to_string()))?;
    }
    fs::write(file, serde_json::to_string(&ended.outcome)?)?;
    Ok(())
}

/// Prints the cases.
pub(crate) fn list(options: &Options) {
    let first = options.seed.unwrap_or_else(seed_of_today);
    for seed in first..first + options.cases {
        println!("{seed}: {}", options.case(seed));
    }
}

/// Runs all, and prints the tables; returns whether all went well.
pub(crate) fn run_all(options: &Options) -> Result<bool> {
    wait::catch_interrupts()?;
    let began = Instant::now();
    let first = options.seed.unwrap_or_else(seed_of_today);
    let tally = Mutex::new(Tally::default());
    let next = AtomicU64::new(0);
    let limit = options.seconds.map(Duration::from_secs);
    let worker = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let is_late = limit.is_some_and(|limit| began.elapsed() >= limit);
            if number >= options.cases || is_late || wait::interrupted() {
                break;
            }
            let seed = first + number;
            let outcome = in_a_process(options, seed);
            note(&tally, options, seed, outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..options.labs {
            scope.spawn(worker);
        }
    });
    let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    tally.disagreements.sort();
    let run = Run {
        command: command(options, first),
        seed: first,
        date: Timestamp::now().strftime("%Y-%m-%d").to_string(),
        kernel: kernel(),
        minutes: began.elapsed().as_secs().div_ceil(60),
    };
    let page = table::page(&run, &tally);
    match &options.write {
        Some(file) => write(file, &page)?,
        None => print!("{page}"),
    }
    Ok(tally.passes())
}

/// The date, and four digits: 20261130 is 202611300000.
fn seed_of_today() -> u64 {
    let date = Timestamp::now().strftime("%Y%m%d").to_string();
    date.parse().unwrap_or(1) * SEEDS_A_DAY
}

fn command(options: &Options, first: u64) -> String {
    let kinds = options.kind.iter().map(|kind| format!(" --kind {kind:?}"));
    let kinds: String = kinds.collect();
    format!(
        "cargo xtask truth --cases {} --seed {first}{kinds}",
        options.cases
    )
}

fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// This program again, for one case.
fn in_a_process(options: &Options, seed: u64) -> Result<Outcome> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("outcome.json");
    let errors = directory.path().join("errors");
    let mut command = Command::new(env::current_exe()?);
    command
        .args(["--seed", &seed.to_string(), "--one"])
        .arg(&file);
    command.arg("--keep").arg(&options.keep);
    for kind in &options.kind {
        command.args(["--kind", &format!("{kind:?}")]);
    }
    for (is, option) in [
        (options.record, "--record"),
        (options.keep_all, "--keep-all"),
    ] {
        if is {
            command.arg(option);
        }
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&errors)?);
    let status = Process::spawn("the case", &mut command)?.wait(CASE_LIMIT);
    let errors = fs::read_to_string(&errors).unwrap_or_default();
    let status = status.with_context(|| errors.clone())?;
    ensure!(status.success(), "{status}: {errors}");
    Ok(serde_json::from_str(&fs::read_to_string(&file)?)?)
}

fn note(tally: &Mutex<Tally>, options: &Options, seed: u64, outcome: Result<Outcome>) {
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(_) if wait::interrupted() => return,
        Err(error) => {
            let case = options.case(seed);
            eprintln!("seed {seed}: NOT RUN: {error:#}\n  {case}");
            tally.not_run.push((seed, format!("{error:#}")));
            return;
        }
    };
    let found = outcome.verdict.disagreements();
    let word = if found.is_empty() {
        "agrees"
    } else {
        "DISAGREES"
    };
    let busy = if outcome.verdict.busy { " (busy)" } else { "" };
    eprintln!("seed {seed}: {word}{busy}: {}", outcome.case);
    for one in found.iter().take(3) {
        let cut: String = one.chars().take(400).collect();
        eprintln!("  {cut}");
    }
    if !found.is_empty() {
        let kept: PathBuf = options.keep.join(seed.to_string());
        eprintln!(
            "  {} in all, kept in {}; again: {}",
            found.len(),
            kept.display(),
            again(options, seed)
        );
    }
    tally.add(&outcome);
}

/// The command that repeats one case.
fn again(options: &Options, seed: u64) -> String {
    // Of several kinds the seed chooses one.
    let kinds = options.kind.iter().map(|kind| format!(" --kind {kind:?}"));
    format!(
        "cargo xtask truth --cases 1 --seed {seed}{}",
        kinds.collect::<String>()
    )
}

/// The beginning and the end of what the command writes in a page.
const MARKS: [&str; 2] = ["<!-- written by cargo xtask truth -->", "<!-- end -->"];

/// Between the marks, if the file has them, else all of it.
fn write(file: &Path, page: &str) -> Result<()> {
    let old = fs::read_to_string(file).unwrap_or_default();
    let new = between_marks(&old, page).unwrap_or_else(|| page.to_owned());
    fs::write(file, new).with_context(|| format!("cannot write {}", file.display()))
}

fn between_marks(old: &str, page: &str) -> Option<String> {
    let (head, rest) = old.split_once(MARKS[0])?;
    let (_, tail) = rest.split_once(MARKS[1])?;
    Some(format!("{head}{}\n\n{page}\n{}{tail}", MARKS[0], MARKS[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_written() {
        let [begin, end] = MARKS;
        let old = format!("# Head\n\n{begin}\nold\n{end}\n\nTail\n");
        let new = between_marks(&old, "new\n").expect("marks");
        assert_eq!(new, format!("# Head\n\n{begin}\n\nnew\n\n{end}\n\nTail\n"));
        assert_eq!(between_marks(&new, "new\n"), Some(new.clone()));
        assert_eq!(between_marks("none", "new"), None);
    }
}

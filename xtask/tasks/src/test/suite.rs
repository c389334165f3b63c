//! The steps of `cargo xtask test`: counted, timed, summed up, and remembered where they passed.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use jiff::Timestamp;

use crate::{setup::workspace, ui::Step};

/// The steps that have ended, for the summary.
pub struct Suite {
    started: Instant,
    /// How many steps there will be.
    steps: usize,
    begun: usize,
    lines: Vec<String>,
    not_run: usize,
    passes: Passes,
}

impl Suite {
    pub fn new(steps: usize) -> Self {
        Self {
            started: Instant::now(),
            steps,
            begun: 0,
            lines: Vec::new(),
            not_run: 0,
            passes: Passes::load(),
        }
    }

    /// A step whose failure fails the task.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (seconds, result) = self.timed(name, work);
        if result.is_ok() {
            self.passes.pass(name);
        }
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        self.add(format!("{verdict}  {seconds:7.1} s  {name}"));
        result
    }

    /// A step that prepares what some machines cannot have.
    pub fn optional<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let (seconds, result) = self.timed(name, work);
        self.not_run += usize::from(result.is_err());
        self.add(match &result {
            Ok(_) => format!("passed  {seconds:7.1} s  {name}"),
            Err(reason) => format!("NOT RUN: {name}: {reason:#}"),
        });
        result.ok()
    }

    fn timed<T>(&mut self, name: &str, work: impl FnOnce() -> T) -> (f64, T) {
        self.begun += 1;
        let started = Instant::now();
        eprintln!("test: [{}/{}] {name} ...", self.begun, self.steps);
        let result = work();
        (started.elapsed().as_secs_f64(), result)
    }

    fn add(&mut self, line: String) {
        eprintln!("test: {line}");
        self.lines.push(line);
    }

    /// On standard error: standard output ends with the test harness's own closing line.
    pub fn summarise(&self, passed: bool, with_passes: bool) {
        eprintln!("\ntest: summary");
        for line in &self.lines {
            eprintln!("  {line}");
        }
        if with_passes {
            eprintln!("test: last passed");
            for (name, pass) in &self.passes.0 {
                eprintln!("  {pass}  {name}");
            }
        }
        let verdict = if passed { "passed" } else { "FAILED" };
        let seconds = self.started.elapsed().as_secs();
        eprintln!(
            "test: {verdict} in {seconds} s, {} step(s) NOT RUN",
            self.not_run
        );
    }
}

/// When each step last passed in this clone, and at which commit: in a file below `target`.
struct Passes(BTreeMap<String, String>);

impl Passes {
    fn path() -> PathBuf {
        workspace().join("target/last-passed.json")
    }

    fn load() -> Self {
        let text = fs::read_to_string(Self::path()).unwrap_or_default();
        Self(serde_json::from_str(&text).unwrap_or_default())
    }

    fn pass(&mut self, name: &str) {
        let now = Timestamp::now().strftime("%Y-%m-%d %H:%M UTC");
        self.0
            .insert(name.to_owned(), format!("{now} at {}", commit()));
        if let Err(error) = self.save() {
            eprintln!("test: {error:#}");
        }
    }

    fn save(&self) -> Result<()> {
        let path = Self::path();
        let text = serde_json::to_string_pretty(&self.0)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// As git names it, with `-dirty` for what is not committed.
fn commit() -> String {
    const LIMIT: Duration = Duration::from_secs(10);
    let mut describe = Command::new("git");
    describe.args(["describe", "--always", "--dirty"]);
    describe.current_dir(workspace());
    let found = Step::new("test", "commit").output("asking git", &mut describe, LIMIT);
    found.map_or_else(
        |_| "an unknown commit".to_owned(),
        |name| name.trim().to_owned(),
    )
}

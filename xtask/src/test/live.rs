//! The live tests on the real kernel and a real server: compiled as the user, run as root. Each has a process and a lab
//! of its own, and most of its time it waits: twice as many run at once as there are processors.

use std::{
    collections::VecDeque,
    env,
    ffi::OsStr,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    sync::{Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use crate::{
    build, eventlogger, run,
    setup::{self, cargo, workspace},
    ui::{Captured, Step},
};

/// For compiling, and for listing.
const BUILD_LIMIT: Duration = Duration::from_hours(1);

/// Of one test, by `timeout`, which can stop what runs under sudo too; ours is for when that fails.
const TEST_LIMIT: &str = "300";
const TEST_LIMIT_OURS: Duration = Duration::from_secs(330);

/// What a developer may have set for them, see `CONTRIBUTING.md`.
const PASSED_ON: [&str; 3] = [
    "VAULT_TRACER_KEEP",
    "VAULT_TRACER_PROBES",
    "VAULT_TRACER_REPLAY",
];

/// What needs all processors for itself, by the beginning of the name.
const ALONE: [&str; 1] = ["scale::"];

/// So many failed tests get a second try, without company. More than these are no accident.
const SECOND_TRIES: usize = 3;

/// What the tests are run with.
struct LiveTests {
    binary: PathBuf,
    /// `NAME=VALUE`
    variables: Vec<String>,
    /// Makes root's command of a program and its arguments.
    as_root: fn(&Path, &[&OsStr]) -> Result<Command>,
}

/// A test that has ended.
struct Ended {
    name: String,
    passed: bool,
    took: Duration,
    output: String,
}

/// Runs those whose names contain one of `wanted`, or all. `allow_skip`: that they cannot run is no failure.
pub fn run(
    agent: &Path,
    prometheus: Option<&Path>,
    allow_skip: bool,
    wanted: &[String],
) -> Result<Outcome> {
    if !run::is_root() && setup::find_program("sudo").is_none() {
        ensure!(
            allow_skip,
            "NOT RUN: live tests: need root, and there is no sudo here (--allow-skip to pass without)"
        );
        return Ok(Outcome::NotRun(
            "need root, and there is no sudo here".to_owned(),
        ));
    }
    LiveTests::prepare(agent, prometheus)?.run(wanted)
}

impl LiveTests {
    /// Compiles them, and all that they need.
    fn prepare(agent: &Path, prometheus: Option<&Path>) -> Result<Self> {
        let binary = executable()?;
        let bao = setup::bao()?;
        let eventlogger = eventlogger::programs()?;
        setup::test_programs()?;
        let variable = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut variables = vec![
            variable("VAULT_TRACER_AGENT", agent),
            variable("VAULT_TRACER_BAO", &bao),
            variable(eventlogger::VARIABLE, &eventlogger),
        ];
        variables.extend(prometheus.map(|path| variable(lab::prometheus::VARIABLE, path)));
        let set = PASSED_ON
            .iter()
            .filter_map(|name| env::var(name).ok().map(|value| format!("{name}={value}")));
        variables.extend(set);
        Ok(Self {
            binary,
            variables,
            as_root: run::root_command,
        })
    }

    fn run(&self, wanted: &[String]) -> Result<Outcome> {
        let started = Instant::now();
        let names = self.names(wanted)?;
        ensure!(
            !names.is_empty(),
            "no live test has a name with {}",
            wanted.join(" or ")
        );
        let (alone, others): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| ALONE.iter().any(|begin| name.starts_with(begin)));
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        println!("running {} tests", alone.len() + others.len());
        let mut ended = self.run_all(others, processors * 2)?;
        ended.extend(self.run_all(alone, 1)?);
        let (passed, failed) = part(ended);
        let (flaky, failed) = self.try_again(failed)?;
        summarise(passed.len() + flaky.len(), &failed, started.elapsed());
        ensure!(
            failed.is_empty(),
            "live tests: {} failed: {}",
            failed.len(),
            failed.join(", ")
        );
        Ok(Outcome::passed_but_for(&flaky))
    }

    fn names(&self, wanted: &[String]) -> Result<Vec<String>> {
        let mut list = Command::new(&self.binary);
        list.args(["--list", "--format=terse"]);
        let listed = Step::new("test", "live").output("listing them", &mut list, BUILD_LIMIT)?;
        let names = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        let is_wanted =
            |name: &&str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word));
        Ok(names.filter(is_wanted).map(str::to_owned).collect())
    }

    /// Which of those that failed pass by themselves, and which do not.
    fn try_again(&self, failed: Vec<String>) -> Result<(Vec<String>, Vec<String>)> {
        if failed.is_empty() || failed.len() > SECOND_TRIES {
            return Ok((Vec::new(), failed));
        }
        println!("\na second try, without company");
        Ok(part(self.run_all(failed, 1)?))
    }

    /// Each in a process of its own, `at_once` of them beside each other.
    fn run_all(&self, names: Vec<String>, at_once: usize) -> Result<Vec<Ended>> {
        let count = names.len();
        let queue = Mutex::new(VecDeque::from(names));
        let next = || {
            queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .pop_front()
        };
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..at_once.min(count) {
                let sender = sender.clone();
                scope.spawn(move || {
                    while let Some(name) = next() {
                        let _ = sender.send(self.run_one(name));
                    }
                });
            }
            drop(sender);
            let mut all = Vec::with_capacity(count);
            for ended in receiver {
                let ended: Ended = ended?;
                ended.tell();
                all.push(ended);
            }
            Ok(all)
        })
    }

    fn run_one(&self, name: String) -> Result<Ended> {
        let started = Instant::now();
        // `env`, since sudo passes no environment on. In the foreground, so that Ctrl-C reaches the test.
        let mut words: Vec<&OsStr> = self.variables.iter().map(OsStr::new).collect();
        words.extend(["timeout", "--foreground", "--kill-after=10", TEST_LIMIT].map(OsStr::new));
        words.push(self.binary.as_os_str());
        words.extend(["--exact", &name, "--test-threads=1"].map(OsStr::new));
        let mut command = (self.as_root)(Path::new("env"), &words)?;
        // Where cargo would run them.
        command.current_dir(workspace().join("tests"));
        let mut captured = Captured::new(&mut command)?;
        let status = Step::unseen(&name, &mut command, TEST_LIMIT_OURS)?;
        let output = format!("{}{}", captured.stdout()?, captured.stderr()?);
        Ok(Ended {
            passed: passed(status, &output),
            took: started.elapsed(),
            output,
            name,
        })
    }
}

impl Ended {
    /// As Rust's own harness says it; and what a test says although it passes, which is that something was not run.
    fn tell(&self) {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        println!(
            "test {} ... {verdict} <{:.1}s>",
            self.name,
            self.took.as_secs_f64()
        );
        let not_run = self
            .output
            .lines()
            .filter(|line| line.starts_with("NOT RUN"));
        not_run.for_each(|line| println!("{line}"));
    }
}

/// The names of those that passed and of those that failed, of which all that they said is shown.
fn part(ended: Vec<Ended>) -> (Vec<String>, Vec<String>) {
    let (passed, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(|test| test.passed);
    for test in &failed {
        println!("\n---- {} ----\n{}", test.name, test.output.trim_end());
    }
    let names = |tests: Vec<Ended>| tests.into_iter().map(|test| test.name).collect();
    (names(passed), names(failed))
}

/// A harness that found no such test succeeds too.
fn passed(status: ExitStatus, output: &str) -> bool {
    status.success() && output.contains("test result: ok. 1 passed")
}

fn summarise(passed: usize, failed: &[String], took: Duration) {
    if !failed.is_empty() {
        println!("\nfailures:");
        for name in failed {
            println!("    {name}");
        }
    }
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {} failed; finished in {:.2}s\n",
        failed.len(),
        took.as_secs_f64()
    );
}

fn executable() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--locked", "-p", "vault-tracer-tests"]);
    build.args(["--features", "live", "--test", "live"]);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let messages =
        Step::new("test", "live").output("compiling the live tests", &mut build, BUILD_LIMIT)?;
    build::executables(&messages)
        .remove("live")
        .context("cargo built the live tests, but named no executable")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What claims to be an executable of tests, and does this with each `$name` but `good`.
    fn suite(directory: &Path, otherwise: &str) -> Result<LiveTests> {
        let [text, binary] = ["text", "live"].map(|name| directory.join(name));
        let script = format!(
            r#"#!/bin/sh
            if [ "$1" = --list ]; then printf 'a::good: test\na::other: test\nscale::good: test\n'; exit; fi
            name=$2
            case $name in *good) verdict=ok;; *) {otherwise};; esac
            echo "it says $WORD of $name"
            echo "test result: $verdict. 1 passed"
            [ "$verdict" = ok ]"#
        );
        fs::write(&text, script)?;
        // By another process: what this one has open for writing, a fork may have too, and then nobody can execute it.
        let mut install = Command::new("install");
        install.args([&text, &binary]);
        Step::new("test", "script").output("installing it", &mut install, BUILD_LIMIT)?;
        Ok(LiveTests {
            binary,
            variables: vec!["WORD=hello".to_owned()],
            as_root: |program, words| {
                let mut command = Command::new(program);
                command.args(words);
                Ok(command)
            },
        })
    }

    fn run_with(otherwise: &str, wanted: &[&str]) -> Result<Outcome> {
        let directory = tempfile::tempdir()?;
        let wanted: Vec<_> = wanted.iter().map(|&word| word.to_owned()).collect();
        suite(directory.path(), otherwise)?.run(&wanted)
    }

    #[test]
    fn what_passes_at_the_second_try_only_is_told() -> Result<()> {
        let at_second = r#"[ -e "$0.seen" ] && verdict=ok || verdict=FAILED; touch "$0.seen""#;
        let outcome = run_with(at_second, &[])?;
        assert!(matches!(outcome, Outcome::Flaky(names) if names == "a::other"));
        Ok(())
    }

    #[test]
    fn what_fails_twice_is_a_failure() {
        let error = run_with("verdict=FAILED", &[])
            .err()
            .map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("live tests: 1 failed: a::other"));
    }

    #[test]
    fn words_choose_and_no_test_is_no_success() -> Result<()> {
        let bad = "verdict=FAILED";
        assert!(matches!(run_with(bad, &["good"])?, Outcome::Passed));
        assert!(run_with(bad, &["such"]).is_err());
        // As a harness that did not find the name says it.
        assert!(run_with("echo 'test result: ok. 0 passed'; exit 0", &["other"]).is_err());
        Ok(())
    }
}

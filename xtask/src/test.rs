//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest.
//!
//! There are no lints for the BPF target: Debian's compiler, the one that usually has a BPF core,
//! comes without clippy. `cargo clippy --workspace` covers what the eBPF crate shares with the agent.

mod live;

use std::{
    env,
    ffi::OsString,
    iter,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    build,
    setup::{self, cargo},
    ui::{Captured, Remedy, Step, failure},
    vm,
};

const LIMIT: Duration = Duration::from_hours(1);
const LIVE_FEATURE: &str = "vault-tracer-tests/live";

/// How a step ended that did not fail.
enum Outcome {
    Passed,
    /// Which passed only when they were tried again.
    Flaky(String),
    /// With the reason.
    NotRun(String),
}

impl Outcome {
    /// All passed, these at the second try.
    fn passed_but_for(flaky: &[String]) -> Self {
        match flaky {
            [] => Self::Passed,
            names => Self::Flaky(names.join(", ")),
        }
    }
}

/// What has been run so far, for the summary.
struct Suite {
    started: Instant,
    lines: Vec<String>,
    not_run: usize,
}

/// What of it to run.
#[derive(clap::Args)]
pub struct Options {
    /// Succeed although the live tests could not run (they are still reported as NOT RUN)
    #[arg(long)]
    allow_skip: bool,
    /// Build, and run the live tests only: those with one of these words in their names, or all
    #[arg(long, value_name = "WORD", num_args = 0..)]
    live: Option<Vec<String>>,
}

/// The task.
pub fn run(options: &Options) -> Result<()> {
    let mut suite = Suite {
        started: Instant::now(),
        lines: Vec::new(),
        not_run: 0,
    };
    let result = match &options.live {
        Some(words) => suite.run_live(options.allow_skip, words),
        None => suite.run_all(options.allow_skip),
    };
    suite.summarise(result.is_ok());
    result
}

impl Suite {
    fn run_all(&mut self, allow_skip: bool) -> Result<()> {
        self.step("cargo fmt --check", || {
            component("fmt", "rustfmt")?;
            quiet(cargo().args(["fmt", "--all", "--check"]))
        })?;
        self.step("cargo clippy", || {
            component("clippy", "clippy")?;
            let mut clippy = cargo();
            clippy.args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--features",
                LIVE_FEATURE,
            ]);
            quiet(clippy.args(["--", "-D", "warnings"]))
        })?;
        let mut variables = Vec::new();
        self.step("programs of others", || readers(&mut variables))?;
        let prometheus = self.prometheus()?;
        let prometheus = prometheus.as_deref();
        self.step("a browser for the report's page", || Ok(browser()))?;
        self.step("cargo test", || {
            let mut test = cargo();
            test.envs(variables);
            if let Some(prometheus) = prometheus {
                test.env(lab::prometheus::VARIABLE, prometheus);
            }
            visible(test.args(["test", "--workspace", "--locked"]))
        })?;
        self.step("cargo deny check", deny)?;
        let agent = self.build()?;
        self.step("eBPF programs for other machines", || {
            build::for_other_machines()?;
            Ok(Outcome::Passed)
        })?;
        self.step("live tests", || {
            live::run(&agent, prometheus, allow_skip, &[])
        })?;
        self.step("other kernels", || other_kernels(&agent))
    }

    fn run_live(&mut self, allow_skip: bool, words: &[String]) -> Result<()> {
        let prometheus = self.prometheus()?;
        let agent = self.build()?;
        self.step("live tests", || {
            live::run(&agent, prometheus.as_deref(), allow_skip, words)
        })
    }

    /// Not everybody can have it.
    fn prometheus(&mut self) -> Result<Option<PathBuf>> {
        let mut found = None;
        self.step("Prometheus", || {
            Ok(match setup::prometheus() {
                Ok(directory) => {
                    found = Some(directory);
                    Outcome::Passed
                }
                Err(error) => Outcome::NotRun(format!("{error:#}")),
            })
        })?;
        Ok(found)
    }

    fn build(&mut self) -> Result<PathBuf> {
        let mut agent = PathBuf::new();
        self.step("build", || {
            agent = build::agent()?;
            Ok(Outcome::Passed)
        })?;
        Ok(agent)
    }

    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        let started = Instant::now();
        eprintln!("test: {name} ...");
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        self.lines.push(match &outcome {
            Ok(Outcome::Passed) => format!("passed  {seconds:7.1} s  {name}"),
            Ok(Outcome::Flaky(tests)) => {
                format!("passed  {seconds:7.1} s  {name}, of which FLAKY (failed at first, passed at the second try): {tests}")
            }
            Ok(Outcome::NotRun(reason)) => format!("NOT RUN: {name}: {reason}"),
            Err(_) => format!("FAILED  {seconds:7.1} s  {name}"),
        });
        if let Some(line) = self.lines.last() {
            eprintln!("test: {line}");
        }
        self.not_run += usize::from(matches!(outcome, Ok(Outcome::NotRun(_))));
        outcome.map(drop)
    }

    /// On standard error: standard output ends with the test harness's own closing line.
    fn summarise(&self, passed: bool) {
        eprintln!("\ntest: summary");
        for line in &self.lines {
            eprintln!("  {line}");
        }
        let verdict = if passed { "passed" } else { "FAILED" };
        let seconds = self.started.elapsed().as_secs();
        eprintln!(
            "test: {verdict} in {seconds} s, {} step(s) NOT RUN",
            self.not_run
        );
    }
}

fn component(subcommand: &str, component: &str) -> Result<()> {
    let mut probe = cargo();
    Step::new("test", component).output("looking for it", probe.args([subcommand, "--version"]), LIMIT).map(drop).remedy(
        format_args!("cargo {subcommand} does not work"),
        format_args!("rustup component add {component} (Debian's own toolchain: apt-get install rust-{component} or {component})"),
    )
}

/// Runs a program whose output matters only if it fails.
fn quiet(command: &mut Command) -> Result<Outcome> {
    let mut captured = Captured::new(command)?;
    let status = Step::new("test", "running").wait("running", command, LIMIT)?;
    if !status.success() {
        eprint!("{}{}", captured.stdout()?, captured.stderr()?);
        bail!("{}", failure(command, status));
    }
    Ok(Outcome::Passed)
}

fn visible(command: &mut Command) -> Result<Outcome> {
    Step::visible("testing", command, LIMIT)?;
    Ok(Outcome::Passed)
}

/// What reads the agent's formats and is none of its code; without, the tests that need it say so.
fn readers(variables: &mut Vec<(&'static str, OsString)>) -> Result<Outcome> {
    let mut missing = Vec::new();
    match setup::python_packages() {
        Ok(path) => {
            let others = env::var_os("PYTHONPATH").unwrap_or_default();
            let others = env::split_paths(&others).filter(|path| path != Path::new(""));
            let paths = iter::once(path).chain(others);
            let paths = env::join_paths(paths).context("PYTHONPATH cannot be made")?;
            variables.push(("PYTHONPATH", paths));
        }
        Err(error) => missing.push(format!("{error:#}")),
    }
    match setup::rotel() {
        Ok(path) => variables.push((setup::ROTEL, path.into())),
        Err(error) => missing.push(format!("{error:#}")),
    }
    if missing.is_empty() {
        return Ok(Outcome::Passed);
    }
    Ok(Outcome::NotRun(missing.join("; ")))
}

/// Licences, sources and versions. Not advisories: whether a commit passes is not to depend on the day.
fn deny() -> Result<Outcome> {
    match setup::deny() {
        Ok(mut deny) => quiet(deny.args(["--workspace", "check", "bans", "licenses", "sources"])),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    }
}

/// Without one, the tests of the page say that they did not run.
fn browser() -> Outcome {
    match setup::browser() {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    }
}

/// Kernels under emulation. Not everybody can have QEMU, or reach Debian.
fn other_kernels(agent: &Path) -> Result<Outcome> {
    match vm::prepare_usual() {
        Ok(kernels) => vm::run_few(agent, &kernels).map(|flaky| Outcome::passed_but_for(&flaky)),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    }
}

//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest.
//!
//! There are no lints for the BPF target: Debian's compiler, the one that usually has a BPF core,
//! comes without clippy. `cargo clippy --workspace` covers what the eBPF crate shares with the agent.

mod live;

use std::{
    env,
    ffi::OsString,
    iter,
    path::Path,
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

/// The steps that have ended, for the summary.
struct Suite {
    started: Instant,
    lines: Vec<String>,
    not_run: usize,
}

#[derive(clap::Args)]
pub struct TestOptions {
    /// Succeed although the live tests could not run (they are still reported as NOT RUN)
    #[arg(long)]
    allow_skip: bool,
    /// Build, and run only the live tests whose names contain one of these words, or all
    #[arg(long, value_name = "WORD", num_args = 0..)]
    live: Option<Vec<String>>,
}

pub fn run(options: &TestOptions) -> Result<()> {
    let mut suite = Suite {
        started: Instant::now(),
        lines: Vec::new(),
        not_run: 0,
    };
    let result = match &options.live {
        Some(words) => {
            let prometheus = suite.optional("Prometheus", setup::prometheus);
            let agent = suite.step("build", build::agent);
            agent.and_then(|agent| {
                suite.live_tests(&agent, prometheus.as_deref(), options.allow_skip, words)
            })
        }
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
            clippy.args(["clippy", "--workspace", "--all-targets", "--locked"]);
            clippy.args(["--features", LIVE_FEATURE]);
            quiet(clippy.args(["--", "-D", "warnings"]))
        })?;
        let python = self.optional("Python's packages", python_path);
        let rotel = self.optional("Rotel", || setup::ROTEL.executable());
        let prometheus = self.optional("Prometheus", setup::prometheus);
        self.optional("a browser for the report's page", setup::require_browser);
        self.step("cargo test", || {
            let mut test = cargo();
            test.args(["test", "--workspace", "--locked"]);
            test.envs(python.map(|path| ("PYTHONPATH", path)));
            test.envs(rotel.map(|path| (setup::ROTEL.variable, path)));
            test.envs(
                prometheus
                    .as_ref()
                    .map(|path| (lab::prometheus::VARIABLE, path)),
            );
            Step::visible("testing", &mut test, LIMIT)
        })?;
        if let Some(mut deny) = self.optional("cargo-deny", setup::deny) {
            // Licences, sources and versions. Not advisories: whether a commit passes must not depend on the day.
            let checks = ["--workspace", "check", "bans", "licenses", "sources"];
            self.step("cargo deny check", || quiet(deny.args(checks)))?;
        }
        let agent = self.step("build", build::agent)?;
        self.step(
            "eBPF programs for other machines",
            build::for_other_machines,
        )?;
        self.live_tests(&agent, prometheus.as_deref(), allow_skip, &[])?;
        match self.optional("QEMU and other kernels", vm::prepare_usual) {
            Some(kernels) => self.step("other kernels", || vm::run_few(&agent, &kernels)),
            None => Ok(()),
        }
    }

    fn live_tests(
        &mut self,
        agent: &Path,
        prometheus: Option<&Path>,
        allow_skip: bool,
        wanted: &[String],
    ) -> Result<()> {
        if allow_skip
            && self
                .optional("root for the live tests", live::require_root)
                .is_none()
        {
            return Ok(());
        }
        self.step("live tests", || live::run(agent, prometheus, wanted))
    }

    /// A step whose failure fails the task.
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let (seconds, result) = timed(name, work);
        let verdict = if result.is_ok() { "passed" } else { "FAILED" };
        self.add(format!("{verdict}  {seconds:7.1} s  {name}"));
        result
    }

    /// A step that prepares what some machines cannot have.
    fn optional<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        let (seconds, result) = timed(name, work);
        self.not_run += usize::from(result.is_err());
        self.add(match &result {
            Ok(_) => format!("passed  {seconds:7.1} s  {name}"),
            Err(reason) => format!("NOT RUN: {name}: {reason:#}"),
        });
        result.ok()
    }

    fn add(&mut self, line: String) {
        eprintln!("test: {line}");
        self.lines.push(line);
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

fn timed<T>(name: &str, work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    eprintln!("test: {name} ...");
    let result = work();
    (started.elapsed().as_secs_f64(), result)
}

fn component(subcommand: &str, component: &str) -> Result<()> {
    let mut probe = cargo();
    Step::new("test", component).output("looking for it", probe.args([subcommand, "--version"]), LIMIT).map(drop).remedy(
        format_args!("cargo {subcommand} does not work"),
        format_args!("rustup component add {component} (Debian's own toolchain: apt-get install rust-{component} or {component})"),
    )
}

/// Runs a program whose output matters only if it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let mut captured = Captured::new(command)?;
    let status = Step::new("test", "running").wait("running", command, LIMIT)?;
    if !status.success() {
        eprint!("{}{}", captured.stdout()?, captured.stderr()?);
        bail!("{}", failure(command, status));
    }
    Ok(())
}

/// `PYTHONPATH` with the packages that read the agent's formats.
fn python_path() -> Result<OsString> {
    let packages = setup::python_packages()?;
    let others = env::var_os("PYTHONPATH").unwrap_or_default();
    let others = env::split_paths(&others).filter(|path| path != Path::new(""));
    env::join_paths(iter::once(packages).chain(others)).context("PYTHONPATH cannot be made")
}

//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest.
//!
//! There are no lints for the BPF target: Debian's compiler, the one that usually has a BPF core,
//! comes without clippy. `cargo clippy --workspace` covers what the eBPF crate shares with the agent.

use std::{
    env,
    ffi::{OsStr, OsString},
    iter,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    build, eventlogger, run,
    setup::{self, cargo, workspace},
    ui::{Captured, Remedy, Step, failure},
    vm,
};

const LIMIT: Duration = Duration::from_hours(1);
const LIVE_FEATURE: &str = "vault-tracer-tests/live";

/// How a step ended that did not fail.
enum Outcome {
    Passed,
    /// With the reason.
    NotRun(String),
}

/// What has been run so far, for the summary.
struct Suite {
    started: Instant,
    lines: Vec<String>,
    not_run: usize,
}

/// The task. `allow_skip`: live tests that cannot run are no failure.
pub fn run(allow_skip: bool) -> Result<()> {
    let mut suite = Suite {
        started: Instant::now(),
        lines: Vec::new(),
        not_run: 0,
    };
    let result = suite.run_all(allow_skip);
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
        let mut prometheus = None;
        self.step("Prometheus", || {
            // Not everybody can have it.
            Ok(match setup::prometheus() {
                Ok(directory) => {
                    prometheus = Some(directory);
                    Outcome::Passed
                }
                Err(error) => Outcome::NotRun(format!("{error:#}")),
            })
        })?;
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
        let mut agent = PathBuf::new();
        self.step("build", || {
            agent = build::agent()?;
            Ok(Outcome::Passed)
        })?;
        self.step("eBPF programs for other machines", || {
            build::for_other_machines()?;
            Ok(Outcome::Passed)
        })?;
        self.step("live tests", || live(&agent, prometheus, allow_skip))?;
        self.step("other kernels", || other_kernels(&agent))
    }

    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Outcome>) -> Result<()> {
        let started = Instant::now();
        eprintln!("test: {name} ...");
        let outcome = work();
        let seconds = started.elapsed().as_secs_f64();
        self.lines.push(match &outcome {
            Ok(Outcome::Passed) => format!("passed  {seconds:7.1} s  {name}"),
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

fn deny() -> Result<Outcome> {
    let mut probe = cargo();
    let found = Step::new("test", "deny").output(
        "looking for it",
        probe.args(["deny", "--version"]),
        LIMIT,
    );
    if found.is_err() {
        return Ok(Outcome::NotRun(
            "not installed (cargo install --locked cargo-deny)".to_owned(),
        ));
    }
    quiet(cargo().args(["deny", "--workspace", "check"]))
}

/// Without one, the tests of the page say that they did not run.
fn browser() -> Outcome {
    match setup::browser() {
        Ok(()) => Outcome::Passed,
        Err(error) => Outcome::NotRun(format!("{error:#}")),
    }
}

/// Tests on the real kernel and a real server: compiled as the user, run as root.
fn live(agent: &Path, prometheus: Option<&Path>, allow_skip: bool) -> Result<Outcome> {
    if !run::is_root() && setup::find_program("sudo").is_none() {
        ensure!(
            allow_skip,
            "NOT RUN: live tests: need root, and there is no sudo here (--allow-skip to pass without)"
        );
        return Ok(Outcome::NotRun(
            "need root, and there is no sudo here".to_owned(),
        ));
    }
    let binary = live_binary()?;
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
    // `env`, since sudo passes no environment on.
    let mut words: Vec<&OsStr> = variables.iter().map(OsStr::new).collect();
    words.extend([binary.as_os_str(), OsStr::new("--test-threads=1")]);
    let mut command = run::root_command(Path::new("env"), &words)?;
    // Where cargo would run them.
    visible(command.current_dir(workspace().join("tests")))
}

/// Kernels under emulation. Not everybody can have QEMU, or reach Debian.
fn other_kernels(agent: &Path) -> Result<Outcome> {
    match vm::prepare_usual() {
        Ok(kernels) => vm::run_few(agent, &kernels).map(|()| Outcome::Passed),
        Err(error) => Ok(Outcome::NotRun(format!("{error:#}"))),
    }
}

fn live_binary() -> Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "test",
        "--locked",
        "-p",
        "vault-tracer-tests",
        "--features",
        "live",
        "--test",
        "live",
    ]);
    build.args(["--no-run", "--message-format=json-render-diagnostics"]);
    let messages =
        Step::new("test", "live").output("compiling the live tests", &mut build, LIMIT)?;
    messages
        .lines()
        .find_map(live_executable)
        .context("cargo built the live tests, but named no executable")
}

/// The executable that one line of cargo's messages names, if it is that of the live tests.
fn live_executable(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let ours = message["reason"] == "compiler-artifact" && message["target"]["name"] == "live";
    ours.then(|| message["executable"].as_str().map(PathBuf::from))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_live_tests_are_found_among_cargos_messages() {
        let artifact = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        assert_eq!(
            live_executable(&artifact("live", r#""/t/live-1""#)),
            Some("/t/live-1".into())
        );
        assert_eq!(live_executable(&artifact("lab", "null")), None);
        assert_eq!(
            live_executable(r#"{"reason":"build-finished","success":true}"#),
            None
        );
        assert_eq!(live_executable("no json"), None);
    }
}

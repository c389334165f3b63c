//! `cargo xtask test`: everything CI runs, in the order in which failures are cheapest. `--quick` is its beginning, `--full`
//! adds what takes long and readers that are not ours.
//!
//! Lints, tests and live tests select the same packages and features, so that cargo compiles each dependency once.
//!
//! There are no lints for the BPF target: Debian's compiler, the one that usually has a BPF core,
//! comes without clippy. `cargo clippy --workspace` covers what the eBPF crate shares with the agent.

mod live;
mod suite;
mod unprivileged;

use std::{
    env,
    ffi::OsString,
    iter,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use self::suite::Suite;
use crate::{
    budget, build, cpu_time,
    dist::DistOptions,
    fuzz::{self, FuzzOptions},
    run,
    setup::{self, cargo},
    ui::{Captured, Remedy, Step, failure},
    vm::{self, installed},
};

const LIMIT: Duration = Duration::from_hours(1);
/// Of a database of 10 MB.
const FETCH_LIMIT: Duration = Duration::from_mins(3);

/// Tests that `cargo test` does not run here: as root, one process each.
const LIVE: &str = "live";
/// Tests with programs that read our formats, one package of tests each.
const FOREIGN: [&str; 2] = ["page", "prometheus"];
/// The same among other tests.
const FOREIGN_TEST: &str = "a_real_collector_forwards_the_spans_of_the_file";

#[derive(clap::Args)]
pub struct TestOptions {
    /// Run the cheap part: formatting, lints, unit tests, replays, simulations; no root, no eBPF
    #[arg(long, conflicts_with_all = ["full", "live"])]
    quick: bool,
    /// Also run what takes long: other programs that read our formats (collector, Prometheus, browser), other kernels; then
    /// list when each step last passed
    #[arg(long, conflicts_with = "live")]
    full: bool,
    /// Succeed although the live tests could not run (they are still reported as NOT RUN)
    #[arg(long)]
    allow_skip: bool,
    /// Build, then run only the live tests whose names contain one of these words, or all
    #[arg(long, value_name = "WORD", num_args = 0..)]
    live: Option<Vec<String>>,
    /// Run the live tests on this `vault` or `bao` executable instead of the downloaded OpenBao
    #[arg(long, value_name = "PATH", requires = "live")]
    server: Option<PathBuf>,
}

pub fn run(options: &TestOptions) -> Result<()> {
    let steps = match options {
        TestOptions { live: Some(_), .. } => 3,
        TestOptions { quick: true, .. } => 6,
        TestOptions { full: true, .. } => 24,
        _ => 14,
    };
    let mut suite = Suite::new(steps + usize::from(options.allow_skip && !options.quick));
    let result = suite.run(options);
    suite.summarise(result.is_ok(), options.full);
    result
}

impl Suite {
    fn run(&mut self, options: &TestOptions) -> Result<()> {
        if let Some(words) = &options.live {
            let prometheus = self.optional("Prometheus", setup::prometheus);
            let agent = self.step("build", build::agent)?;
            return self.live_tests(&agent, prometheus.as_deref(), options, words);
        }
        self.quick()?;
        if options.quick {
            return Ok(());
        }
        let prometheus = options
            .full
            .then(|| self.foreign_readers())
            .transpose()?
            .flatten();
        if let Some(mut deny) = self.optional("cargo-deny", setup::deny) {
            // Licences, sources and versions. Not advisories: whether a commit passes must not depend on the day.
            let checks = ["--workspace", "check", "bans", "licenses", "sources"];
            self.step("cargo deny check", || quiet(deny.args(checks)).map(drop))?;
        }
        let agent = self.step("build", build::agent)?;
        self.step("budget", budget::run)?;
        self.step(
            "eBPF programs for other machines",
            build::for_other_machines,
        )?;
        self.live_tests(&agent, prometheus.as_deref(), options, &[])?;
        let full = options.full;
        if let Some(kernels) = self.optional("QEMU and other kernels", || vm::prepare_few(full)) {
            self.step("other kernels", || vm::run_few(&agent, &kernels, full))?;
        }
        if full {
            self.advisories()?;
            self.step("faults at random", || run::short_soak(&agent, "2"))?;
            // Chance decides which faults: a defect that is rare may fail it. It prints the seed, and how to repeat the case.
            self.step("random faults", || random_faults(&agent))?;
            // A minute for all targets.
            self.step("fuzzing", || fuzz::run(&FuzzOptions::short(8)))?;
            self.step("release, twice", || {
                installed::release(&DistOptions::all_checked())
            })?;
        }
        Ok(())
    }

    /// Known vulnerabilities of our dependencies. Where the database cannot be had, that is said; without `--full` they are not
    /// looked for, since whether a commit passes must not depend on the day.
    fn advisories(&mut self) -> Result<()> {
        let fetched = self.optional("the database of advisories (RustSec)", || {
            let mut deny = setup::deny()?;
            let step = Step::new("test", "advisories");
            step.output("fetching them", deny.args(["fetch", "db"]), FETCH_LIMIT)
        });
        if fetched.is_none() {
            return Ok(());
        }
        self.step("cargo deny check advisories", || {
            let mut deny = setup::deny()?;
            let checks = ["--workspace", "check", "--disable-fetch", "advisories"];
            quiet(deny.args(checks)).map(drop)
        })
    }

    /// Everything that needs neither root nor eBPF.
    fn quick(&mut self) -> Result<()> {
        self.step("cargo fmt --check", || {
            component("fmt", "rustfmt")?;
            quiet(cargo().args(["fmt", "--all", "--check"]))?;
            quiet(first_stage("fmt").arg("--check")).map(drop)
        })?;
        self.step("cargo clippy", || {
            component("clippy", "clippy")?;
            let mut clippy = cargo();
            clippy.args(["clippy", "--all-targets", "--locked"]);
            clippy.args(build::TESTED).args(["--", "-D", "warnings"]);
            quiet(&mut clippy)?;
            let mut clippy = first_stage("clippy");
            clippy.args(["--all-targets", "--target-dir", "target/xtask"]);
            quiet(clippy.args(["--", "-D", "warnings"])).map(drop)
        })?;
        let python = self.optional("Python's packages", python_path);
        let compiled = self.step("compiling the tests", || {
            cpu_time::measured("the tests", unprivileged::compile)
        })?;
        self.step("tests", || compiled.run(python.as_deref()))?;
        self.step("the recorded demo", || recorded_demo(compiled.agent()?))
    }

    /// The agent's formats, read by programs that are not ours. Returns Prometheus's directory.
    fn foreign_readers(&mut self) -> Result<Option<PathBuf>> {
        let rotel = self.optional("Rotel", || setup::ROTEL.executable());
        let prometheus = self.optional("Prometheus", setup::prometheus);
        self.optional("a browser for the report's page", setup::require_browser);
        self.step("readers that are not ours", || {
            let mut test = cargo();
            test.args(["test", "--locked"]).args(build::TESTED);
            for name in FOREIGN.iter().chain(&["collector"]) {
                test.args(["--test", name]);
            }
            test.envs(rotel.map(|path| (setup::ROTEL.variable, path)));
            let directory = prometheus.as_ref();
            test.envs(directory.map(|path| (lab::prometheus::VARIABLE, path)));
            Step::visible("testing", &mut test, LIMIT)
        })?;
        Ok(prometheus)
    }

    fn live_tests(
        &mut self,
        agent: &Path,
        prometheus: Option<&Path>,
        options: &TestOptions,
        wanted: &[String],
    ) -> Result<()> {
        if options.allow_skip
            && self
                .optional("root for the live tests", live::require_root)
                .is_none()
        {
            return Ok(());
        }
        let server = options.server.as_deref();
        self.step("live tests", || {
            live::run(agent, prometheus, server, wanted)
        })
    }
}

/// For two minutes, from a seed that is today's date.
fn random_faults(agent: &Path) -> Result<()> {
    let mut truth = run::truth_command(agent, &["--seconds", "120"])?;
    Step::visible("random faults", &mut truth, LIMIT)
}

/// `cargo` with a subcommand for the first stage, which is a workspace of its own.
fn first_stage(subcommand: &str) -> Command {
    let mut command = cargo();
    command.args([subcommand, "--manifest-path", "xtask/Cargo.toml"]);
    command
}

/// As a user starts it, without a terminal and in a directory of its own.
fn recorded_demo(agent: &Path) -> Result<()> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let mut demo = Command::new(env::current_exe()?);
    demo.arg("--agent-path").arg(agent);
    demo.args(["run", "--demo", "--recorded"]);
    quiet(demo.current_dir(directory.path())).map(drop)
}

fn component(subcommand: &str, component: &str) -> Result<()> {
    let mut probe = cargo();
    Step::new("test", component).output("looking for it", probe.args([subcommand, "--version"]), LIMIT).map(drop).remedy(
        format_args!("cargo {subcommand} does not work"),
        format_args!("rustup component add {component} (Debian's own toolchain: apt-get install rust-{component} or {component})"),
    )
}

/// Runs a program whose output is shown only if it fails. Returns its standard output.
fn quiet(command: &mut Command) -> Result<String> {
    let mut captured = Captured::new(command)?;
    let status = Step::new("test", "running").wait("running", command, LIMIT)?;
    if !status.success() {
        eprint!("{}{}", captured.stdout()?, captured.stderr()?);
        bail!("{}", failure(command, status));
    }
    captured.stdout()
}

/// Works on all of them, `at_once` in parallel; the first error if there is one.
fn in_parallel<I: Sync, O: Send>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> Result<O> + Sync,
) -> Result<Vec<O>> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(work(item)?);
        }
        anyhow::Ok(done)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(worker)).collect();
        let join = |worker: ScopedJoinHandle<Result<Vec<O>>>| {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic))
        };
        let done: Vec<_> = workers.into_iter().map(join).collect::<Result<_>>()?;
        Ok(done.into_iter().flatten().collect())
    })
}

/// `PYTHONPATH` with the packages that read the agent's formats.
fn python_path() -> Result<OsString> {
    let packages = setup::python_packages()?;
    let others = env::var_os("PYTHONPATH").unwrap_or_default();
    let others = env::split_paths(&others).filter(|path| path != Path::new(""));
    env::join_paths(iter::once(packages).chain(others)).context("PYTHONPATH cannot be made")
}

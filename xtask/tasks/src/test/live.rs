//! The live tests on the real kernel and a real server: compiled as the user, run as root. Each has a process and a lab
//! of its own, and mostly waits: more run at once than there are processors.

use std::{
    env,
    ffi::OsStr,
    num::NonZero,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::server::Product;

use super::in_parallel;
use crate::{
    build, eventlogger, root,
    setup::{self, cargo, workspace},
    ui::{Captured, Step},
};

/// Limit of compiling and of listing.
const BUILD_LIMIT: Duration = Duration::from_hours(1);

/// Limit of one test, in seconds, kept by `timeout`, which can also stop what runs under sudo.
const TEST_LIMIT: &str = "300";
/// For when that fails.
const TEST_LIMIT_OURS: Duration = Duration::from_secs(330);

/// Variables of the developer that are passed on, see `CONTRIBUTING.md`.
const PASSED_ON: [&str; 3] = [
    "VAULT_TRACER_KEEP",
    "VAULT_TRACER_PROBES",
    "VAULT_TRACER_REPLAY",
];

/// Tests at once for each processor. One takes 6 s, of which it works for 1.2.
const PER_PROCESSOR: usize = 2;

/// Beginnings of the names of tests that need all processors for themselves.
const ALONE: [&str; 1] = ["scale::"];

/// Beginnings of the names of tests that make no sense on Vault, and why.
const NOT_ON_VAULT: [(&str, &str); 2] = [
    (
        "cluster::a_forwarded_request_is_blocked_by_both_servers",
        "a standby of Vault audits nothing",
    ),
    ("http_device::", "Vault has no HTTP device"),
];

struct LiveTests {
    binary: PathBuf,
    /// Whose server they run on.
    product: Product,
    /// `NAME=VALUE`
    variables: Vec<String>,
    /// Makes root's command of a program and its arguments.
    as_root: fn(&Path, &[&OsStr]) -> Result<Command>,
}

/// A test that has ended.
struct Ended {
    name: String,
    passed: bool,
    duration: Duration,
    output: String,
}

/// How many tests to run at once that mostly wait.
pub fn at_once() -> usize {
    PER_PROCESSOR * thread::available_parallelism().map_or(1, NonZero::get)
}

/// Fails where nothing can be run as root.
pub fn require_root() -> Result<()> {
    ensure!(
        root::is_root() || setup::find_program("sudo").is_some(),
        "need root, and there is no sudo here"
    );
    Ok(())
}

/// Runs the tests whose names contain one of `wanted`, or all, on this executable of a server.
pub fn run(
    agent: &Path,
    prometheus: Option<&Path>,
    server: Option<&Path>,
    wanted: &[String],
) -> Result<()> {
    require_root().context("NOT RUN: live tests (--allow-skip to pass without)")?;
    LiveTests::prepare(agent, prometheus, server)?.run(wanted)
}

/// Returns the executable of the server, and whose it is.
fn find_server(given: Option<&Path>) -> Result<(PathBuf, Product)> {
    let path = setup::server(given)?;
    let (product, version) = Product::ask(&path)?;
    println!("server: {version} ({})", path.display());
    Ok((path, product))
}

/// Why a test makes no sense on this server.
fn not_run(product: Product, name: &str) -> Option<&'static str> {
    let is_vault = product == Product::Vault;
    let found = NOT_ON_VAULT
        .iter()
        .find(|(begin, _)| is_vault && name.starts_with(begin));
    found.map(|(_, why)| *why)
}

impl LiveTests {
    /// Compiles them, and prepares what they need.
    fn prepare(agent: &Path, prometheus: Option<&Path>, server: Option<&Path>) -> Result<Self> {
        let (bao, product) = find_server(server)?;
        let binary = executable()?;
        let eventlogger = eventlogger::programs()?;
        setup::require(setup::LIVE_TESTS)?;
        let variable = |name: &str, path: &Path| format!("{name}={}", path.display());
        let mut variables = vec![
            variable("VAULT_TRACER_AGENT", agent),
            variable(setup::OPENBAO.variable, &bao),
            variable(eventlogger::VARIABLE, &eventlogger),
        ];
        variables.extend(prometheus.map(|path| variable(lab::prometheus::VARIABLE, path)));
        let set = PASSED_ON
            .iter()
            .filter_map(|name| env::var(name).ok().map(|value| format!("{name}={value}")));
        variables.extend(set);
        Ok(Self {
            binary,
            product,
            variables,
            as_root: root::root_command,
        })
    }

    fn run(&self, wanted: &[String]) -> Result<()> {
        let started = Instant::now();
        let names = self.names(wanted)?;
        ensure!(
            !names.is_empty(),
            "no live test has a name with {}",
            wanted.join(" or ")
        );
        let (left_out, names): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| not_run(self.product, name).is_some());
        for name in &left_out {
            let why = not_run(self.product, name).unwrap_or_default();
            println!("test {name} ... NOT RUN: {why}");
        }
        ensure!(
            !names.is_empty(),
            "NOT RUN: {}: none of these live tests makes sense on this server",
            left_out.join(", ")
        );
        let (alone, others): (Vec<_>, Vec<_>) = names
            .into_iter()
            .partition(|name| ALONE.iter().any(|begin| name.starts_with(begin)));
        println!("running {} tests", alone.len() + others.len());
        let mut ended = self.run_all(&others, at_once())?;
        ended.extend(self.run_all(&alone, 1)?);
        summarise(&ended, left_out.len(), started.elapsed())
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

    /// Runs each in a process of its own, `at_once` of them in parallel.
    fn run_all(&self, names: &[String], at_once: usize) -> Result<Vec<Ended>> {
        in_parallel(names, at_once, |name| {
            let test = self.run_one(name)?;
            print!("{}", test.verdict());
            Ok(test)
        })
    }

    fn run_one(&self, name: &str) -> Result<Ended> {
        let started = Instant::now();
        // `env`, since sudo passes no environment on. In the foreground, so that Ctrl-C reaches the test.
        let mut words: Vec<&OsStr> = self.variables.iter().map(OsStr::new).collect();
        words.extend(["timeout", "--foreground", "--kill-after=10", TEST_LIMIT].map(OsStr::new));
        words.push(self.binary.as_os_str());
        words.extend(["--exact", name, "--test-threads=1"].map(OsStr::new));
        let mut command = (self.as_root)(Path::new("env"), &words)?;
        // Where cargo would run them.
        command.current_dir(workspace().join("tests"));
        let mut captured = Captured::new(&mut command)?;
        let status = Step::silent(name, &mut command, TEST_LIMIT_OURS)?;
        let output = format!("{}{}", captured.stdout()?, captured.stderr()?);
        Ok(Ended {
            passed: passed(status, &output),
            duration: started.elapsed(),
            output,
            name: name.to_owned(),
        })
    }
}

impl Ended {
    /// In the format of Rust's own harness, with the lines of a passed test that say what was not run.
    fn verdict(&self) -> String {
        let verdict = if self.passed { "ok" } else { "FAILED" };
        let seconds = self.duration.as_secs_f64();
        let mut text = format!("test {} ... {verdict} <{seconds:.1}s>\n", self.name);
        let not_run = self
            .output
            .lines()
            .filter(|line| line.starts_with("NOT RUN"));
        not_run.for_each(|line| text.extend([line, "\n"]));
        text
    }
}

/// A harness that did not find the test succeeds too.
fn passed(status: ExitStatus, output: &str) -> bool {
    status.success() && output.contains("test result: ok. 1 passed")
}

/// Prints the output of the tests that failed, and the result in the format of Rust's own harness.
fn summarise(ended: &[Ended], not_run: usize, duration: Duration) -> Result<()> {
    let failed: Vec<_> = ended.iter().filter(|test| !test.passed).collect();
    for test in &failed {
        println!("\n---- {} ----\n{}", test.name, test.output.trim_end());
    }
    let names: Vec<_> = failed.iter().map(|test| test.name.as_str()).collect();
    if !names.is_empty() {
        println!("\nfailures:\n    {}", names.join("\n    "));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {not_run} not run; finished in {:.2}s\n",
        if names.is_empty() { "ok" } else { "FAILED" },
        ended.len() - names.len(),
        names.len(),
        duration.as_secs_f64()
    );
    ensure!(
        names.is_empty(),
        "live tests: {} failed: {}",
        names.len(),
        names.join(", ")
    );
    Ok(())
}

fn executable() -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["test", "--locked"]).args(build::TESTED);
    build.args(["--test", "live"]);
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

    /// A script in place of the executable of tests; `otherwise` decides about every `$name` but `good`.
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
        // By another process: a fork of this one may inherit the descriptor, and then executing fails with ETXTBSY.
        let mut install = Command::new("install");
        install.args([&text, &binary]);
        Step::new("test", "script").output("installing it", &mut install, BUILD_LIMIT)?;
        Ok(LiveTests {
            binary,
            product: Product::OpenBao,
            variables: vec!["WORD=hello".to_owned()],
            as_root: |program, words| {
                let mut command = Command::new(program);
                command.args(words);
                Ok(command)
            },
        })
    }

    fn run_with(otherwise: &str, wanted: &[&str]) -> Result<()> {
        let directory = tempfile::tempdir()?;
        let wanted: Vec<_> = wanted.iter().map(|&word| word.to_owned()).collect();
        suite(directory.path(), otherwise)?.run(&wanted)
    }

    #[test]
    fn what_makes_no_sense_on_vault_is_not_run_there() -> Result<()> {
        let bad = "verdict=FAILED";
        let directory = tempfile::tempdir()?;
        let mut suite = suite(directory.path(), bad)?;
        suite.product = Product::Vault;
        suite.run(&["good".to_owned()])?;
        let name = "http_device::an_outage";
        assert_eq!(
            not_run(Product::Vault, name),
            Some("Vault has no HTTP device")
        );
        assert_eq!(not_run(Product::OpenBao, name), None);
        assert_eq!(not_run(Product::Vault, "hang::over_ipv4"), None);
        Ok(())
    }

    #[test]
    fn a_server_that_is_none_is_an_error() {
        let error = |path| {
            format!(
                "{:#}",
                find_server(Some(Path::new(path))).expect_err("none")
            )
        };
        assert!(error("/no/such").contains("--server /no/such: there is no such file"));
        assert!(error("/bin/echo").contains("neither Vault nor OpenBao"));
    }

    #[test]
    fn a_failed_test_is_not_tried_again() {
        let at_second = r#"[ -e "$0.seen" ] && verdict=ok || verdict=FAILED; touch "$0.seen""#;
        let error = run_with(at_second, &[]).map_err(|error| error.to_string());
        assert_eq!(error, Err("live tests: 1 failed: a::other".to_owned()));
    }

    #[test]
    fn words_choose_and_no_test_is_a_failure() -> Result<()> {
        let bad = "verdict=FAILED";
        run_with(bad, &["good"])?;
        assert!(run_with(bad, &["such"]).is_err());
        // A harness that does not find the name succeeds with 0 tests.
        assert!(run_with("echo 'test result: ok. 0 passed'; exit 0", &["other"]).is_err());
        Ok(())
    }
}

//! `cargo xtask vm`: the live tests inside Debian's own kernels, under QEMU's software emulation. Nothing but
//! QEMU is installed, no root is needed where it is, and the guests have no network.

mod cpio;
mod expected;
mod guest;
mod kernels;
mod machine;
mod report;
mod table;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use self::{
    guest::Programs,
    kernels::{CHOICES, Choice, Kernel},
    machine::{End, Serial},
    report::Results,
    table::Column,
};
use crate::{build, setup};

/// Every probe by every way, and the hang from start to report: found on this host, and on the other.
const TESTS: [&str; 6] = [
    "kernel::every_probe_that_attaches_fires_with_the_right_arguments",
    "hang::over_ipv4_both_hangs_are_tied_to_their_requests",
    "hang::system_calls_show_both_hangs_where_the_socket_layer_has_no_tracepoints",
    "hang::functions_show_both_hangs_where_they_can_be_probed",
    "hang::kprobes_show_both_hangs_where_there_are_any",
    "states::data_that_nobody_acknowledges_is_no_ack",
];

/// Those of them that `cargo xtask test` has the time for.
const FEW: [&str; 2] = [TESTS[0], TESTS[1]];

/// The kernels of most servers.
const USUAL: &str = "6.1,6.12";

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Which: 5.10, 6.1, 6.12, latest
    #[arg(long, value_delimiter = ',', default_value = USUAL, value_parser = choice)]
    kernel: Vec<Choice>,
    /// Write what the guests' serial ports show into this directory
    #[arg(long, value_name = "DIR")]
    keep_serial: Option<PathBuf>,
    /// Download the kernels anew, in the versions that are current now
    #[arg(long)]
    refresh: bool,
    /// Run these live tests, by their full names, instead of the usual ones
    #[arg(last = true, value_name = "TESTS")]
    tests: Vec<String>,
}

fn choice(name: &str) -> Result<Choice, String> {
    let found = CHOICES.into_iter().find(|choice| choice.name == name);
    found.ok_or_else(|| format!("one of {}", CHOICES.map(|choice| choice.name).join(", ")))
}

/// The task: runs the guests, and prints the table of what they reported.
pub fn run(options: &Options) -> Result<()> {
    let kernels = prepare(&options.kernel, options.refresh)?;
    let mut tests = options.tests.clone();
    if tests.is_empty() {
        tests = TESTS.map(str::to_owned).into();
    }
    let kept = options.keep_serial.as_deref();
    kept.map_or(Ok(()), fs::create_dir_all)
        .context("--keep-serial")?;
    run_all(&build::agent()?, &kernels, &tests, kept, false).map(drop)
}

/// A step of `cargo xtask test`: the kernels of most servers, and few tests. Fails if QEMU or the kernels
/// cannot be had.
pub fn prepare_usual() -> Result<Vec<Kernel>> {
    let usual = USUAL.split(',').map(choice);
    let usual: Vec<_> = usual
        .collect::<Result<_, _>>()
        .map_err(anyhow::Error::msg)?;
    prepare(&usual, false)
}

/// The rest of it. A guest that failed is booted once more; returns those that passed only then.
pub fn run_few(agent: &Path, kernels: &[Kernel]) -> Result<Vec<String>> {
    run_all(agent, kernels, &FEW.map(str::to_owned), None, true)
}

fn prepare(choices: &[Choice], refresh: bool) -> Result<Vec<Kernel>> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "only kernels for x86-64 are run so far"
    );
    setup::vm_programs()?;
    let kernel = |choice| kernels::get(choice, refresh);
    choices.iter().map(kernel).collect()
}

fn run_all(
    agent: &Path,
    kernels: &[Kernel],
    tests: &[String],
    kept: Option<&Path>,
    once_more: bool,
) -> Result<Vec<String>> {
    let programs = Programs::new(agent, &setup::bao()?, &guest::build()?)?;
    let (mut columns, mut failed, mut flaky) = (Vec::new(), Vec::new(), Vec::new());
    for kernel in kernels {
        let run = || run_one(kernel, &programs, tests, kept);
        let (mut column, mut passed) = run()?;
        if !passed && once_more {
            eprintln!("vm: {}: once more", kernel.name);
            (column, passed) = run()?;
            flaky.extend(passed.then(|| kernel.name.to_owned()));
        }
        if !passed {
            failed.push(kernel.name);
        }
        columns.push(column);
    }
    println!("{}", table::markdown(&columns));
    ensure!(failed.is_empty(), "vm: FAILED: {}", failed.join(", "));
    Ok(flaky)
}

/// Whether the guest did and was what it should; what went wrong is told.
fn run_one(
    kernel: &Kernel,
    programs: &Programs,
    tests: &[String],
    kept: Option<&Path>,
) -> Result<(Column, bool)> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let serial = Serial::in_directory(kept.unwrap_or(directory.path()), kernel.name);
    let (end, took) = boot(kernel, programs, tests, &serial)?;
    let results = Results::parse(&Serial::read(&serial.reports));
    tell(kernel, &results, took);
    let judged = judge(&end, &results, tests);
    if let Err(error) = &judged {
        show(&serial);
        eprintln!("vm: {}: {error:#}", kernel.name);
    }
    let column = Column {
        name: kernel.name,
        results,
        took,
    };
    Ok((column, judged.is_ok()))
}

fn boot(
    kernel: &Kernel,
    programs: &Programs,
    tests: &[String],
    serial: &Serial,
) -> Result<(End, Duration)> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let initramfs = directory.path().join("initramfs");
    programs.pack(kernel, tests, File::create(&initramfs)?)?;
    machine::run(kernel, &initramfs, serial)
}

fn tell(kernel: &Kernel, results: &Results, took: Duration) {
    let release = results.release.as_deref().unwrap_or("did not come up");
    let (name, seconds) = (kernel.name, took.as_secs_f64());
    eprintln!("vm: {name}: Linux {release}, {seconds:.1} s");
    for complaint in &results.complaints {
        eprintln!("vm: {name}: {complaint}");
    }
    for (test, outcome) in &results.tests {
        eprintln!("vm: {name}: {outcome:<7} {test}");
    }
}

/// Init's word alone would not do: a test whose name is misspelt fails nobody.
fn judge(end: &End, results: &Results, tests: &[String]) -> Result<()> {
    match end {
        End::Crashed(why) => bail!("the guest did not come to an end: {why}"),
        End::Failed => bail!("tests failed"),
        End::Passed => {}
    }
    for test in tests {
        let outcome = results.tests.get(test).map(String::as_str);
        let said = outcome.unwrap_or("not run");
        ensure!(outcome == Some("ok"), "{test}: {said}");
    }
    let differences = expected::differences(results);
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

/// All that there is, since a boot that failed is hard to have again.
fn show(serial: &Serial) {
    for file in [&serial.console, &serial.reports] {
        eprintln!("vm: --- {}", file.display());
        eprintln!("{}", Serial::read(file).trim_end());
    }
    eprintln!("vm: ---");
}

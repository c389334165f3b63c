//! `cargo xtask vm`: the live tests inside Debian's own kernels, under QEMU's software emulation, of this host's architecture
//! or of another. Nothing but QEMU is installed, no root is needed where it is, and the guests have no network.

mod expected;
mod guest;
pub mod installed;
mod kernels;
mod qemu;
mod report;
mod table;

use std::{
    env::consts,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::{
    guest::GuestFiles,
    kernels::{CHOICES, Choice, Kernel},
    qemu::Serial,
    report::GuestReport,
    table::KernelColumn,
};
use crate::{build, dist, machine::Machine, setup};

/// Every probe of every strategy, and the hang from start to report.
const TESTS: [&str; 6] = [
    "kernel::every_probe_that_attaches_fires_with_the_right_arguments",
    "hang::over_ipv4_both_hangs_are_tied_to_their_requests",
    "hang::system_calls_show_both_hangs_where_the_socket_layer_has_no_tracepoints",
    "hang::functions_show_both_hangs_where_they_can_be_probed",
    "hang::kprobes_show_both_hangs_where_there_are_any",
    "states::data_that_nobody_acknowledges_is_no_ack",
];

/// Those that `cargo xtask test --full` has the time for.
const FEW: [&str; 2] = [TESTS[0], TESTS[1]];

/// The kernels of most servers.
const USUAL: &str = "6.1,6.12";

/// Those of `cargo xtask test --full`: also the oldest, whose verifier refuses programs that all newer ones take.
const FULL: &str = "5.10,6.1,6.12";

/// The kernel and the test that `cargo xtask test` has the time for: the host may have no kprobes, and this test waits for
/// conditions, so that it passes on a busy machine too.
const ONE: (&str, &str) = ("6.12", TESTS[0]);

#[derive(clap::Args)]
pub struct VmOptions {
    /// Kernels: 5.10, 6.1, 6.12, latest
    #[arg(long, value_delimiter = ',', default_value = USUAL, value_parser = choice)]
    kernel: Vec<Choice>,
    /// Their architecture, and that of all that runs in them: amd64, arm64
    #[arg(long, default_value = consts::ARCH, value_parser = Machine::named)]
    arch: Machine,
    /// Write the output of the guests' serial ports into this directory
    #[arg(long, value_name = "DIR")]
    keep_serial: Option<PathBuf>,
    /// Download the current versions of the kernels
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

/// The task: runs the guests, and prints a table of their reports.
pub fn run(options: &VmOptions) -> Result<()> {
    let kernels = prepare(&options.kernel, options.arch, options.refresh)?;
    let mut tests = options.tests.clone();
    if tests.is_empty() {
        tests = TESTS.map(str::to_owned).into();
    }
    let kept = options.keep_serial.as_deref();
    kept.map_or(Ok(()), fs::create_dir_all)
        .context("--keep-serial")?;
    let agent = if options.arch.is_here() {
        build::agent()?
    } else {
        dist::agent(options.arch)?
    };
    run_all(&agent, options.arch, &kernels, &tests, kept)
}

/// For `cargo xtask test`: one kernel, or several.
pub fn prepare_few(full: bool) -> Result<Vec<Kernel>> {
    let names = if full { FULL } else { ONE.0 };
    let choices = names.split(',').map(choice).collect::<Result<Vec<_>, _>>();
    prepare(&choices.map_err(anyhow::Error::msg)?, Machine::HERE, false)
}

/// For `cargo xtask test`: one test, or few.
pub fn run_few(agent: &Path, kernels: &[Kernel], full: bool) -> Result<()> {
    let tests = if full { &FEW[..] } else { &[ONE.1] };
    let tests: Vec<_> = tests.iter().map(|&test| test.to_owned()).collect();
    run_all(agent, Machine::HERE, kernels, &tests, None)
}

fn prepare(choices: &[Choice], machine: Machine, refresh: bool) -> Result<Vec<Kernel>> {
    setup::require(&setup::for_guests(machine))?;
    let kernel = |choice| kernels::get(choice, machine, refresh);
    choices.iter().map(kernel).collect()
}

fn run_all(
    agent: &Path,
    machine: Machine,
    kernels: &[Kernel],
    tests: &[String],
    kept: Option<&Path>,
) -> Result<()> {
    let guest = GuestFiles::new(machine, agent, &guest::build(machine, &guest::TESTS)?)?;
    let (mut columns, mut failed) = (Vec::new(), Vec::new());
    for kernel in kernels {
        let (column, passed) = run_one(kernel, &guest, tests, kept)?;
        columns.push(column);
        failed.extend((!passed).then_some(kernel.name));
    }
    println!("{}", table::markdown(&columns));
    ensure!(failed.is_empty(), "vm: FAILED: {}", failed.join(", "));
    Ok(())
}

/// Runs one guest; prints what it reported, and its serial ports if anything went wrong.
fn run_one(
    kernel: &Kernel,
    guest: &GuestFiles,
    tests: &[String],
    kept: Option<&Path>,
) -> Result<(KernelColumn, bool)> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let serial = Serial::in_directory(kept.unwrap_or(directory.path()), kernel.name);
    let initramfs = directory.path().join("initramfs");
    guest.pack(kernel, tests, &initramfs)?;
    let started = Instant::now();
    let ended = qemu::run(kernel, &initramfs, &serial);
    let took = started.elapsed();
    let report = GuestReport::parse(&Serial::read(&serial.reports));
    print(kernel, &report, took);
    let judged = judge(ended, kernel.machine, &report, tests);
    if let Err(error) = &judged {
        show(&serial);
        eprintln!("vm: {}: {error:#}", kernel.name);
    }
    let column = KernelColumn {
        name: kernel.name,
        report,
        took,
    };
    Ok((column, judged.is_ok()))
}

fn print(kernel: &Kernel, report: &GuestReport, took: Duration) {
    let release = report.release.as_deref().unwrap_or("did not come up");
    let (name, seconds) = (kernel.name, took.as_secs_f64());
    eprintln!("vm: {name}: Linux {release}, {seconds:.1} s");
    for complaint in &report.complaints {
        eprintln!("vm: {name}: {complaint}");
    }
    for (test, outcome) in &report.tests {
        eprintln!("vm: {name}: {outcome:<7} {test}");
    }
}

/// The tests' exit status is not enough: libtest succeeds where no test has the name.
fn judge(
    ended: Result<()>,
    machine: Machine,
    report: &GuestReport,
    tests: &[String],
) -> Result<()> {
    ended.context("the guest did not come to an end")?;
    ensure!(report.has_ended, "the tests did not come to an end");
    for test in tests {
        let outcome = report.tests.get(test).map(String::as_str);
        ensure!(
            outcome == Some("ok"),
            "{test}: {}",
            outcome.unwrap_or("not run")
        );
    }
    let status = report.status;
    ensure!(status == Some(0), "the tests ended with {status:?}");
    let differences = expected::differences(machine, report);
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

/// Prints everything, since a failed boot is hard to reproduce.
fn show(serial: &Serial) {
    for file in [&serial.console, &serial.reports] {
        eprintln!("vm: --- {}", file.display());
        eprintln!("{}", Serial::read(file).trim_end());
    }
    eprintln!("vm: ---");
}

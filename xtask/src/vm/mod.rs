//! `cargo xtask vm`: the live tests inside Debian's own kernels, under QEMU's software emulation. Nothing but
//! QEMU is installed, no root is needed where it is, and the guests have no network.

mod cpio;
mod guest;
mod kernels;
mod machine;
mod report;

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
};
use crate::{build, setup};

/// What each guest runs, unless told otherwise: the hang from start to report, by each way of probing.
const TESTS: [&str; 4] = [
    "hang::over_ipv4_both_hangs_are_tied_to_their_requests",
    "hang::system_calls_show_both_hangs_where_the_socket_layer_has_no_tracepoints",
    "states::what_this_host_drops_on_its_way_out_is_a_local_drop",
    "states::data_that_nobody_acknowledges_is_no_ack",
];

/// Options of the task.
#[derive(clap::Args)]
pub struct Options {
    /// Which: 5.10, 6.1, 6.12, latest
    #[arg(long, value_delimiter = ',', default_value = "6.1,6.12", value_parser = choice)]
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

/// The task.
pub fn run(options: &Options) -> Result<()> {
    setup::vm_programs()?;
    let agent = build::agent()?;
    let kept = options.keep_serial.as_deref();
    kept.map_or(Ok(()), fs::create_dir_all)
        .context("--keep-serial")?;
    let mut tests = options.tests.clone();
    if tests.is_empty() {
        tests = TESTS.map(str::to_owned).into();
    }
    let programs = Programs::new(&agent, &setup::bao()?, &guest::build()?)?;
    let mut failed = Vec::new();
    for choice in &options.kernel {
        let kernel = kernels::get(choice, options.refresh)?;
        if let Err(error) = one(&kernel, &programs, &tests, kept) {
            eprintln!("vm: {}: {error:#}", kernel.name);
            failed.push(kernel.name);
        }
    }
    ensure!(failed.is_empty(), "vm: FAILED: {}", failed.join(", "));
    Ok(())
}

fn one(kernel: &Kernel, programs: &Programs, tests: &[String], kept: Option<&Path>) -> Result<()> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let initramfs = directory.path().join("initramfs");
    programs.pack(kernel, tests, File::create(&initramfs)?)?;
    let serial = Serial::in_directory(kept.unwrap_or(directory.path()), kernel.name);
    let (end, took) = machine::run(kernel, &initramfs, &serial)?;
    let results = Results::parse(&Serial::read(&serial.reports));
    tell(kernel, &results, took);
    judge(&end, &results, tests).inspect_err(|_| show(&serial))
}

fn tell(kernel: &Kernel, results: &Results, took: Duration) {
    let release = results.release.as_deref().unwrap_or("did not come up");
    eprintln!(
        "vm: {}: Linux {release}, {:.1} s",
        kernel.name,
        took.as_secs_f64()
    );
    for (test, outcome) in &results.tests {
        eprintln!("vm: {}: {outcome:<7} {test}", kernel.name);
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
        ensure!(
            outcome == Some("ok"),
            "{test}: {}",
            outcome.unwrap_or("not run")
        );
    }
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

//! The first stage of `cargo xtask`. It looks whether this machine can do what is asked, before anything large is
//! downloaded or compiled; then it builds the tasks (`xtask/tasks`) and becomes them.
//!
//! It has no dependency and is a workspace of its own, so that cargo compiles it without a network and without a cache.

mod kernel;
mod limited;
mod needs;
mod observe;
mod package_sources;
mod paths;
mod second_stage;
mod verdict;

use std::{
    env,
    ffi::OsString,
    process::{exit, ExitCode},
    time::Instant,
};

use needs::Needs;

/// Says that the machine is fit although it seems not to be.
const NO_PREFLIGHT: &str = "VAULT_TRACER_NO_PREFLIGHT";

/// What `cargo xtask --help` prints; a test of the tasks compares it with their command line.
const HELP: &str = include_str!("../help.txt");

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if words == [kernel::TRY] {
        println!("{}", kernel::try_all());
        return ExitCode::SUCCESS;
    }
    if needs::is_plain_help(&words) {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let needs = Needs::of(&words);
    if let Err(lines) = preflight(&needs) {
        for line in lines {
            eprintln!("{line}");
        }
        return ExitCode::FAILURE;
    }
    match second_stage::start(&needs, &arguments) {
        second_stage::NotStarted::BuildFailed(code) => exit(code),
        second_stage::NotStarted::Error(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The lines that say what this machine lacks for the task.
fn preflight(needs: &Needs) -> Result<(), Vec<String>> {
    if env::var_os(NO_PREFLIGHT).is_some() {
        return Ok(());
    }
    let started = Instant::now();
    let lines = verdict::lines(needs, &observe::observe(needs));
    if lines.is_empty() {
        let seconds = started.elapsed().as_secs_f64();
        needs.show_step("check", &format!("this machine can do it ({seconds:.1} s)"));
        return Ok(());
    }
    Err(lines)
}

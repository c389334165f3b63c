//! What an operator does with a package, in a guest whose first process is systemd: install it, start the service, read of a hang,
//! rotate, have it restarted, upgrade, remove. `cargo xtask dist --install-check` starts this, and reads what it prints.

mod leftovers;
mod packages;
mod service;

use std::{
    env, fs,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::{
    Family, Lab,
    guest::{PLAN, Plan, Report},
    scenario::BIG_REQUEST,
};

use self::{
    leftovers::{State, programs_of_users},
    packages::{MANAGERS, Manager},
};

/// Under emulation, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// In the place of the default ones.
const OPTIONS: &str =
    "OPTIONS=\"--process bao --metrics 9464 --flight-recorder /var/log/vault-tracer\"\n";
const CONFIGURATION: &str = "/etc/default/vault-tracer";

/// Directories that hosts with RPM have, and this root may lack.
const OF_OTHERS: [&str; 2] = ["/usr/lib/systemd/system", "/usr/share/man/man1"];

fn main() -> ExitCode {
    let begun = Instant::now();
    let outcome = work();
    let took_ms = begun.elapsed().as_millis() as u64;
    let report = match outcome {
        Ok(()) => Report::Ended {
            status: Some(0),
            took_ms,
        },
        Err(error) => Report::Broken {
            error: format!("{error:#}"),
        },
    };
    println!("\n{}", report.to_line());
    match report {
        Report::Ended { .. } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn work() -> Result<()> {
    let plan = fs::read(PLAN).with_context(|| format!("cannot read {PLAN}"))?;
    let plan: Plan = serde_json::from_slice(&plan)?;
    for module in &plan.modules {
        // One that is built in, or not needed.
        if let Err(error) = output(&["insmod", module]) {
            println!("{error:#}");
        }
    }
    println!("{}", output(&["systemctl", "--version"])?.trim_end());
    let bao = env::args_os().nth(1).context("no path of OpenBao")?;
    let lab = Lab::start(Path::new(&bao), Family::V4)?;
    println!("OpenBao runs");
    for manager in MANAGERS {
        package(manager, &lab).with_context(|| manager.ending)?;
    }
    Ok(())
}

/// From the installation of a package to its removal.
fn package(manager: &Manager, lab: &Lab) -> Result<()> {
    for directory in OF_OTHERS {
        fs::create_dir_all(directory)?;
    }
    let before = State::now()?;
    install(manager)?;
    start(manager)?;
    hang(lab)?;
    let journal = service::wait_for_hang(lab)?;
    manager.done(&format!("the journal has the hang:\n{journal}"));
    service::rotate()?;
    manager.done("the trace was renamed and the service reloaded: a new file, with its session");
    service::freeze()?;
    manager.done("the watchdog had an agent replaced that was stopped");
    upgrade(manager)?;
    remove(manager, &before)
}

/// Nothing is started by that.
fn install(manager: &Manager) -> Result<()> {
    manager.install("old")?;
    let version = output(&["vault-tracer", "--version"])?;
    manager.done(&format!("installed: {}", version.trim_end()));
    service::verify()?;
    let exposure = service::exposure()?;
    manager.done(&format!("systemd-analyze security: {exposure}"));
    let state = service::get("ActiveState")?;
    ensure!(state == "inactive", "it is {state} after its installation");
    Ok(())
}

fn start(manager: &Manager) -> Result<()> {
    fs::write(CONFIGURATION, OPTIONS)?;
    let begun = Instant::now();
    service::control("enable")?;
    service::control("start")?;
    let (took, status) = (begun.elapsed(), service::get("StatusText")?);
    manager.done(&format!("started in {:.1} s: {status}", took.as_secs_f32()));
    ensure!(
        !programs_of_users()?.is_empty(),
        "it traces without programs"
    );
    service::check_privileges()
}

/// While it runs.
fn upgrade(manager: &Manager) -> Result<()> {
    let old = service::get("MainPID")?;
    manager.install("new")?;
    service::wait_until_active(&old)?;
    let configuration = fs::read_to_string(CONFIGURATION)?;
    ensure!(configuration == OPTIONS, "it changed {CONFIGURATION}");
    let sessions = service::records("session")?.len();
    ensure!(
        sessions == 3,
        "{sessions} sessions in the trace, not one each of reload, watchdog and upgrade"
    );
    manager.done("upgraded while it ran: restarted, its configuration kept");
    Ok(())
}

fn remove(manager: &Manager, before: &State) -> Result<()> {
    manager.remove()?;
    let stays = before.what_stays()?;
    let expected = manager.stays;
    ensure!(stays == expected, "stays: {stays:?}, not {expected:?}");
    manager.done(&format!("removed; stays: {stays:?}"));
    // For the next package manager.
    for path in expected {
        fs::remove_dir_all(path).or_else(|_| fs::remove_file(path))?;
    }
    Ok(())
}

/// Breaks the socket as operators report it, until a request hangs; then mends it.
fn hang(lab: &Lab) -> Result<()> {
    lab.client.get(BIG_REQUEST)?;
    let fault = lab.drop_output()?;
    lab.fill()?;
    fault.lift()?;
    lab.client.get(BIG_REQUEST).map(drop)
}

/// What a program prints on both streams, if it succeeds.
fn output(words: &[&str]) -> Result<String> {
    let shown = words.join(" ");
    let (program, arguments) = words.split_first().context("no program")?;
    let output = Command::new(program).args(arguments).output();
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(
        output.status.success(),
        "{shown}: {}: {text}",
        output.status
    );
    Ok(text)
}

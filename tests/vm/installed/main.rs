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
    leftovers::State,
    packages::{MANAGERS, Manager},
    service::{DIRECTORY, Service},
};

/// Under emulation, on a busy machine.
const LIMIT: Duration = Duration::from_mins(2);

/// In the place of the default ones.
const OPTIONS: &str =
    "OPTIONS=\"--process bao --metrics 9464 --flight-recorder /var/log/vault-tracer\"\n";
const CONFIGURATION: &str = "/etc/default/vault-tracer";

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
    let step = |text: &str| println!("{}: {text}", manager.ending);
    let before = State::now()?;
    manager.install("old")?;
    step(&format!(
        "installed: {}",
        output(&["vault-tracer", "--version"])?.trim_end()
    ));
    let service = Service;
    service.verify()?;
    step(&format!(
        "systemd-analyze security: {}",
        service.exposure()?
    ));
    ensure!(
        service.get("ActiveState")? == "inactive",
        "it was started by its installation"
    );
    fs::write(CONFIGURATION, OPTIONS)?;

    let begun = Instant::now();
    service.control("enable")?;
    service.control("start")?;
    step(&format!(
        "started after {:.1} s: {}",
        begun.elapsed().as_secs_f32(),
        service.get("StatusText")?
    ));
    service.check_privileges()?;
    hang(lab)?;
    step(&format!(
        "the journal has the hang:\n{}",
        service.wait_for_hang(lab)?
    ));
    service.rotate()?;
    step("reload: the trace goes on in a new file");
    service.freeze()?;
    step("the watchdog restarted an agent that was stopped");

    let old = service.get("MainPID")?;
    manager.install("new")?;
    service.wait_until_active(&old)?;
    ensure!(
        fs::read_to_string(CONFIGURATION)? == OPTIONS,
        "the upgrade changed {CONFIGURATION}"
    );
    step("upgraded while it ran: restarted, its configuration kept");
    let sessions = service.records("session")?.len();
    ensure!(
        sessions == 3,
        "{sessions} sessions in the trace, not one each of reload, watchdog and upgrade"
    );

    manager.remove()?;
    ensure!(
        !Path::new("/usr/bin/vault-tracer").exists(),
        "the executable is there"
    );
    let stays = before.what_stays()?;
    ensure!(
        stays == manager.stays,
        "stays: {stays:?}, not {:?}",
        manager.stays
    );
    step(&format!("removed; stays: {stays:?}"));
    // For the next package manager.
    for path in manager.stays {
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
    lab.client.get(BIG_REQUEST)?;
    ensure!(Path::new(DIRECTORY).is_dir(), "no {DIRECTORY}");
    Ok(())
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

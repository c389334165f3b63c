//! The live view beside a real server, on a terminal: what the operator of a server sees while its audit device stalls.

use std::thread;

use anyhow::{Result, ensure};
use lab::{Family, Lab, scenario::BIG_REQUEST, tracer::agent_from_environment};
use pty_process::blocking::Command;
use test_support::pty::OnTerminal;

use crate::outage::{DEFAULT_TIMEOUT, lab, lab_with};

fn watch(lab: &Lab) -> Result<OnTerminal> {
    let command = Command::new(agent_from_environment()?)
        .args(["trace", "--pid", &lab.server.pid().to_string()])
        .env("TERM", "xterm-256color");
    let on = OnTerminal::start(command, (24, 80))?;
    on.shows(&format!("vault-tracer  {} (PID", lab.server.name()))?;
    on.is_taken()?;
    Ok(on)
}

/// By itself, since nothing else was asked for; while all is well, too, which the agent gets in numbers only.
#[test]
fn a_stall_shows_while_it_lasts_and_its_report_stays() -> Result<()> {
    // Each wait long enough to be seen on a busy machine.
    let lab = lab_with(Family::V4, DEFAULT_TIMEOUT)?;
    let mut on = watch(&lab)?;
    let device = format!("to-socket0/ (tcp {})", lab.log_address());
    on.until("the healthy device", |screen| {
        let asked = lab.client.get(BIG_REQUEST);
        let mut lines = screen.lines();
        let works = lines.any(|line| line.starts_with("to-socket0/ ") && line.contains(" ok "));
        let numbers = [
            " audit writes/s, 0 blocked",
            "OK  no audit device blocks a request",
        ];
        asked.is_ok() && works && numbers.iter().all(|text| screen.contains(text))
    })?;
    thread::scope(|scope| {
        let fault = lab.drop_output()?;
        let fills = scope.spawn(|| lab.fill());
        // All at once, since a screen is drawn piece by piece; and lines are broken where the screen ends.
        let answer = [
            format!("BLOCKED {device} unresponsive for "),
            "1 request is blocked".to_owned(),
            "local_drop: this host drops the packets".to_owned(),
        ];
        on.until("the answer", |screen| {
            let words = screen.split_whitespace().collect::<Vec<_>>().join(" ");
            answer.iter().all(|line| words.contains(line))
        })?;
        on.until("the blocked request", |screen| {
            let mut lines = screen.lines();
            lines.any(|line| line.contains("read sys/mounts") && line.contains("connect"))
        })?;
        fills.join().expect("no panic")?;
        on.shows("LAST HANGS")?;
        fault.lift()?;
        lab.client.get(BIG_REQUEST)?;
        on.shows("OK  no audit device blocks a request; 1 hang before")
    })?;
    on.types("q")?;
    let status = on.ends()?;
    ensure!(status.success(), "{}", on.raw());
    on.is_restored()?;
    let screen = on.screen();
    ensure!(screen.contains("1 request blocked ("), "{screen}");
    ensure!(screen.contains("1 hang. Seen: "), "{screen}");
    Ok(())
}

/// What is said on standard error meanwhile does not tear the screen, and is not lost.
#[test]
fn that_the_server_has_ended_is_said_when_the_screen_is_left() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid();
    let mut on = watch(&lab)?;
    drop(lab);
    let status = on.ends()?;
    ensure!(status.success(), "{}", on.raw());
    on.is_restored()?;
    let said = format!("vault-tracer: warn: the server (PID {pid}) has ended");
    let screen = on.screen();
    ensure!(screen.contains(&said), "{screen}");
    ensure!(
        screen.contains("No audit device blocked or failed a request. Seen: "),
        "{screen}"
    );
    Ok(())
}

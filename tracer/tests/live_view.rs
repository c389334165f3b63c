//! The live view on a real terminal: its screen, its keys, and that the terminal is restored. Replays a recording, so
//! without root.

use std::{env, ffi::OsStr, fs, io, path::Path, process, sync::Arc, thread, time::Duration};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use pty_process::blocking::Command;
use test_support::{pty::OnTerminal, replays::recording};
use tracer::sink::{
    Sink, Worker,
    tui::{QuitFlag, Tui},
};
use tracer_model::{Finding, Session};

const SIZE: (u16, u16) = (24, 80);

fn replay(case: &str, options: &[&str]) -> Command {
    Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .arg("replay")
        .arg(recording(case))
        .args(options)
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
}

fn live(case: &str) -> Result<OnTerminal> {
    let on = OnTerminal::start(replay(case, &["--live"]), SIZE)?;
    on.shows("LAST HANGS")?;
    on.is_taken()?;
    Ok(on)
}

/// After the end, the terminal is restored and shows the report.
fn ends_with_its_report(mut on: OnTerminal) -> Result<()> {
    let status = on.ends()?;
    ensure!(status.success(), "{status}: {}", on.screen());
    on.is_restored()?;
    let screen = on.screen();
    ensure!(screen.contains("worst    2.02 s"), "{screen}");
    ensure!(screen.contains("2 hangs. Seen: "), "{screen}");
    ensure!(!screen.contains("LAST HANGS"), "{screen}");
    Ok(())
}

#[test]
fn keys_change_the_view_and_q_ends_with_the_report() -> Result<()> {
    let on = live("drop-on-vault-host")?;
    ensure!(on.screen().contains("ENDED"), "{}", on.screen());
    on.types("\r")?;
    on.shows("tie: goroutine")?;
    on.types("\u{1b}")?;
    on.shows("LAST HANGS")?;
    on.types("s")?;
    on.shows("s sort: duration")?;
    on.types("?")?;
    on.shows("Keys")?;
    on.types("\u{1b}")?;
    // Else both may be read as one.
    on.shows("LAST HANGS")?;
    on.types("\u{1b}[B")?;
    on.shows(">")?;
    on.types("p")?;
    on.shows("p go on")?;
    on.types("q")?;
    ends_with_its_report(on)
}

#[test]
fn control_c_ends_it() -> Result<()> {
    let on = live("drop-on-vault-host")?;
    on.types("\u{3}")?;
    ends_with_its_report(on)
}

#[test]
fn signals_restore_the_terminal() -> Result<()> {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let on = live("drop-on-vault-host")?;
        on.signal(signal)?;
        ends_with_its_report(on)?;
    }
    Ok(())
}

#[test]
fn a_resized_terminal_is_redrawn() -> Result<()> {
    let on = live("drop-on-vault-host")?;
    on.resize((12, 40))?;
    on.until("the narrow screen", |screen| {
        screen.contains("p s:time Enter ? q") && !screen.contains("CAUSE")
    })?;
    on.resize((30, 120))?;
    on.shows("up/down Enter inspect")?;
    on.types("q")?;
    ends_with_its_report(on)
}

#[test]
fn no_color_is_respected() -> Result<()> {
    // Foreground and background, of 8 and of 256 colours.
    let colour = |raw: &str| {
        let mut sequences = raw.split("\u{1b}[").skip(1);
        sequences.any(|s| s.starts_with("38;") || s.starts_with("48;") || s.starts_with("31m"))
    };
    for no_color in [false, true] {
        let mut command = replay("drop-on-vault-host", &["--live"]);
        if no_color {
            command = command.env("NO_COLOR", "1");
        }
        let mut on = OnTerminal::start(command, SIZE)?;
        on.shows("LAST HANGS")?;
        on.types("q")?;
        on.ends()?;
        ensure!(colour(&on.raw()) != no_color, "{:?}", on.raw());
    }
    Ok(())
}

#[test]
fn without_a_screen_there_are_lines() -> Result<()> {
    let dumb = replay("drop-on-vault-host", &["--live"]).env("TERM", "dumb");
    let never = replay("drop-on-vault-host", &["--live=never"]);
    let by_itself = replay("drop-on-vault-host", &[]);
    let quiet = replay("drop-on-vault-host", &["--live", "-o", "-"]);
    for command in [dumb, never, by_itself, quiet] {
        let mut on = OnTerminal::start(command, SIZE)?;
        let status = on.ends()?;
        ensure!(status.success(), "{}", on.raw());
        ensure!(!on.raw().contains("\u{1b}[?1049h"), "{:?}", on.raw());
        ensure!(on.raw().contains("HANG 1.0"), "{:?}", on.raw());
        on.is_restored()?;
    }
    Ok(())
}

#[test]
fn a_pipe_gets_lines() -> Result<()> {
    let output = process::Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
        .arg("replay")
        .arg(recording("drop-on-vault-host"))
        .arg("--live")
        .env("TERM", "xterm")
        .output()?;
    ensure!(output.status.success() && output.stderr.is_empty());
    let report = String::from_utf8(output.stdout)?;
    ensure!(
        report.contains("HANG 1.0") && !report.contains('\u{1b}'),
        "{report}"
    );
    Ok(())
}

/// The variable that makes one of the tests below the program on the terminal. Its value is a file: the program continues
/// when that exists.
const ROLE: &str = "VAULT_TRACER_TEST_CONTINUE";

/// Runs one test of this program on the terminal, until it shows the view.
fn run_self(test: &str, sign: &Path) -> Result<OnTerminal> {
    let command = Command::new(env::current_exe()?)
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, sign)
        .env("TERM", "xterm-256color")
        .env("RUST_BACKTRACE", "0");
    let on = OnTerminal::start(command, SIZE)?;
    on.shows("No audit device has been seen yet")?;
    on.is_taken()?;
    Ok(on)
}

fn wait_for(sign: &OsStr) {
    while !Path::new(sign).exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

fn expect_restored_after(test: &str) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let sign = directory.path().join("panic");
    let mut on = run_self(test, &sign)?;
    fs::write(&sign, "")?;
    let status = on.ends()?;
    ensure!(!status.success(), "{}", on.raw());
    on.is_restored()?;
    let screen = on.screen();
    ensure!(screen.contains("it is broken"), "{screen}");
    Ok(())
}

fn panic_at(sign: &OsStr) {
    wait_for(sign);
    panic!("it is broken");
}

/// An output to which nothing can be written.
struct Broken;

impl Sink<Finding> for Broken {
    fn write(&mut self, _: &Finding) -> io::Result<()> {
        Err(io::Error::other("it is broken"))
    }

    fn name(&self) -> String {
        "this".to_owned()
    }

    fn kind(&self) -> &'static str {
        "broken"
    }
}

/// Lines for standard error are shown in the view, and printed when it is closed.
#[test]
fn messages_do_not_damage_the_screen() -> Result<()> {
    const MESSAGE: &str = "vault-tracer: cannot write to this: it is broken; retrying";
    let Some(sign) = env::var_os(ROLE) else {
        let directory = tempfile::tempdir()?;
        let sign = directory.path().join("write");
        let mut on = run_self("messages_do_not_damage_the_screen", &sign)?;
        fs::write(&sign, "")?;
        let screen = on.shows(&format!("! {MESSAGE}"))?;
        let second = screen.lines().nth(1).unwrap_or_default();
        ensure!(second.starts_with("No audit device"), "{screen}");
        ensure!(screen.matches(MESSAGE).count() == 1, "{screen}");
        on.types("q")?;
        ensure!(on.ends()?.success(), "{}", on.raw());
        on.is_restored()?;
        let screen = on.screen();
        ensure!(screen.contains(&format!("\n{MESSAGE}")), "{screen}");
        return Ok(());
    };
    let quit = QuitFlag::default();
    let mut view = Worker::spawn(Tui::new(quit.clone()));
    let mut broken = Worker::spawn(Broken);
    for finding in shown() {
        view.send(&Arc::new(finding));
    }
    wait_for(&sign);
    let [session, _] = shown();
    broken.send(&Arc::new(session));
    while !quit.is_set() {
        thread::sleep(Duration::from_millis(5));
    }
    view.finish()?;
    ensure!(broken.finish().is_err());
    Ok(())
}

fn shown() -> [Finding; 2] {
    [
        Finding::Session(Session::default()),
        Finding::Snapshot(Box::default()),
    ]
}

#[test]
fn a_panic_elsewhere_restores_the_terminal() -> Result<()> {
    let Some(sign) = env::var_os(ROLE) else {
        return expect_restored_after("a_panic_elsewhere_restores_the_terminal");
    };
    let mut worker = Worker::spawn(Tui::new(QuitFlag::default()));
    for finding in shown() {
        worker.send(&Arc::new(finding));
    }
    panic_at(&sign);
    worker.finish()
}

#[test]
fn a_panic_of_the_view_restores_the_terminal() -> Result<()> {
    let Some(sign) = env::var_os(ROLE) else {
        return expect_restored_after("a_panic_of_the_view_restores_the_terminal");
    };
    let mut tui = Tui::new(QuitFlag::default());
    for finding in shown() {
        tui.write(&finding)?;
    }
    tui.settle()?;
    panic_at(&sign);
    Ok(())
}

//! `cargo xtask run --demo`: reproduces the hang that operators report, traces it, and compares the trace with what the
//! client measured.

use std::{
    env,
    ffi::OsString,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{
    Family, Lab, Measured, Process,
    client_times::{ClientTimes, client_requests},
    scenario::{BIG_REQUEST, PORT},
    wait,
};
use nix::sys::signal::Signal;

mod compare;
pub mod recorded;

use compare::Trace;

use self::recorded::{CLIENT_TIMES, RECORDING};
use crate::{root::give_to_user, ui::Step};

/// In the current directory, so that the user finds it.
const TRACE: &str = "vault-tracer-demo.jsonl";
const PAGE: &str = "vault-tracer-demo.html";
/// The directory to keep a recording in, with what the client measured: that of `--recorded` is made so.
const KEEP: &str = "VAULT_TRACER_KEEP";
/// Limit of reading the server's executable and attaching.
const ATTACH_LIMIT: Duration = Duration::from_secs(30);
/// Limit of writing the rest of the trace.
const FINISH_LIMIT: Duration = Duration::from_secs(15);

/// Runs the demo; an error if the trace does not agree with the client.
pub fn run(agent: &Path, bao: &Path, extra_tracer_args: &[OsString]) -> Result<()> {
    wait::catch_interrupts()?;
    let begun = Instant::now();
    let lab = Lab::start(bao, Family::V4).context("the lab did not start")?;
    say(&format!(
        "OpenBao runs as pid {}, with two audit devices: a file, and tcp {} on another host",
        lab.server.pid(),
        lab.log_address()
    ));
    let keep = env::var_os(KEEP).map(PathBuf::from);
    let mut tracer_args = extra_tracer_args.to_vec();
    if let Some(directory) = &keep {
        fs::create_dir_all(directory).with_context(|| format!("{KEEP}={}", directory.display()))?;
        tracer_args.extend(["--record".into(), directory.join(RECORDING).into()]);
    }
    let mut tracer = AttachedAgent::start(agent, lab.server.pid(), &tracer_args)?;
    let times = ClientTimes {
        requests: client_requests(&reproduce(&lab)?),
        devices: vec![lab.log_address().to_string()],
        side_by_side: false,
    };
    tracer.finish()?;
    if let Some(directory) = &keep {
        let times = serde_json::to_string_pretty(&times)? + "\n";
        fs::write(directory.join(CLIENT_TIMES), times)?;
    }
    say(&format!(
        "done after {:.0} s; the client's own measurement beside the trace:",
        begun.elapsed().as_secs_f64()
    ));
    let trace = Trace::read(Path::new(TRACE))?;
    let comparison = compare::compare(&times.requests, &trace);
    println!("\n{comparison}");
    make_page(agent, Path::new(TRACE), Path::new(PAGE))?;
    say(&format!(
        "the trace is in {TRACE}, the same as a page in {PAGE}"
    ));
    comparison.verdict()
}

/// The report of a trace as a page of HTML.
fn make_page(agent: &Path, trace: &Path, page: &Path) -> Result<()> {
    let mut report = Command::new(agent);
    report.arg("report").arg(trace).arg("--html").arg(page);
    Step::new("demo", "page").output("making the page", &mut report, FINISH_LIMIT)?;
    give_to_user(page)
}

fn say(line: &str) {
    println!("demo: {line}");
}

/// Sends requests before, during and after the fault. Returns all of them.
fn reproduce(lab: &Lab) -> Result<Vec<Measured>> {
    let mut requests = Vec::new();
    let mut ask = |comment: &str| -> Result<()> {
        let request = lab.client.get(BIG_REQUEST)?;
        say(&format!("{}: {comment}", took(&request)));
        requests.push(request);
        Ok(())
    };
    ask("all is well")?;
    let fault = lab.drop_output()?;
    say(&format!(
        "the Vault host's firewall now drops what it sends to tcp/{PORT}"
    ));
    ask("nobody notices: the audit entries go into the socket's send buffer")?;
    say("sending requests until the buffer is full");
    let mut filling = lab.fill()?;
    if let Some(last) = filling.last() {
        say(&format!(
            "{}: it met the full buffer, after {} that were fast",
            took(last),
            filling.len() - 1
        ));
    }
    requests.append(&mut filling);
    let next = lab.client.get(BIG_REQUEST)?;
    say(&format!(
        "{}: the device has no connection any more",
        took(&next)
    ));
    requests.push(next);
    fault.lift()?;
    say("the firewall rule is removed");
    let last = lab.client.get(BIG_REQUEST)?;
    say(&format!("{}: all is well again", took(&last)));
    requests.push(last);
    Ok(requests)
}

fn took(request: &Measured) -> String {
    format!(
        "GET {} took {:.2} s",
        request.audit_path(),
        request.duration.as_secs_f64()
    )
}

struct AttachedAgent(Process);

impl AttachedAgent {
    /// Returns once it is attached.
    fn start(agent: &Path, pid: u32, extra_args: &[OsString]) -> Result<Self> {
        // A trace is appended to; that of an earlier demo would be compared with this one's clients.
        match fs::remove_file(TRACE) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).context(format!("cannot remove the earlier {TRACE}"));
            }
            _ => {}
        }
        let pid_word = pid.to_string();
        let mut command = Command::new(agent);
        // Its output is not redirected: each hang is shown as it ends.
        command
            .args(["trace", "--pid", &pid_word, "--output", TRACE])
            .args(extra_args);
        let mut process = Process::spawn("the tracer", &mut command)?;
        wait::until("the tracer to attach", ATTACH_LIMIT, || {
            if let Some(status) = process.exited()? {
                bail!("the tracer ended before it was attached ({status})");
            }
            Ok(attached(pid).then_some(()))
        })?;
        say(&format!(
            "the tracer is attached: vault-tracer trace --pid {pid} --output {TRACE}"
        ));
        Ok(Self(process))
    }

    /// Ends it as Ctrl-C would.
    fn finish(&mut self) -> Result<()> {
        self.0.signal(Signal::SIGINT)?;
        let status = self.0.wait(FINISH_LIMIT)?;
        ensure!(status.success(), "the tracer failed ({status})");
        give_to_user(Path::new(TRACE))
    }
}

/// Whether the trace file begins with the session of this server.
fn attached(pid: u32) -> bool {
    let text = fs::read_to_string(TRACE).unwrap_or_default();
    let first = text
        .split_once('\n')
        .and_then(|(line, _)| serde_json::from_str::<serde_json::Value>(line).ok());
    first.is_some_and(|record| record["type"] == "session" && record["pid"] == pid)
}

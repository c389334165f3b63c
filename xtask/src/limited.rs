//! Child processes with a time limit.

use std::{
    io::Read,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// How a child process ended.
pub(crate) struct Ended {
    /// Whether it ended in time and with status 0.
    pub(crate) succeeded: bool,
    /// Whether it was stopped because it took too long.
    pub(crate) timed_out: bool,
    /// Its standard output.
    pub(crate) stdout: String,
    /// Its standard error; what stopped it, where it did not end by itself.
    pub(crate) stderr: String,
}

/// Runs a program whose output fits into a pipe. `None` if it cannot be started.
pub(crate) fn run(command: &mut Command, limit: Duration) -> Option<Ended> {
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let started = Instant::now();
    let mut status = None;
    while status.is_none() && started.elapsed() < limit {
        status = child.try_wait().ok()?;
        sleep(Duration::from_millis(5));
    }
    let Some(status) = status else {
        // Its pipes may be open in its own children: they are not read.
        let _ = child.kill();
        let _ = child.wait();
        return Some(Ended {
            succeeded: false,
            timed_out: true,
            stdout: String::new(),
            stderr: format!("no answer within {} s", limit.as_secs()),
        });
    };
    let text = |pipe: Option<&mut dyn Read>| {
        let mut bytes = Vec::new();
        // What could not be read is missing from a message, no more.
        let _ = pipe.map(|pipe| pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Some(Ended {
        succeeded: status.success(),
        timed_out: false,
        stdout: text(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read)),
        stderr: text(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_without_an_answer_is_stopped() {
        let started = Instant::now();
        let ended = run(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap();
        assert!(ended.timed_out && !ended.succeeded && started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn output_is_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2"]);
        let ended = run(&mut command, Duration::from_secs(10)).unwrap();
        assert!(ended.succeeded);
        assert_eq!((ended.stdout.trim(), ended.stderr.trim()), ("out", "err"));
        assert!(run(&mut Command::new("/nowhere"), Duration::from_secs(1)).is_none());
    }
}

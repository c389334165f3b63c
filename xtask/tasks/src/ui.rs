//! Progress of a task on standard error, one line a step; and child processes with time limits, so that a silent server
//! is an error and not a hang.

mod steps;

pub use steps::begin;

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::File,
    io::{IsTerminal, Read, Seek, stderr},
    path::Path,
    process::{Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};

/// Lines at the end of a failed program's output that an error quotes.
const QUOTED_LINES: usize = 15;

/// One step of a task: it ends with a line that reports the result.
pub struct Step {
    title: String,
    started: Instant,
}

impl Step {
    pub fn new(task: &str, name: &str) -> Self {
        Self {
            title: format!("{task}: {name}"),
            started: Instant::now(),
        }
    }

    /// Runs a program to its end and returns its standard output. `what` is shown meanwhile and in the error.
    pub fn output(&self, what: &str, command: &mut Command, limit: Duration) -> Result<String> {
        let mut captured = Captured::new(command)?;
        let status = self.wait(what, command, limit)?;
        ensure!(
            status.success(),
            "{what}: {}\n{}",
            failure(command, status),
            captured.tail()?
        );
        captured.stdout()
    }

    /// Runs a program without output to its end.
    pub fn wait(&self, what: &str, command: &mut Command, limit: Duration) -> Result<ExitStatus> {
        self.wait_while_it_writes(what, command, limit, || 0)
    }

    /// Runs a program to its end, as long as `written`, the number of bytes that it has written, grows within each `limit`.
    pub fn wait_while_it_writes(
        &self,
        what: &str,
        command: &mut Command,
        limit: Duration,
        written: impl Fn() -> u64,
    ) -> Result<ExitStatus> {
        let status = wait_limited(what, command, limit, |elapsed| {
            self.progress(what, elapsed);
            written()
        });
        clear_line();
        status
    }

    /// Runs a program to its end, its output going where ours goes.
    pub fn visible(what: &str, command: &mut Command, limit: Duration) -> Result<()> {
        let status = Self::silent(what, command, limit)?;
        ensure!(status.success(), "{what}: {}", failure(command, status));
        Ok(())
    }

    /// Runs a program to its end without showing progress: for several in parallel.
    pub fn silent(what: &str, command: &mut Command, limit: Duration) -> Result<ExitStatus> {
        wait_limited(what, command, limit, |_| 0)
    }

    /// Ends the step: with its duration if it did something, else its result was cached.
    pub fn end(self, fresh: bool, result: impl Display) {
        let seconds = self.started.elapsed().as_secs_f64();
        let how = if fresh {
            format!("{seconds:.1} s")
        } else {
            "cached".to_owned()
        };
        eprintln!("{}: {result} ({how})", self.title);
    }

    /// Announces something before it happens.
    pub fn note(&self, text: impl Display) {
        clear_line();
        eprintln!("{}: {text}", self.title);
    }

    fn progress(&self, what: &str, elapsed: Duration) {
        if stderr().is_terminal() {
            eprint!("\r\x1b[K{}: {what} ... {} s", self.title, elapsed.as_secs());
        }
    }
}

fn clear_line() {
    if stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}

/// Both output streams of a program, in files, since a pipe could fill up.
pub struct Captured {
    stdout: File,
    stderr: File,
}

impl Captured {
    /// Redirects `command`, whose input becomes empty.
    pub fn new(command: &mut Command) -> Result<Self> {
        let stdout = tempfile::tempfile().context("cannot create a temporary file")?;
        let stderr = tempfile::tempfile().context("cannot create a temporary file")?;
        command.stdin(std::process::Stdio::null());
        command
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?);
        Ok(Self { stdout, stderr })
    }

    pub fn stdout(&mut self) -> Result<String> {
        read_all(&mut self.stdout)
    }

    pub fn stderr(&mut self) -> Result<String> {
        read_all(&mut self.stderr)
    }

    fn tail(&mut self) -> Result<String> {
        let mut text = self.stderr()?;
        if text.trim().is_empty() {
            text = self.stdout()?;
        }
        let lines: Vec<_> = text
            .trim_end()
            .lines()
            .map(|line| format!("    {line}"))
            .collect();
        Ok(lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n"))
    }
}

fn read_all(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `progress` gets the time since the start. The limit begins anew when it returns another number.
fn wait_limited(
    what: &str,
    command: &mut Command,
    limit: Duration,
    progress: impl Fn(Duration) -> u64,
) -> Result<ExitStatus> {
    let spawned = command.spawn();
    let mut child = spawned.with_context(|| format!("{what}: cannot start {}", name(command)))?;
    let started = Instant::now();
    let mut last = (0, started);
    let mut pause = Duration::from_millis(2);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let (reached, since) = last;
        if since.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!(
                "{what}: {} did not finish in {} s and was stopped",
                name(command),
                started.elapsed().as_secs()
            );
        }
        if started.elapsed() > Duration::from_secs(1) {
            let now = progress(started.elapsed());
            if now != reached {
                last = (now, Instant::now());
            }
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// The program and its first argument that is not an option.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let is_option = |argument: &&OsStr| argument.as_encoded_bytes().starts_with(b"-");
    let task = command.get_args().find(|argument| !is_option(argument));
    let words = program.into_iter().chain(task).map(OsStr::to_string_lossy);
    format!("`{}`", words.collect::<Vec<_>>().join(" "))
}

/// `` `apt-get update` failed (exit status: 100) ``, for an error.
pub fn failure(command: &Command, status: ExitStatus) -> String {
    format!("{} failed ({status})", name(command))
}

/// The command line, without the environment.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Adds to an error what to do about it.
pub trait Remedy<T> {
    fn remedy(self, what: impl Display, remedy: impl Display) -> Result<T>;
}

impl<T> Remedy<T> for Result<T> {
    fn remedy(self, what: impl Display, remedy: impl Display) -> Result<T> {
        self.map_err(|error| anyhow!("{what}: {error:#}\n  what to do: {remedy}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(100);

    #[test]
    fn a_program_that_hangs_is_stopped_and_named() {
        let step = Step::new("test", "hang");
        let error = step
            .output("waiting", Command::new("sleep").arg("60"), SOON)
            .unwrap_err();
        assert!(step.started.elapsed() < Duration::from_secs(10));
        assert!(
            error
                .to_string()
                .starts_with("waiting: `sleep 60` did not finish"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_writes_has_more_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let written = || file.path().metadata().map_or(0, |file| file.len());
        let limit = Duration::from_secs(2);
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]).arg(file.path());
            let step = Step::new("test", "writes");
            step.wait_while_it_writes("waiting", &mut command, limit, written)
        };
        let lasting = "for i in 1 2 3 4 5 6; do echo $i >> $0; sleep 0.5; done";
        assert!(run(lasting).unwrap().success());
        assert!(run("echo 7 >> $0; exec sleep 60").is_err());
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let error = Step::new("test", "fail")
            .output("trying", &mut command, SOON * 100)
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("exit status: 3") && text.ends_with("    no such luck"),
            "{text}"
        );
    }

    #[test]
    fn a_remedy_comes_last() {
        let error = Err::<(), _>(anyhow!("the wire is cut")).remedy("no download", "mend it");
        let text = format!("{:#}", error.unwrap_err());
        assert_eq!(text, "no download: the wire is cut\n  what to do: mend it");
    }
}

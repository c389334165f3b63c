//! Child processes that cannot outlive us, and detached ones that are recognised again without doubt.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid, setsid};
use serde::{Deserialize, Serialize};

use crate::wait;

/// What a process gets to end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A child that is stopped when dropped, and killed by the kernel when **the thread that started it** ends.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
}

impl Process {
    /// Starts `command` in a process group of its own: Ctrl-C reaches us alone, and we decide what ends when.
    pub fn spawn(name: &str, command: &mut Command) -> Result<Self> {
        die_with_parent(command.process_group(0));
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program(command)))?;
        Ok(Self {
            child,
            name: name.to_owned(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipes, where the command asked for them.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal`, unless it has ended already.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(()); // reaped: the pid may be somebody else's by now
        }
        kill(Pid::from_raw(self.pid() as i32), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("{} (pid {}) to end", self.name, self.pid());
        wait::until(&what, limit, || self.exited())
    }

    /// SIGTERM, and SIGKILL for what does not heed it.
    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGTERM)?;
        if wait::to_the_end("it to end", GRACE, || self.exited()).is_err() {
            self.signal(Signal::SIGKILL)?;
            self.child
                .wait()
                .with_context(|| format!("cannot wait for {}", self.name))?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// A process that may outlive us: the pid alone could have been given to another in the meantime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// When the kernel started it, in clock ticks since boot.
    pub start_time: u64,
}

impl Identity {
    /// Starts `command` in a session of its own, with no tie to us.
    pub fn spawn_detached(name: &str, command: &mut Command) -> Result<Self> {
        leave_session(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program(command)))?;
        Self::of(child.id()).with_context(|| format!("{name} ended at once"))
    }

    /// The process that has this pid now.
    pub fn of(pid: u32) -> Result<Self> {
        let stat = tracer_proc::Process::new(pid as i32).stat();
        let stat = stat.with_context(|| format!("no process {pid}"))?;
        if stat.state == 'Z' {
            bail!("process {pid} has ended");
        }
        Ok(Self {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether it still runs.
    pub fn alive(&self) -> bool {
        Self::of(self.pid).is_ok_and(|now| now == *self)
    }

    /// SIGTERM, then SIGKILL. Nothing if it is gone, also when its pid is another's now.
    pub fn stop(&self) -> Result<()> {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            if !self.alive() {
                return Ok(());
            }
            match kill(Pid::from_raw(self.pid as i32), signal) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => {
                    return Err(errno)
                        .with_context(|| format!("cannot send {signal} to {}", self.pid));
                }
            }
            let ended = || Ok((!self.alive()).then_some(()));
            if wait::to_the_end("the process to end", GRACE, ended).is_ok() {
                return Ok(());
            }
        }
        bail!("process {} survived SIGKILL", self.pid)
    }
}

/// Runs `command` to its end and gives its standard output; what it complained about is in the error.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}: is it installed?", program(command)))?;
    finish(command, &output)
}

pub(crate) fn finish(command: &Command, output: &Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{command:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn program(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// The kernel kills the child when the thread that starts it ends, even if we are killed ourselves.
fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let tie = move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // We may have died before the line above.
        if getppid() == parent {
            Ok(())
        } else {
            Err(Errno::ESRCH.into())
        }
    };
    // SAFETY: prctl and getppid are async-signal-safe; nothing is allocated.
    unsafe { command.pre_exec(tie) };
}

fn leave_session(command: &mut Command) {
    let leave = || setsid().map(drop).map_err(Into::into);
    // SAFETY: setsid is async-signal-safe and touches no memory of ours.
    unsafe { command.pre_exec(leave) };
}

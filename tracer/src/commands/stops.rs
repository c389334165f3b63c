//! What ends a command, whatever else happens.

use std::{fs::File, future, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep_until},
};

/// Signals, and the time that was set.
pub(super) struct Stops {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    on_hangup: Hangup,
    limit: Option<Instant>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Signal,
    Limit,
    /// None: files are to be opened again.
    Reopen,
}

/// What SIGHUP means: that files were renamed, or that the terminal is gone.
#[derive(Clone, Copy, Debug)]
struct Hangup {
    /// Whether a file is written.
    has_files: bool,
    had_terminal: bool,
    /// As by `nohup`.
    was_ignored: bool,
}

impl Hangup {
    fn at_start(has_files: bool) -> Self {
        let ignored = tracer_proc::Process::myself().status("SigIgn").ok();
        let ignored = ignored.and_then(|digits| u64::from_str_radix(&digits, 16).ok());
        Self {
            has_files,
            had_terminal: has_terminal(),
            // SIGHUP is signal 1, the lowest bit.
            was_ignored: ignored.is_some_and(|signals| signals & 1 == 1),
        }
    }

    fn stop(self, has_terminal: bool) -> Stop {
        let lost_terminal = self.had_terminal && !has_terminal;
        if self.was_ignored || self.has_files && !lost_terminal {
            Stop::Reopen
        } else {
            Stop::Signal
        }
    }
}

fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

impl Stops {
    /// `has_files`: whether SIGHUP has files opened again.
    pub(super) fn new(limit: Option<Duration>, has_files: bool) -> Result<Self> {
        let on_hangup = Hangup::at_start(has_files);
        let on = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            on_hangup,
            limit: limit.map(|limit| Instant::now() + limit),
        })
    }

    pub(super) async fn wait(&mut self) -> Stop {
        let limit = self.limit;
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Signal,
            _ = self.terminate.recv() => Stop::Signal,
            _ = self.hangup.recv() => self.on_hangup.stop(has_terminal()),
            () = async { match limit {
                Some(at) => sleep_until(at).await,
                None => future::pending().await,
            }} => Stop::Limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sighup_means_renamed_files_unless_the_terminal_is_gone() {
        for (has_files, had_terminal, was_ignored, has_terminal, expected) in [
            // A service.
            (true, false, false, false, Stop::Reopen),
            // `kill -HUP` beside an open terminal, and a terminal that was closed.
            (true, true, false, true, Stop::Reopen),
            (true, true, false, false, Stop::Signal),
            // `nohup`.
            (true, true, true, false, Stop::Reopen),
            (false, true, true, false, Stop::Reopen),
            // Nothing to be opened.
            (false, false, false, false, Stop::Signal),
            (false, true, false, true, Stop::Signal),
        ] {
            let hangup = Hangup {
                has_files,
                had_terminal,
                was_ignored,
            };
            assert_eq!(hangup.stop(has_terminal), expected, "{hangup:?}");
        }
    }
}

//! What ends a command, whatever else happens.

use std::{future, time::Duration};

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
    limit: Option<Instant>,
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Signal,
    Limit,
}

impl Stops {
    pub(super) fn new(limit: Option<Duration>) -> Result<Self> {
        let on = |kind| signal(kind).context("cannot watch for signals");
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hangup: on(SignalKind::hangup())?,
            limit: limit.map(|limit| Instant::now() + limit),
        })
    }

    pub(super) async fn wait(&mut self) -> Stop {
        let limit = self.limit;
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Signal,
            _ = self.terminate.recv() => Stop::Signal,
            _ = self.hangup.recv() => Stop::Signal,
            () = async { match limit {
                Some(at) => sleep_until(at).await,
                None => future::pending().await,
            }} => Stop::Limit,
        }
    }
}

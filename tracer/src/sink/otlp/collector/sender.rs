//! Sends batches one after the other, and retries, until the trace is over and a little longer.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    buffer::{Batch, Buffer},
    client::Client,
    health::Health,
    outcome::{Outcome, PartialSuccess},
    retry::{Backoff, RetryDelay},
    tally::Tally,
};
use crate::console;

/// Time limit of a request, as in OpenTelemetry's exporters.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the first span of a batch waits for others: hangs end together.
const BATCH_DELAY: Duration = Duration::from_millis(100);

/// The longest wait of our own choice once the trace is over.
const LAST_WAIT: Duration = Duration::from_millis(500);

const NO_ANSWER: &str = "no answer";

/// Once the trace is over: until when there is time to send.
pub(super) type Deadline = Option<Instant>;

pub(super) struct Sender {
    client: Client,
    buffer: Arc<Buffer>,
    deadline: watch::Receiver<Deadline>,
    health: Health,
    backoff: Backoff,
    tally: Tally,
}

impl Sender {
    pub(super) fn new(
        client: Client,
        buffer: Arc<Buffer>,
        deadline: watch::Receiver<Deadline>,
        health: Health,
    ) -> Self {
        Self {
            client,
            buffer,
            deadline,
            health,
            backoff: Backoff::default(),
            tally: Tally::default(),
        }
    }

    /// Until there is nothing more to send, or no time to.
    pub(super) async fn run(mut self) -> Tally {
        let mut batch = Batch::default();
        // The first request is empty, as the protocol allows: a wrong URL shows at once, not at the first hang.
        let mut is_answered = false;
        while let Some(outcome) = self.export(&batch).await {
            is_answered |= !matches!(outcome, Outcome::Retryable { .. });
            let has_time = self.settle(outcome, &mut batch).await;
            if !has_time || !self.next(&mut batch, is_answered).await {
                break;
            }
        }
        self.tally.unsent = batch.len() + self.buffer.len();
        self.tally.dropped = self.buffer.dropped();
        self.tally
    }

    /// Fills the batch; `false` if nothing more is to be sent. The empty request is repeated until it is answered.
    async fn next(&mut self, batch: &mut Batch, is_answered: bool) -> bool {
        self.buffer.fill(batch);
        if batch.is_empty() && is_answered {
            self.wait_for_spans().await;
            self.buffer.fill(batch);
        }
        !batch.is_empty() || !(is_answered || self.is_ending())
    }

    async fn wait_for_spans(&mut self) {
        select! {
            () = self.buffer.wait() => {}
            _ = ending(&mut self.deadline) => return,
        }
        select! {
            () = sleep(BATCH_DELAY) => {}
            _ = ending(&mut self.deadline) => {}
        }
    }

    /// `None` if the time is over.
    async fn export(&mut self, batch: &Batch) -> Option<Outcome> {
        let export = self.client.export(batch.request());
        select! {
            done = timeout(REQUEST_TIMEOUT, export) => {
                Some(done.unwrap_or_else(|_| Outcome::failed(NO_ANSWER)))
            }
            () = deadline(&mut self.deadline) => {
                if self.tally.reason.is_empty() {
                    NO_ANSWER.clone_into(&mut self.tally.reason);
                }
                None
            }
        }
    }

    /// Handles an outcome; `false` if there is no time for another attempt.
    async fn settle(&mut self, outcome: Outcome, batch: &mut Batch) -> bool {
        if let Some(message) = self.health.message(&outcome) {
            console::print(&format!("vault-tracer: {message}"));
        }
        match outcome {
            Outcome::Accepted(partial) => {
                self.count_accepted(partial, batch.clear());
                self.backoff.reset();
                true
            }
            Outcome::Refused(reason) => {
                self.tally.refused += batch.clear();
                self.tally.reason = reason;
                true
            }
            Outcome::Retryable {
                reason,
                retry_after,
            } => {
                self.tally.reason = reason;
                // Else a connection on which a request got lost would be used again.
                self.client.reconnect();
                let wait = self.backoff.wait(retry_after);
                self.pause(wait).await
            }
        }
    }

    fn count_accepted(&mut self, partial: PartialSuccess, sent: u64) {
        let rejected = partial.rejected.min(sent);
        self.tally.rejected += rejected;
        self.tally.accepted += sent - rejected;
        if rejected > 0 {
            self.tally.reason = partial.message;
        }
    }

    /// Waits before the next attempt; `false` if the time is over before.
    async fn pause(&mut self, wait: RetryDelay) -> bool {
        let mut until = Instant::now() + wait.duration;
        if !self.is_ending() {
            select! {
                () = sleep_until(until) => return true,
                _ = ending(&mut self.deadline) => {}
            }
            // The end of the trace allows one attempt at once, unless the server asked for the wait.
            if !wait.is_requested {
                return true;
            }
        }
        if !wait.is_requested {
            until = until.min(Instant::now() + LAST_WAIT);
        }
        if until >= ending(&mut self.deadline).await {
            return false;
        }
        sleep_until(until).await;
        true
    }

    fn is_ending(&self) -> bool {
        self.deadline.borrow().is_some()
    }
}

/// Waits until the trace is over. Returns the deadline.
async fn ending(deadline: &mut watch::Receiver<Deadline>) -> Instant {
    match deadline.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // The sink is gone without an end.
        Err(_) => pending().await,
    }
}

/// Waits until the time to send is over.
async fn deadline(deadline: &mut watch::Receiver<Deadline>) {
    let deadline = ending(deadline).await;
    sleep_until(deadline).await;
}

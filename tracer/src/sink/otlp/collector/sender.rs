//! Sends batches one after the other, again and again where that has a chance, until the trace is over and a little
//! longer.

use std::{future::pending, sync::Arc, time::Duration};

use http::HeaderMap;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    account::Account,
    attempt::{Attempt, Partly},
    buffer::{Batch, Buffer},
    client::{Client, Maker},
    endpoint::{Endpoint, Protocol},
    grpc,
    health::Health,
    http_protobuf,
    retry::{Backoff, Wait},
};

/// How long the collector may take for a request, as OpenTelemetry's exporters have it.
const ANSWER: Duration = Duration::from_secs(10);

/// How long the first span of a batch waits for others: hangs end together.
const GATHER: Duration = Duration::from_millis(100);

/// The longest wait of our own accord once the trace is over.
const LAST: Duration = Duration::from_millis(500);

/// When the time to send is over, once the trace is.
pub(super) type Deadline = Option<Instant>;

/// At work on a thread of its own.
pub(super) struct Sender {
    endpoint: Endpoint,
    headers: HeaderMap,
    maker: Maker,
    client: Client,
    buffer: Arc<Buffer>,
    end: watch::Receiver<Deadline>,
    backoff: Backoff,
    health: Health,
    account: Account,
}

impl Sender {
    pub(super) fn new(
        endpoint: Endpoint,
        headers: HeaderMap,
        maker: Maker,
        health: Health,
        buffer: Arc<Buffer>,
        end: watch::Receiver<Deadline>,
    ) -> Self {
        Self {
            client: maker.client(),
            endpoint,
            headers,
            maker,
            buffer,
            end,
            backoff: Backoff::default(),
            health,
            account: Account::default(),
        }
    }

    /// Until there is nothing more to send, or no time to.
    pub(super) async fn run(mut self) -> Account {
        let mut batch = Batch::default();
        // The first request is empty, as the protocol allows: a wrong URL is told at once, not at the first hang.
        let mut answered = false;
        while let Some(attempt) = self.attempt(&batch).await {
            answered |= !matches!(attempt, Attempt::Failed { .. });
            let goes_on = self.settle(attempt, &mut batch).await;
            if !goes_on || !self.next(&mut batch, answered).await {
                break;
            }
        }
        self.account.unsent = batch.len() + self.buffer.len();
        self.account.left_out = self.buffer.left_out();
        self.account
    }

    /// Adds to what is to be sent; `false` if there will be nothing. An empty request is repeated until it is answered.
    async fn next(&mut self, batch: &mut Batch, answered: bool) -> bool {
        self.buffer.fill(batch);
        if batch.is_empty() && answered {
            self.gather().await;
            self.buffer.fill(batch);
        }
        !batch.is_empty() || !(answered || self.is_ending())
    }

    /// Waits for spans, and for some more, or for the end.
    async fn gather(&mut self) {
        select! {
            () = self.buffer.filled() => {}
            _ = ending(&mut self.end) => return,
        }
        select! {
            () = sleep(GATHER) => {}
            _ = ending(&mut self.end) => {}
        }
    }

    /// Sends a batch; `None` if the time is over.
    async fn attempt(&mut self, batch: &Batch) -> Option<Attempt> {
        let (client, headers) = (self.client.clone(), self.headers.clone());
        let to = self.endpoint.uri.clone();
        let request = batch.request();
        let export = async {
            match self.endpoint.protocol {
                Protocol::Grpc => grpc::export(client, to, headers, request).await,
                Protocol::Http => http_protobuf::export(client, to, headers, request).await,
            }
        };
        select! {
            done = timeout(ANSWER, export) => {
                Some(done.unwrap_or_else(|_| Attempt::failed(NO_ANSWER)))
            }
            () = over(&mut self.end) => {
                if self.account.why.is_empty() {
                    NO_ANSWER.clone_into(&mut self.account.why);
                }
                None
            }
        }
    }

    /// Takes note of how an attempt ended; `false` if there is no time for another.
    async fn settle(&mut self, attempt: Attempt, batch: &mut Batch) -> bool {
        match attempt {
            Attempt::Taken(partly) => {
                say(self.health.works(&partly));
                self.take(partly, batch.clear());
                self.backoff.reset();
                true
            }
            Attempt::Refused(why) => {
                say(self.health.refuses(&why));
                self.account.refused += batch.clear();
                self.account.why = why;
                true
            }
            Attempt::Failed { why, after } => {
                say(self.health.fails(&why));
                self.account.why = why;
                // A connection that a request got lost on would be used again.
                self.client = self.maker.client();
                let wait = self.backoff.wait(after);
                self.pause(wait).await
            }
        }
    }

    fn take(&mut self, partly: Partly, sent: u64) {
        let rejected = partly.rejected.min(sent);
        self.account.rejected += rejected;
        self.account.taken += sent - rejected;
        if rejected > 0 {
            self.account.why = partly.message;
        }
    }

    /// `false` if the time is over before.
    async fn pause(&mut self, wait: Wait) -> bool {
        let (Wait::Own(for_long) | Wait::Told(for_long)) = wait;
        let until = Instant::now() + for_long;
        if !self.is_ending() {
            select! {
                () = sleep_until(until) => return true,
                _ = ending(&mut self.end) => {}
            }
            // One attempt at once, unless the server asked not to.
            if matches!(wait, Wait::Own(_)) {
                return true;
            }
        }
        let until = match wait {
            Wait::Own(_) => until.min(Instant::now() + LAST),
            Wait::Told(_) => until,
        };
        if until >= ending(&mut self.end).await {
            return false;
        }
        sleep_until(until).await;
        true
    }

    fn is_ending(&self) -> bool {
        self.end.borrow().is_some()
    }
}

const NO_ANSWER: &str = "no answer";

/// When the trace is over: when the time to send will be.
async fn ending(end: &mut watch::Receiver<Deadline>) -> Instant {
    match end.wait_for(Option::is_some).await {
        Ok(deadline) => deadline.unwrap_or_else(Instant::now),
        // Nobody is there to say so any more.
        Err(_) => pending().await,
    }
}

/// When the time to send is over.
async fn over(end: &mut watch::Receiver<Deadline>) {
    let deadline = ending(end).await;
    sleep_until(deadline).await;
}

fn say(line: Option<String>) {
    if let Some(line) = line {
        eprintln!("vault-tracer: {line}");
    }
}

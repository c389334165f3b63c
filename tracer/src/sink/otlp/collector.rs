//! The trace as OpenTelemetry spans, sent to a collector over gRPC or HTTP. The sink's own thread makes the spans and
//! never blocks; another one sends them.

mod buffer;
mod client;
mod connections;
mod endpoint;
#[cfg(test)]
pub(crate) mod fuzz;
mod grpc;
mod health;
mod http_protobuf;
mod outcome;
mod retry;
mod rpc;
mod sender;
mod tally;

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use http::HeaderMap;
use tokio::{runtime, sync::watch, time::Instant};

pub use self::endpoint::{Endpoint, Protocol, headers};
use self::{
    buffer::Buffer,
    client::Client,
    health::Health,
    sender::{Deadline, Sender},
    tally::Tally,
};
use super::spans::Spans;
use crate::{
    console,
    sink::{PATIENCE, Sink},
};
use tracer_model::Finding;

/// Reserved for counting, of the time that sinks get at the end.
const RESERVE: Duration = Duration::from_millis(500);

/// Sends findings as spans.
pub struct Collector {
    name: String,
    spans: Spans,
    buffer: Arc<Buffer>,
    deadline: watch::Sender<Deadline>,
    tally: Receiver<Tally>,
    lost: u64,
    has_warned_of_full: bool,
    quiet: bool,
}

impl Collector {
    /// The collector need not run yet. `quiet`: success is not reported.
    pub fn start(endpoint: Endpoint, headers: HeaderMap, quiet: bool) -> Result<Self> {
        let name = format!("the collector at {endpoint}");
        let health = Health::new(name.clone(), endpoint.protocol.title());
        let client = Client::new(endpoint, headers)?;
        let buffer = Arc::new(Buffer::new());
        let (deadline, watched) = watch::channel(None);
        let (result, tally) = mpsc::sync_channel(1);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop of the collector")?;
        let sender = Sender::new(client, Arc::clone(&buffer), watched, health);
        thread::spawn(move || {
            let _ = result.send(runtime.block_on(sender.run()));
            // Does not wait for a name server that does not answer.
            runtime.shutdown_background();
        });
        Ok(Self {
            name,
            spans: Spans::default(),
            buffer,
            deadline,
            tally,
            lost: 0,
            has_warned_of_full: false,
            quiet,
        })
    }
}

impl Sink<Finding> for Collector {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let Some(request) = self.spans.on(finding) else {
            return Ok(());
        };
        if !self.buffer.push(&request) && !self.has_warned_of_full {
            self.has_warned_of_full = true;
            console::print(&format!(
                "vault-tracer: too many spans wait for {}: further ones are dropped and counted",
                self.name
            ));
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let patience = PATIENCE.saturating_sub(RESERVE);
        self.deadline.send_replace(Some(Instant::now() + patience));
        let tally = self.tally.recv();
        let tally = tally.map_err(|_| io::Error::other("the sender failed"))?;
        self.lost = tally.lost();
        if self.lost > 0 {
            return Err(io::Error::other(tally.reasons()));
        }
        if !self.quiet {
            console::print(&format!("{} spans sent to {}", tally.accepted, self.name));
        }
        Ok(())
    }

    fn unsettled(&self) -> u64 {
        self.lost
    }

    fn unit(&self) -> &'static str {
        "spans"
    }

    fn kind(&self) -> &'static str {
        "collector"
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

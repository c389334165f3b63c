//! The trace as OpenTelemetry spans, sent to a collector: OTLP over gRPC or HTTP. Spans are made on the sink's own
//! thread, which waits for nothing, and sent from another.

mod account;
mod attempt;
mod buffer;
mod client;
mod endpoint;
mod grpc;
mod health;
mod http_protobuf;
mod retry;
mod sender;

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
    account::Account,
    buffer::Buffer,
    client::Maker,
    health::Health,
    sender::{Deadline, Sender},
};
use super::spans::Spans;
use crate::sink::{PATIENCE, Sink};
use tracer_model::Finding;

/// What is left of the time that sinks get at the end, for the counting.
const COUNTING: Duration = Duration::from_millis(500);

/// Sends findings as spans.
pub struct Collector {
    name: String,
    spans: Spans,
    buffer: Arc<Buffer>,
    end: watch::Sender<Deadline>,
    account: Receiver<Account>,
    lost: u64,
    told_full: bool,
    quiet: bool,
}

impl Collector {
    /// To the collector there, which need not run yet. `quiet`: what went well is not told.
    pub fn start(endpoint: Endpoint, headers: HeaderMap, quiet: bool) -> Result<Self> {
        let name = format!("the collector at {endpoint}");
        let maker = Maker::new(&endpoint)?;
        let buffer = Arc::new(Buffer::new());
        let (end, ending) = watch::channel(None);
        let (report, account) = mpsc::sync_channel(1);
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop of the collector")?;
        let health = Health::new(name.clone(), endpoint.protocol.title());
        let shared = Arc::clone(&buffer);
        thread::spawn(move || {
            let account = runtime.block_on(async {
                Sender::new(endpoint, headers, maker, health, shared, ending)
                    .run()
                    .await
            });
            let _ = report.send(account);
            // A name server that does not answer is no reason to wait.
            runtime.shutdown_background();
        });
        Ok(Self {
            name,
            spans: Spans::default(),
            buffer,
            end,
            account,
            lost: 0,
            told_full: false,
            quiet,
        })
    }
}

impl Sink<Finding> for Collector {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let Some(request) = self.spans.on(finding) else {
            return Ok(());
        };
        if !self.buffer.push(request) && !self.told_full {
            self.told_full = true;
            eprintln!(
                "vault-tracer: too many spans wait for {}: further ones are lost, and counted",
                self.name
            );
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let patience = PATIENCE.saturating_sub(COUNTING);
        self.end.send_replace(Some(Instant::now() + patience));
        let account = self.account.recv();
        let account = account.map_err(|_| io::Error::other("the sender failed"))?;
        self.lost = account.lost();
        if self.lost > 0 {
            return Err(io::Error::other(account.reasons()));
        }
        if !self.quiet {
            eprintln!("{} spans sent to {}", account.taken, self.name);
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

//! Metrics for Prometheus: findings, counted. What is exported is said in [`families`], how it is fetched in [`server`].
//!
//! Labels say which device, by which way and why: of these there are few. Which request, whose and for what is in the trace:
//! here each would be a time series of its own, and readable by everybody who may scrape.

mod families;
mod labels;
mod now;
mod server;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::Result;
use prometheus_client::{
    encoding::{prometheus_protobuf, prometheus_text, text},
    registry::Registry,
};

pub use self::server::PATH;
use self::{
    families::{Families, Found},
    labels::{ByOp, Devices, OfDevice, OfSession, UNKNOWN},
    server::Server,
};
use super::{Sink, recent::Recent, wall::WallClock};
use tracer_model::{
    Device, Finding, Hang, LostEntries, Nanos, Refusal, RequestInfo, Session, Stalled,
};

/// Counts findings.
pub struct Metrics {
    exported: Arc<Exported>,
    devices: Devices,
    clock: Option<WallClock>,
    /// Requests of which a hang was counted.
    blocked: Recent<(Option<SocketAddr>, Nanos), ()>,
    /// Kept for its end: it serves no longer than somebody counts.
    server: Option<Server>,
}

struct Exported {
    families: Families,
    registry: Registry,
}

/// What has been counted, for whoever asks.
#[derive(Clone)]
pub struct Exposition(Arc<Exported>);

/// Formats of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's own text format, 0.0.4.
    Text,
    /// The text format of OpenMetrics, 1.0.0.
    OpenMetrics,
    /// Prometheus's own messages, each with its length before it: the only format with native histograms.
    Protobuf,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing counted yet, and nobody to ask for it but by [`Metrics::exposition`].
    pub fn new() -> Self {
        let (families, registry) = Families::new();
        Self {
            exported: Arc::new(Exported { families, registry }),
            devices: Devices::default(),
            clock: None,
            blocked: Recent::default(),
            server: None,
        }
    }

    /// The same, and served over HTTP at this address, which may have port 0: which one it became is returned.
    pub fn serve(address: SocketAddr) -> Result<(Self, SocketAddr)> {
        let mut metrics = Self::new();
        let (server, bound) = Server::start(address, metrics.exposition())?;
        metrics.server = Some(server);
        Ok((metrics, bound))
    }

    /// What has been counted, and will be.
    pub fn exposition(&self) -> Exposition {
        Exposition(Arc::clone(&self.exported))
    }

    fn found(&self) -> &Found {
        &self.exported.families.found
    }

    fn on(&mut self, finding: &Finding) {
        match finding {
            Finding::Session(session) => self.session(session),
            Finding::Attached(session) => {
                self.exported.families.own.restarts.inc();
                self.session(session);
            }
            Finding::Stalled(stalled) => self.stalled(stalled),
            Finding::Hang(hang) => self.hang(hang),
            Finding::Refusal(refusal) => self.refusal(refusal),
            Finding::LostEntries(loss) => self.lost(loss),
            Finding::Filling(filling) => {
                let device = self.device(&filling.device);
                self.found().fillings.get_or_create(&device).inc();
            }
            Finding::Incident(incident) => {
                let device = self.device(&incident.device);
                self.found().incidents.get_or_create(&device).inc();
            }
            Finding::Snapshot(state) => self.state(state),
            Finding::Summary(summary) => self.totals(summary),
            Finding::Warning(_) | Finding::Ended(_) => {}
        }
    }

    fn session(&mut self, session: &Session) {
        let labels = OfSession {
            pid: session.pid,
            kernel: session.kernel.clone(),
            go_version: session
                .go_version
                .clone()
                .unwrap_or_else(|| UNKNOWN.to_owned()),
        };
        // Taken once, as all that is written of a trace.
        self.clock = self.clock.or(Some(WallClock::of(session)));
        let families = &self.exported.families;
        families.own.session.clear();
        families.own.session.get_or_create(&labels).set(1);
        families.own.threshold.set(seconds(session.threshold));
        families.own.session_start.set(self.epoch(session.began));
        for device in &session.declared {
            self.device(device);
        }
    }

    /// Seconds since the epoch.
    fn epoch(&self, at: Nanos) -> f64 {
        let clock = self.clock.unwrap_or_default();
        clock.time(at).as_nanosecond() as f64 / 1e9
    }

    fn stalled(&mut self, stalled: &Stalled) {
        let device = self.device(&stalled.device);
        self.found().stalls.get_or_create(&device).inc();
    }

    fn hang(&mut self, hang: &Hang) {
        let device = self.device(&hang.device);
        let found = self.found();
        let labels = device.by(hang.cause());
        found.hangs.get_or_create(&labels).inc();
        let held_up = seconds(hang.duration);
        found.hang_duration.get_or_create(&labels).observe(held_up);
        for stall in &hang.stalls {
            let labels = ByOp {
                device: device.device.clone(),
                transport: device.transport,
                op: stall.op.name(),
                cause: stall.cause.name(),
            };
            let waited = seconds(stall.duration);
            found.stall_duration.get_or_create(&labels).observe(waited);
        }
        self.blocked(&hang.request);
    }

    /// Once, however many devices held it up.
    fn blocked(&mut self, request: &RequestInfo) {
        let counter = &self.exported.families.found.requests_blocked;
        self.blocked.entry(&(request.client, request.start), || {
            counter.inc();
        });
    }

    fn refusal(&mut self, refusal: &Refusal) {
        let labels = self.device(&refusal.device).by(refusal.cause);
        self.found().refusals.get_or_create(&labels).inc();
    }

    fn lost(&mut self, loss: &LostEntries) {
        let device = self.device(&loss.device);
        let found = self.found();
        let (entries, bytes) = (&found.lost_entries, &found.lost_bytes);
        entries.get_or_create(&device).inc_by(loss.entries);
        bytes.get_or_create(&device).inc_by(loss.bytes);
    }

    /// Its labels.
    fn device(&mut self, device: &Device) -> OfDevice {
        let (labels, is_new) = self.devices.labels(device);
        if is_new {
            self.exported.families.appears(&labels);
        }
        labels
    }
}

impl Exposition {
    /// In this format.
    pub fn encode(&self, format: Format) -> Result<Vec<u8>> {
        let registry = &self.0.registry;
        let mut text = String::new();
        match format {
            Format::Text => prometheus_text::encode(&mut text, registry)?,
            Format::OpenMetrics => text::encode(&mut text, registry)?,
            Format::Protobuf => return Ok(prometheus_protobuf::encode_to_vec(registry)?),
        }
        Ok(text.into_bytes())
    }

    /// In Prometheus's own text format.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8(self.encode(Format::Text)?)?)
    }

    /// Has what this sink was too slow for exported too.
    pub fn watch(&self, sink: &'static str, missed: Arc<AtomicU64>) {
        self.0.families.own.missed.watch(sink, missed);
    }
}

impl Sink<Finding> for Metrics {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        self.on(finding);
        Ok(())
    }

    fn name(&self) -> String {
        "the metrics".to_owned()
    }

    fn kind(&self) -> &'static str {
        "metrics"
    }
}

fn seconds(duration: Nanos) -> f64 {
    duration as f64 / 1e9
}

#[cfg(test)]
mod tests;

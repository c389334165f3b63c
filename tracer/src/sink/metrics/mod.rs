//! Metrics for Prometheus: findings, counted. What is exported is said in [`families`], how it is fetched in [`server`].
//!
//! Labels say which device, by which way and why: of these there are few. Which request, whose and for what is in the trace:
//! here each would be a time series of its own, and readable by everybody who may scrape.

mod families;
mod now;
mod server;

use std::{
    collections::HashMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
};

use anyhow::Result;
use prometheus_client::{
    encoding::{prometheus_text, text},
    registry::Registry,
};

pub use self::server::PATH;
use self::{
    families::{ByCause, ByOp, Families, OfDevice, OfSession},
    server::Server,
};
use super::{Sink, recent::Recent, wall::WallClock};
use crate::{
    core::{
        cause::Cause,
        finding::{Finding, Hang, Refusal, RequestInfo, Stalled},
        ledger::Loss,
    },
    event::{Device, Nanos, Session},
};

/// Devices that have series of their own. A server has a handful; what else is found is counted as one.
const DEVICES: usize = 64;

/// The label of all devices beyond.
const OTHER: &str = "other";

/// The label of a device whose address is not known: an empty one would be none.
const UNKNOWN: &str = "unknown";

/// Counts findings.
pub struct Metrics {
    exported: Arc<Exported>,
    devices: HashMap<Device, OfDevice>,
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
            devices: HashMap::new(),
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

    fn on(&mut self, finding: &Finding) {
        match finding {
            Finding::Session(session) => self.session(session),
            Finding::Attached(session) => {
                self.exported.families.restarts.inc();
                self.session(session);
            }
            Finding::Stalled(stalled) => self.stalled(stalled),
            Finding::Hang(hang) => self.hang(hang),
            Finding::Refusal(refusal) => self.refusal(refusal),
            Finding::Lost(loss) => self.lost(loss),
            Finding::Filling(filling) => {
                let device = self.device(&filling.device);
                self.exported.families.fillings.get_or_create(&device).inc();
            }
            Finding::Incident(incident) => {
                let device = self.device(&incident.device);
                self.exported
                    .families
                    .incidents
                    .get_or_create(&device)
                    .inc();
            }
            Finding::State(state) => self.state(state),
            Finding::Summary(summary) => self.exported.families.totals(summary),
            Finding::Warning(_) => {}
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
        families.session.clear();
        families.session.get_or_create(&labels).set(1);
        families.threshold.set(seconds(session.threshold));
        families.session_start.set(self.epoch(session.began));
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
        self.exported.families.stalls.get_or_create(&device).inc();
    }

    fn hang(&mut self, hang: &Hang) {
        let device = self.device(&hang.device);
        let families = &self.exported.families;
        let labels = device.by(hang.cause());
        families.hangs.get_or_create(&labels).inc();
        let duration = families.hang_duration.get_or_create(&labels);
        duration.observe(seconds(hang.duration));
        drop(duration);
        for stall in &hang.stalls {
            let labels = ByOp {
                device: device.device.clone(),
                transport: device.transport,
                op: stall.op.name(),
                cause: stall.cause.name(),
            };
            let duration = families.stall_duration.get_or_create(&labels);
            duration.observe(seconds(stall.duration));
        }
        self.blocked(&hang.request);
    }

    /// Once, however many devices held it up.
    fn blocked(&mut self, request: &RequestInfo) {
        let counter = &self.exported.families.requests_blocked;
        self.blocked.entry(&(request.client, request.start), || {
            counter.inc();
        });
    }

    fn refusal(&mut self, refusal: &Refusal) {
        let labels = self.device(&refusal.device).by(refusal.cause);
        self.exported.families.refusals.get_or_create(&labels).inc();
    }

    fn lost(&mut self, loss: &Loss) {
        let device = self.device(&loss.device);
        let families = &self.exported.families;
        let entries = families.lost_entries.get_or_create(&device);
        entries.inc_by(loss.entries);
        let bytes = families.lost_bytes.get_or_create(&device);
        bytes.inc_by(loss.bytes);
    }

    /// Its labels. Of a device that was not known yet everything is exported as 0 from now on: what first appears as 1
    /// has not grown, by Prometheus's reckoning.
    fn device(&mut self, device: &Device) -> OfDevice {
        if let Some(labels) = self.devices.get(device) {
            return labels.clone();
        }
        let is_own = self.devices.len() < DEVICES;
        let labels = if is_own {
            OfDevice::of(device)
        } else {
            OfDevice::other()
        };
        self.exported.families.appears(&labels);
        if is_own {
            self.devices.insert(device.clone(), labels.clone());
        }
        labels
    }
}

impl Families {
    fn appears(&self, device: &OfDevice) {
        for family in [&self.stalls_open, &self.waiting] {
            drop(family.get_or_create(device));
        }
        drop(self.stall_age.get_or_create(device));
        for family in [
            &self.stalls,
            &self.incidents,
            &self.lost_entries,
            &self.lost_bytes,
            &self.fillings,
        ] {
            drop(family.get_or_create(device));
        }
        for device in Cause::ALL.map(|cause| device.by(cause)) {
            drop(self.hangs.get_or_create(&device));
            drop(self.hang_duration.get_or_create(&device));
            drop(self.refusals.get_or_create(&device));
        }
    }
}

impl OfDevice {
    fn of(device: &Device) -> Self {
        let address = match &*device.address {
            "" => UNKNOWN,
            address => address,
        };
        Self {
            device: address.to_owned(),
            transport: device.transport.name(),
        }
    }

    fn other() -> Self {
        Self {
            device: OTHER.to_owned(),
            transport: OTHER,
        }
    }

    /// Whether it is not all others together.
    fn is_one(&self) -> bool {
        self.transport != OTHER
    }

    fn by(&self, cause: Cause) -> ByCause {
        ByCause {
            device: self.device.clone(),
            transport: self.transport,
            cause: cause.name(),
        }
    }
}

impl Exposition {
    /// As text.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        match format {
            Format::Text => prometheus_text::encode(&mut text, &self.0.registry)?,
            Format::OpenMetrics => text::encode(&mut text, &self.0.registry)?,
        }
        Ok(text)
    }

    /// Has what this sink was too slow for exported too.
    pub fn watch(&self, sink: &'static str, missed: Arc<AtomicU64>) {
        self.0.families.missed.watch(sink, missed);
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

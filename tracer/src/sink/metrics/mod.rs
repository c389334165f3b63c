//! Metrics for Prometheus: [`families`] declares them, [`server`] serves them.
//!
//! Labels name the device, the operation and the cause, of which there are few. Requests and clients are in the trace
//! only: here each would be a time series of its own, and readable by everybody who may scrape.

mod families;
#[cfg(test)]
pub(crate) mod fuzz;
mod labels;
mod server;
mod snapshot;

use std::{
    io,
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
    families::{Families, Missed},
    labels::{DeviceLabels, Devices, SessionLabels},
    server::HttpServer,
};
use super::Sink;
use crate::bounded::BoundedMap;
use tracer_format::WallClock;
use tracer_model::{Device, Finding, Hang, LostEntries, Nanos, RequestInfo, Session};

/// Requests that are remembered. The hangs of one request come together.
const MAX_REQUESTS: usize = 1024;

/// Counts findings.
pub struct Metrics {
    exported: Arc<Exported>,
    devices: Devices,
    clock: Option<WallClock>,
    /// Client and start of requests of which a hang was counted.
    blocked: BoundedMap<(Option<SocketAddr>, Nanos), (), MAX_REQUESTS>,
    /// Serves until it is dropped.
    server: Option<HttpServer>,
}

struct Exported {
    families: Families,
    missed: Arc<Missed>,
    registry: Registry,
}

/// A handle to what has been counted.
#[derive(Clone)]
pub struct Exposition(Arc<Exported>);

/// Formats of the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpositionFormat {
    /// Prometheus's text format, 0.0.4.
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
    /// Nothing counted yet; not served.
    pub fn new() -> Self {
        let missed = Arc::<Missed>::default();
        let (families, registry) = Families::new(&missed);
        Self {
            exported: Arc::new(Exported {
                families,
                missed,
                registry,
            }),
            devices: Devices::default(),
            clock: None,
            blocked: BoundedMap::default(),
            server: None,
        }
    }

    /// Served over HTTP at this address. Returns the bound address too: port 0 lets the system choose.
    pub fn serve(address: SocketAddr) -> Result<(Self, SocketAddr)> {
        let mut metrics = Self::new();
        let (server, bound) = HttpServer::start(address, metrics.exposition())?;
        metrics.server = Some(server);
        Ok((metrics, bound))
    }

    /// What has been and will be counted.
    pub fn exposition(&self) -> Exposition {
        Exposition(Arc::clone(&self.exported))
    }

    fn families(&self) -> &Families {
        &self.exported.families
    }

    fn count(&mut self, finding: &Finding) {
        match finding {
            Finding::Session(session) => self.session(session),
            Finding::Attached(session) => {
                self.families().server_restarts.inc();
                self.session(session);
            }
            Finding::Stalled(stalled) => {
                let device = self.device(&stalled.device);
                self.families().stalls.get_or_create(&device).inc();
            }
            Finding::Hang(hang) => self.hang(hang),
            Finding::Refusal(refusal) => {
                let labels = self.device(&refusal.device).with_cause(refusal.cause);
                self.families().refusals.get_or_create(&labels).inc();
            }
            Finding::LostEntries(loss) => self.lost(loss),
            Finding::Filling(filling) => {
                let device = self.device(&filling.device);
                let warnings = &self.families().filling_warnings;
                warnings.get_or_create(&device).inc();
            }
            Finding::Incident(incident) => {
                let device = self.device(&incident.device);
                self.families().incidents.get_or_create(&device).inc();
            }
            Finding::Snapshot(snapshot) => self.snapshot(snapshot),
            Finding::Summary(summary) => self.totals(summary),
            Finding::Ended(ended) => self.server_ended(ended.at),
            Finding::Forwarded(_) => {
                self.families().forwarded_requests.inc();
            }
            Finding::Warning(_) => {}
        }
    }

    fn session(&mut self, session: &Session) {
        let labels = SessionLabels::of(session);
        // One offset for the whole trace, as in all other outputs.
        self.clock = self.clock.or(Some(WallClock::of(session)));
        let families = self.families();
        families.session_info.clear();
        families.session_info.get_or_create(&labels).set(1);
        families.threshold.set(seconds(session.threshold));
        let start = self.unix_time(session.began);
        families.session_start_timestamp.set(start);
        for device in &session.declared {
            self.device(device);
        }
    }

    /// Seconds since the epoch.
    fn unix_time(&self, at: Nanos) -> f64 {
        let clock = self.clock.unwrap_or_default();
        clock.time(at).as_nanosecond() as f64 / 1e9
    }

    fn hang(&mut self, hang: &Hang) {
        let device = self.device(&hang.device);
        let families = self.families();
        let labels = device.with_cause(hang.cause());
        families.hangs.get_or_create(&labels).inc();
        let durations = families.hang_duration.get_or_create(&labels);
        durations.observe(seconds(hang.duration));
        drop(durations);
        for stall in &hang.stalls {
            let labels = device.with_stall(stall);
            let durations = families.stall_duration.get_or_create(&labels);
            durations.observe(seconds(stall.duration));
        }
        self.request_blocked(&hang.request);
    }

    /// Counts a request once, however many devices blocked it.
    fn request_blocked(&mut self, request: &RequestInfo) {
        if self.blocked.insert(&(request.client, request.start)) {
            self.families().requests_blocked.inc();
        }
    }

    fn lost(&mut self, loss: &LostEntries) {
        let device = self.device(&loss.device);
        let families = self.families();
        let entries = families.lost_entries.get_or_create(&device);
        entries.inc_by(loss.entries);
        families.lost.get_or_create(&device).inc_by(loss.bytes);
    }

    /// The labels of a device, with all its series created.
    fn device(&mut self, device: &Device) -> DeviceLabels {
        let (labels, is_new) = self.devices.labels(device);
        if is_new {
            self.families().add_device(&labels);
        }
        labels
    }
}

impl Exposition {
    /// All metrics in this format.
    pub fn encode(&self, format: ExpositionFormat) -> Result<String> {
        let registry = &self.0.registry;
        let mut text = String::new();
        match format {
            ExpositionFormat::Text => prometheus_text::encode(&mut text, registry)?,
            ExpositionFormat::OpenMetrics => text::encode(&mut text, registry)?,
        }
        Ok(text)
    }

    /// All metrics in Prometheus's text format.
    pub fn text(&self) -> Result<String> {
        self.encode(ExpositionFormat::Text)
    }

    /// Exports how many records this sink was too slow for.
    pub fn add_sink(&self, sink: &'static str, missed: Arc<AtomicU64>) {
        self.0.missed.add_sink(sink, missed);
    }
}

impl Sink<Finding> for Metrics {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        self.count(finding);
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

//! The exported metrics: names, labels, units, help texts. By the conventions of Prometheus: base units, `_total` on
//! counters, one unit and one meaning a family.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::Gauge,
        histogram::Histogram,
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};

use super::labels::{
    CauseLabels, ConditionLabels, DeviceLabels, OpLabels, PathLabels, SessionLabels,
};
use tracer_model::{Cause, Condition};

/// Upper bounds of the buckets of durations, s.
///
/// Operations that end by a deadline end a few milliseconds after it. Vault's socket device gives a dial and a write 2 s
/// each and tries each of a request's two entries twice, so durations pile up just above 2, 4, 6 and 8 s, and a request
/// that queues behind others adds theirs: 16, 32, 64 s and more. Each of these is a bound, so the pile lies in the bucket
/// above it; the buckets of one, two and four deadlines are narrow, for meaningful quantiles. Below: the default
/// threshold, 0.1 s, and single stalls of a hang.
const BUCKETS: [f64; 17] = [
    0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 4.0, 5.0, 6.0, 8.0, 10.0, 16.0, 32.0, 64.0, 128.0, 300.0,
];

/// For a gauge that may be absent.
pub(super) type NoLabels = [(&'static str, &'static str); 0];

type Seconds = Gauge<f64, AtomicU64>;

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// Declares the struct of all metrics and registers them. Of each: its name without prefix, unit and `_total`; its type,
/// with a constructor where it has no default; its unit, if it has one; its help text.
macro_rules! families {
    ($($name:ident: $metric:ty $(= $new:expr)?, $([$unit:ident])? $help:literal;)*) => {
        pub(super) struct Families {
            $(pub(super) $name: $metric,)*
        }

        impl Families {
            fn register(registry: &mut Registry) -> Self {
                Self {
                    $($name: {
                        let metric: $metric = families!(@new $($new)?);
                        let unit = families!(@unit $($unit)?);
                        register(registry, stringify!($name), $help, unit, metric)
                    },)*
                }
            }
        }
    };
    (@new) => { Default::default() };
    (@new $new:expr) => { $new };
    (@unit) => { None };
    (@unit $unit:ident) => { Some(Unit::$unit) };
}

families! {
    // From the last state snapshot.
    stalls_open: Family<CauseLabels, Gauge>,
        "Requests that a device blocks now and has blocked for longer than the threshold, by cause as far as known; requests that queue behind them are in requests_waiting";
    stall_age: Family<DeviceLabels, Seconds>, [Seconds]
        "How long the device has been stalled without a break, whichever requests it blocked; 0 if it is not stalled";
    requests_waiting: Family<DeviceLabels, Gauge>,
        "Requests that queue for the device now, behind the one that it blocks; all requests under way where the server's stacks cannot be read";
    requests_held_up: Gauge,
        "Requests that any device blocks now, or that queue for one";
    requests_under_way: Family<NoLabels, Gauge>,
        "Client requests under way; absent while all devices work, when they are not counted";
    device_condition: Family<ConditionLabels, Gauge>,
        "1 for the condition that the device is in: ok, stalled (blocks a request), failing (no success since it failed), filling (acknowledges nothing), closed";
    device_info: Family<PathLabels, Gauge>,
        "1 for the path under which the device is enabled (vault audit list); absent while it is unknown, or if several are enabled with that address";
    send_buffer: Family<DeviceLabels, Gauge>, [Bytes]
        "Memory of the send queue to the device when last seen; absent if unknown";
    send_buffer_limit: Family<DeviceLabels, Gauge>, [Bytes]
        "Limit of send_buffer_bytes; when it is reached, requests are blocked";

    // From findings.
    hang_duration: Durations<CauseLabels> = durations(), [Seconds]
        "Time that a device blocked a request, all stalls together, by the cause of the first stall; observed when the hang ends";
    stall_duration: Durations<OpLabels> = durations(), [Seconds]
        "Time of each stall of a hang: connect, write, or lock (the queue behind another request)";
    hangs: Family<CauseLabels, Counter>,
        "Requests that the device blocked, counted when the hang ends";
    requests_blocked: Counter,
        "Requests that were blocked by one or several devices, counted when the first hang ends";
    stalls: Family<DeviceLabels, Counter>,
        "Stalls that passed the threshold, counted while they last";
    refusals: Family<CauseLabels, Counter>,
        "Requests for which the device failed immediately";
    incidents: Family<DeviceLabels, Counter>,
        "Periods from a failure of the device to its next success or the end of the server, counted when they end";
    lost_entries: Family<DeviceLabels, Counter>,
        "Audit entries written but not acknowledged when their connection died";
    lost: Family<DeviceLabels, Counter>, [Bytes]
        "Bytes written but not acknowledged when their connection died";
    filling_warnings: Family<DeviceLabels, Counter>,
        "Warnings that the device acknowledges nothing while its send buffer fills";
    forwarded_requests: Counter,
        "Requests that waited for the active node of the cluster for longer than the threshold; no device of this server blocked them";
    requests: Counter,
        "Client requests seen to be answered; a lower bound with HTTP/2";
    audit_writes: Counter,
        "Entries written to audit devices that are sockets";

    // The tracer itself.
    events: Counter,
        "Events seen by the tracer";
    events_lost: Counter,
        "Events lost because the tracer's ring buffer was full; other counters are lower bounds then";
    state_timestamp: Seconds, [Seconds]
        "Unix time of the last state snapshot; there are at least two a second while a server is traced";
    session_info: Family<SessionLabels, Gauge>,
        "The server that is traced";
    session_start_timestamp: Seconds, [Seconds]
        "Unix time when the probes were attached to the server";
    threshold: Seconds, [Seconds]
        "Minimum time blocked that is reported as a hang";
    server_restarts: Counter,
        "Times that the server was restarted and the probes were attached to it again";
}

impl Families {
    /// All at zero, without series for any device; and the registry that encodes them.
    pub(super) fn new(missed: &Arc<Missed>) -> (Self, Registry) {
        let mut registry = Registry::with_prefix("vault_tracer");
        let families = Self::register(&mut registry);
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Version of vault-tracer", version);
        registry.register_collector(Box::new(Arc::clone(missed)));
        (families, registry)
    }

    /// Creates the series of a device at 0: to Prometheus, a series that first appears as 1 has not grown.
    pub(super) fn add_device(&self, device: &DeviceLabels) {
        drop(self.stall_age.get_or_create(device));
        drop(self.requests_waiting.get_or_create(device));
        for counter in self.counters() {
            drop(counter.get_or_create(device));
        }
        for device in Cause::ALL.map(|cause| device.with_cause(cause)) {
            drop(self.stalls_open.get_or_create(&device));
            drop(self.hangs.get_or_create(&device));
            drop(self.hang_duration.get_or_create(&device));
            drop(self.refusals.get_or_create(&device));
        }
    }

    /// Those that a device has one of, whatever the cause.
    fn counters(&self) -> [&Family<DeviceLabels, Counter>; 5] {
        [
            &self.stalls,
            &self.incidents,
            &self.lost_entries,
            &self.lost,
            &self.filling_warnings,
        ]
    }

    /// Removes all series of a device that is no longer there.
    pub(super) fn remove_device(&self, device: &DeviceLabels) {
        self.stall_age.remove(device);
        for gauge in [
            &self.requests_waiting,
            &self.send_buffer,
            &self.send_buffer_limit,
        ] {
            gauge.remove(device);
        }
        for counter in self.counters() {
            counter.remove(device);
        }
        for condition in Condition::ALL {
            self.device_condition
                .remove(&device.with_condition(condition));
        }
        for labels in Cause::ALL.map(|cause| device.with_cause(cause)) {
            self.stalls_open.remove(&labels);
            self.hangs.remove(&labels);
            self.hang_duration.remove(&labels);
            self.refusals.remove(&labels);
        }
        for labels in device.with_stalls() {
            self.stall_duration.remove(&labels);
        }
    }
}

fn register<M: Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Option<Unit>,
    metric: M,
) -> M {
    match unit {
        Some(unit) => registry.register_with_unit(name, help, unit, metric.clone()),
        None => registry.register(name, help, metric.clone()),
    }
    metric
}

fn durations<L: Clone + std::hash::Hash + Eq>() -> Durations<L> {
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

/// Records that each sink was too slow for, as its [`super::super::Worker`] counts them.
#[derive(Debug, Default)]
pub(super) struct Missed(Mutex<Vec<(&'static str, Arc<AtomicU64>)>>);

impl Missed {
    pub(super) fn add_sink(&self, sink: &'static str, count: Arc<AtomicU64>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.push((sink, count));
    }
}

impl Collector for Missed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = encoder.encode_descriptor(
            "sink_missed_records",
            "Records that an output was too slow for.",
            None,
            MetricType::Counter,
        )?;
        for (sink, count) in counts.iter() {
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(family.encode_family(&[("sink", *sink)])?)?;
        }
        Ok(())
    }
}

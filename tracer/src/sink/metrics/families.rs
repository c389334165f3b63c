//! What is exported: names, labels, help, units. By the conventions of Prometheus: base units, `_total` on what only
//! grows, one unit and one meaning a family.

use std::{
    fmt,
    hash::Hash,
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
        histogram::{Histogram, NativeHistogramConfig},
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};

use super::labels::{ByCause, ByCondition, ByOp, OfDevice, OfSession};
use tracer_model::Cause;

/// Bounds of the buckets of durations, s.
///
/// What ends by a deadline ends a few milliseconds after it. Vault's socket device gives a dial and a write 2 s each and
/// tries each of a request's two entries twice, so the times pile up just above 2, 4, 6 and 8 s, and a request that queues
/// behind others adds theirs: 16, 32, 64 s and more. So there is a bound at each of these, and the pile lies in the bucket
/// above it; those of one, two and four deadlines are narrow, for quantiles that mean something. Below: the default
/// threshold, 0.1 s, and single stalls that are part of a hang.
const SECONDS: [f64; 17] = [
    0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5, 4.0, 5.0, 6.0, 8.0, 10.0, 16.0, 32.0, 64.0, 128.0, 300.0,
];

/// From one bound of a native histogram to the next, at most: what the Prometheus documentation begins with.
const FACTOR: f64 = 1.1;

/// Of one native histogram, beyond which its bounds get wider: from 1 ms to an hour by that factor there are fewer.
const MOST_BUCKETS: usize = 200;

/// Of a gauge that may be absent.
pub(super) type NoLabels = [(&'static str, &'static str); 0];

type Seconds = Gauge<f64, AtomicU64>;

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// All that is exported.
pub(super) struct Families {
    pub(super) now: Now,
    pub(super) found: Found,
    pub(super) own: Own,
}

impl Families {
    /// All at zero, of no device yet; and what encodes them.
    pub(super) fn new() -> (Self, Registry) {
        let mut registry = Registry::with_prefix("vault_tracer");
        let families = Self {
            now: Now::new(&mut registry),
            found: Found::new(&mut registry),
            own: Own::new(&mut registry),
        };
        (families, registry)
    }
}

/// How things stand.
pub(super) struct Now {
    pub(super) stalls_open: Family<ByCause, Gauge>,
    pub(super) stall_age: Family<OfDevice, Seconds>,
    pub(super) waiting: Family<OfDevice, Gauge>,
    pub(super) held_up: Gauge,
    pub(super) under_way: Family<NoLabels, Gauge>,
    pub(super) condition: Family<ByCondition, Gauge>,
    pub(super) send_buffer: Family<OfDevice, Gauge>,
    pub(super) send_buffer_limit: Family<OfDevice, Gauge>,
}

impl Now {
    fn new(of: &mut Registry) -> Self {
        Self {
            stalls_open: new(
                of,
                "stalls_open",
                "Requests that are in a device now which has held them up for longer than the threshold, by why as far as known; those that queue behind them are in requests_waiting",
            ),
            stall_age: with_unit(
                of,
                "stall_age",
                "How long a device that is stalled now has been so without a break, whoever it held up; 0 if it is not",
                Unit::Seconds,
            ),
            waiting: new(
                of,
                "requests_waiting",
                "Requests that queue for a device now, behind the one that it holds up; all that are under way, where the server's stacks cannot be read",
            ),
            held_up: new(
                of,
                "requests_held_up",
                "Requests that any device holds up now, or that queue for one",
            ),
            under_way: new(
                of,
                "requests_under_way",
                "Requests of clients under way; absent while all is well, when nobody counts them",
            ),
            condition: new(
                of,
                "device_condition",
                "1 for the condition a device is in: ok, stalled (holds up a request), failing (has not worked since it failed), filling (acknowledges nothing), closed",
            ),
            send_buffer: with_unit(
                of,
                "send_buffer",
                "Memory of the send queue to a device when last seen; absent if unknown",
                Unit::Bytes,
            ),
            send_buffer_limit: with_unit(
                of,
                "send_buffer_limit",
                "Limit of that: once it is reached the server hangs",
                Unit::Bytes,
            ),
        }
    }
}

/// What was found.
pub(super) struct Found {
    pub(super) hang_duration: Durations<ByCause>,
    pub(super) stall_duration: Durations<ByOp>,
    pub(super) hangs: Family<ByCause, Counter>,
    pub(super) requests_blocked: Counter,
    pub(super) stalls: Family<OfDevice, Counter>,
    pub(super) refusals: Family<ByCause, Counter>,
    pub(super) incidents: Family<OfDevice, Counter>,
    pub(super) lost_entries: Family<OfDevice, Counter>,
    pub(super) lost_bytes: Family<OfDevice, Counter>,
    pub(super) fillings: Family<OfDevice, Counter>,
    pub(super) requests: Counter,
    pub(super) audit_writes: Counter,
}

impl Found {
    fn new(of: &mut Registry) -> Self {
        Self {
            hang_duration: durations(
                of,
                "hang_duration",
                "How long a device held up a request, all in all, by the cause of the first stall; told when it is over",
            ),
            stall_duration: durations(
                of,
                "stall_duration",
                "The single waits that hangs are made of: connect, write, or lock, the queue behind another request",
            ),
            hangs: new(
                of,
                "hangs",
                "Requests that a device held up; told when it is over",
            ),
            requests_blocked: new(
                of,
                "requests_blocked",
                "Requests that were held up, by however many devices; told when it is over",
            ),
            stalls: new(
                of,
                "stalls",
                "Stalls that passed the threshold; told while they last",
            ),
            refusals: new(of, "refusals", "Requests for which a device failed at once"),
            incidents: new(
                of,
                "incidents",
                "Times a device failed until it worked again or the server ended; told then",
            ),
            lost_entries: new(
                of,
                "lost_entries",
                "Audit entries written and never acknowledged when their connection died",
            ),
            lost_bytes: with_unit(
                of,
                "lost",
                "Bytes written and never acknowledged when their connection died",
                Unit::Bytes,
            ),
            fillings: new(
                of,
                "filling_warnings",
                "Warnings that a device acknowledges nothing any more while its send buffer fills",
            ),
            requests: new(
                of,
                "requests",
                "Requests of clients that were seen to be answered; a lower bound with HTTP/2",
            ),
            audit_writes: new(of, "audit_writes", "Entries written to audit sockets"),
        }
    }
}

/// Of the tracer itself.
pub(super) struct Own {
    pub(super) events: Counter,
    pub(super) events_lost: Counter,
    pub(super) state_timestamp: Seconds,
    pub(super) session: Family<OfSession, Gauge>,
    pub(super) session_start: Seconds,
    pub(super) threshold: Seconds,
    pub(super) restarts: Counter,
    pub(super) missed: Arc<Missed>,
}

impl Own {
    fn new(of: &mut Registry) -> Self {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        of.register("build", "Version of vault-tracer", version);
        let missed = Arc::<Missed>::default();
        of.register_collector(Box::new(Arc::clone(&missed)));
        Self {
            events: new(of, "events", "Events seen by the tracer"),
            events_lost: new(
                of,
                "events_lost",
                "Records that the tracer lost, since the ring buffer was full: what is counted here is then a lower bound",
            ),
            state_timestamp: with_unit(
                of,
                "state_timestamp",
                "When it was last told how things stand, since the epoch: twice a second while a server is traced",
                Unit::Seconds,
            ),
            session: new(of, "session_info", "The server that is traced"),
            session_start: with_unit(
                of,
                "session_start_timestamp",
                "When the probes were attached to it, since the epoch",
                Unit::Seconds,
            ),
            threshold: with_unit(
                of,
                "threshold",
                "What a device held a request up for less than is no hang",
                Unit::Seconds,
            ),
            restarts: new(
                of,
                "server_restarts",
                "Times the server was started again and attached to",
            ),
            missed,
        }
    }
}

impl Families {
    /// Has everything of this device exported, as 0 until there is something: what first appears as 1 has not grown, by
    /// Prometheus's reckoning.
    pub(super) fn appears(&self, device: &OfDevice) {
        let (now, found) = (&self.now, &self.found);
        drop(now.stall_age.get_or_create(device));
        drop(now.waiting.get_or_create(device));
        for counter in [
            &found.stalls,
            &found.incidents,
            &found.lost_entries,
            &found.lost_bytes,
            &found.fillings,
        ] {
            drop(counter.get_or_create(device));
        }
        for device in Cause::ALL.map(|cause| device.by(cause)) {
            drop(now.stalls_open.get_or_create(&device));
            drop(found.hangs.get_or_create(&device));
            drop(found.hang_duration.get_or_create(&device));
            drop(found.refusals.get_or_create(&device));
        }
    }
}

fn new<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

fn with_unit<M: Metric + Clone + Default>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    unit: Unit,
) -> M {
    let metric = M::default();
    registry.register_with_unit(name, help, unit, metric.clone());
    metric
}

fn durations<L>(registry: &mut Registry, name: &str, help: &str) -> Durations<L>
where
    L: Clone + Hash + Eq,
    Durations<L>: Metric,
{
    let family: Durations<L> = Family::new_with_constructor(|| {
        let native = NativeHistogramConfig::with_bucket_factor(FACTOR).max_buckets(MOST_BUCKETS);
        Histogram::new_classic_and_native(SECONDS, native)
    });
    registry.register_with_unit(name, help, Unit::Seconds, family.clone());
    family
}

/// What each sink was too slow for, as its [`super::super::Worker`] counts it.
#[derive(Debug, Default)]
pub(super) struct Missed(Mutex<Vec<(&'static str, Arc<AtomicU64>)>>);

impl Missed {
    /// From now on of this sink too.
    pub(super) fn watch(&self, sink: &'static str, count: Arc<AtomicU64>) {
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

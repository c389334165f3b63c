//! How things stand now, as gauges.

use std::{collections::HashMap, sync::atomic::Ordering};

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics,
    families::{Families, Now},
    labels::{ByCondition, OfDevice},
    seconds,
};
use tracer_model::{Cause, Condition, DeviceSnapshot, Nanos, SendBuffer, Snapshot, Summary};

/// One device, or all that have no series of their own.
#[derive(Default)]
struct Standing {
    conditions: Vec<Condition>,
    waiting: u64,
    buffer: Option<SendBuffer>,
    /// Why, once for each request that is in the device.
    stalls: Vec<Cause>,
    /// Of the device that is stalled for longest.
    stalled: Nanos,
}

impl Metrics {
    pub(super) fn state(&mut self, state: &Snapshot) {
        let mut standing: HashMap<OfDevice, Standing> = HashMap::new();
        for device in &state.devices {
            let labels = self.device(&device.device);
            standing.entry(labels).or_default().device(device, state.at);
        }
        for stall in &state.stalls {
            let labels = self.device(&stall.device);
            standing.entry(labels).or_default().stalls.push(stall.cause);
        }
        let now = &self.exported.families.now;
        for (device, standing) in &standing {
            now.stand(device, standing);
        }
        now.held_up.set(signed(state.held_up));
        match state.under_way {
            Some(count) => {
                now.under_way.get_or_create(&[]).set(signed(count));
            }
            None => now.under_way.clear(),
        }
        self.totals(&state.totals);
        let own = &self.exported.families.own;
        own.state_timestamp.set(self.epoch(state.at));
    }

    pub(super) fn totals(&self, totals: &Summary) {
        let Families { found, own, .. } = &self.exported.families;
        raise(&found.requests, totals.requests);
        raise(&found.audit_writes, totals.audit_writes);
        raise(&own.events, totals.events);
        raise(&own.events_lost, totals.events_lost);
    }
}

impl Standing {
    fn device(&mut self, state: &DeviceSnapshot, now: Nanos) {
        self.conditions.extend(state.condition);
        if state.condition == Some(Condition::Stalled) {
            let stalled = state.since.map_or(0, |since| now.saturating_sub(since));
            self.stalled = self.stalled.max(stalled);
        }
        self.waiting += state.waiting;
        self.buffer = state.buffer;
    }
}

impl Now {
    fn stand(&self, device: &OfDevice, standing: &Standing) {
        for cause in Cause::ALL {
            let its = standing.stalls.iter().filter(|of| **of == cause);
            let open = self.stalls_open.get_or_create(&device.by(cause));
            open.set(signed(its.count() as u64));
        }
        self.stall_age
            .get_or_create(device)
            .set(seconds(standing.stalled));
        self.waiting
            .get_or_create(device)
            .set(signed(standing.waiting));
        for condition in Condition::ALL {
            let labels = ByCondition {
                device: device.device.clone(),
                transport: device.transport,
                condition: condition.name(),
            };
            let is = standing.conditions.contains(&condition);
            self.condition.get_or_create(&labels).set(is.into());
        }
        self.fill(device, standing.buffer.filter(|_| device.is_one()));
    }

    fn fill(&self, device: &OfDevice, buffer: Option<SendBuffer>) {
        let (filled, limit) = (&self.send_buffer, &self.send_buffer_limit);
        if let Some(buffer) = buffer {
            filled.get_or_create(device).set(signed(buffer.queued));
            limit.get_or_create(device).set(signed(buffer.limit));
        } else {
            filled.remove(device);
            limit.remove(device);
        }
    }
}

/// To a total that is counted elsewhere; never back, which Prometheus would take for a restart.
fn raise(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

/// As gauges count.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

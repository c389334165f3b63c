//! How things stand now, as gauges.

use std::{collections::HashMap, sync::atomic::Ordering};

use prometheus_client::metrics::counter::Counter;

use super::{
    Families, Metrics,
    families::{ByCondition, OfDevice},
    seconds,
};
use crate::{
    core::{
        finding::Summary,
        state::{Condition, DeviceState, SendBuffer, State},
    },
    event::Nanos,
};

/// One device, or all that have no series of their own.
#[derive(Default)]
struct Standing {
    conditions: Vec<Condition>,
    waiting: u64,
    buffer: Option<SendBuffer>,
    stalls: u64,
    /// Of the device that is stalled for longest.
    stalled: Nanos,
}

impl Metrics {
    pub(super) fn state(&mut self, state: &State) {
        let mut standing: HashMap<OfDevice, Standing> = HashMap::new();
        for device in &state.devices {
            let labels = self.device(&device.device);
            standing.entry(labels).or_default().device(device, state.at);
        }
        for stall in &state.stalls {
            let labels = self.device(&stall.device);
            standing.entry(labels).or_default().stalls += 1;
        }
        let families = &self.exported.families;
        for (device, standing) in &standing {
            families.stand(device, standing);
        }
        families.held_up.set(signed(state.held_up));
        match state.under_way {
            Some(count) => {
                families.under_way.get_or_create(&[]).set(signed(count));
            }
            None => families.under_way.clear(),
        }
        families.totals(&state.totals);
        families.state_timestamp.set(self.epoch(state.at));
    }
}

impl Standing {
    fn device(&mut self, state: &DeviceState, now: Nanos) {
        self.conditions.extend(state.condition);
        if state.condition == Some(Condition::Stalled) {
            let stalled = state.since.map_or(0, |since| now.saturating_sub(since));
            self.stalled = self.stalled.max(stalled);
        }
        self.waiting += state.waiting;
        self.buffer = state.buffer;
    }
}

impl Families {
    fn stand(&self, device: &OfDevice, standing: &Standing) {
        self.stalls_open
            .get_or_create(device)
            .set(signed(standing.stalls));
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
        match standing.buffer.filter(|_| device.is_one()) {
            Some(buffer) => {
                self.send_buffer
                    .get_or_create(device)
                    .set(signed(buffer.queued));
                self.send_buffer_limit
                    .get_or_create(device)
                    .set(signed(buffer.limit));
            }
            None => {
                self.send_buffer.remove(device);
                self.send_buffer_limit.remove(device);
            }
        }
    }

    pub(super) fn totals(&self, totals: &Summary) {
        raise(&self.requests, totals.requests);
        raise(&self.audit_writes, totals.audit_writes);
        raise(&self.events, totals.events);
        raise(&self.events_lost, totals.events_lost);
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

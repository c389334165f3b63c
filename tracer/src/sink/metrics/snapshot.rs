//! State snapshots as gauges.

use std::{collections::HashMap, sync::atomic::Ordering};

use prometheus_client::metrics::counter::Counter;

use super::{Metrics, families::Families, labels::DeviceLabels, seconds};
use tracer_model::{Cause, Condition, DeviceSnapshot, Nanos, SendBuffer, Snapshot, Summary};

/// The state of one series: of one device, or of all that share one.
#[derive(Default)]
struct SeriesState {
    conditions: Vec<Condition>,
    waiting: u64,
    buffer: Option<SendBuffer>,
    /// The cause of each open stall.
    stalls: Vec<Cause>,
    /// Of the device that has been stalled for longest.
    stall_age: Nanos,
}

impl Metrics {
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot) {
        let mut series: HashMap<DeviceLabels, SeriesState> = HashMap::new();
        let mut paths = Vec::new();
        for device in &snapshot.devices {
            let labels = self.device(&device.device);
            if let Some(path) = device.device.path.as_ref().filter(|_| labels.is_single()) {
                paths.push((labels.clone(), path));
            }
            series.entry(labels).or_default().add(device, snapshot.at);
        }
        for stall in &snapshot.stalls {
            let labels = self.device(&stall.device);
            series.entry(labels).or_default().stalls.push(stall.cause);
        }
        let stalled = snapshot.stalls.iter().map(|stall| &stall.device);
        let present = snapshot.devices.iter().map(|state| &state.device);
        let absent = self.devices.absent(snapshot.at, present.chain(stalled));
        let families = self.families();
        for (labels, state) in &series {
            state.export(families, labels);
        }
        // Paths become known, and may change, while the other series of a device stay what they are.
        families.device_info.clear();
        for (labels, path) in &paths {
            let info = families.device_info.get_or_create(&labels.with_path(path));
            info.set(1);
        }
        for (labels, expires) in absent {
            if expires {
                families.remove_device(&labels);
            } else if !series.contains_key(&labels) {
                SeriesState::default().export(families, &labels);
            }
        }
        families.requests_held_up.set(signed(snapshot.blocked));
        match snapshot.under_way {
            Some(count) => {
                let gauge = families.requests_under_way.get_or_create(&[]);
                gauge.set(signed(count));
            }
            None => families.requests_under_way.clear(),
        }
        families.state_timestamp.set(self.unix_time(snapshot.at));
        self.totals(&snapshot.totals);
    }

    /// Nothing is under way in a server that has ended, and its devices have no condition until a snapshot of the next one.
    pub(super) fn server_ended(&mut self, at: Nanos) {
        let families = self.families();
        for labels in self.devices.all() {
            SeriesState::default().export(families, &labels);
        }
        families.requests_held_up.set(0);
        families.requests_under_way.get_or_create(&[]).set(0);
        families.state_timestamp.set(self.unix_time(at));
    }

    pub(super) fn totals(&self, totals: &Summary) {
        let families = self.families();
        raise(&families.requests, totals.requests);
        raise(&families.audit_writes, totals.audit_writes);
        raise(&families.events, totals.events);
        raise(&families.events_lost, totals.events_lost);
    }
}

impl SeriesState {
    fn add(&mut self, device: &DeviceSnapshot, now: Nanos) {
        self.conditions.extend(device.condition);
        if device.condition == Some(Condition::Stalled) {
            let age = device.since.map_or(0, |since| now.saturating_sub(since));
            self.stall_age = self.stall_age.max(age);
        }
        self.waiting += device.waiting;
        self.buffer = device.buffer;
    }

    fn export(&self, to: &Families, labels: &DeviceLabels) {
        for cause in Cause::ALL {
            let stalls = self.stalls.iter().filter(|of| **of == cause).count();
            let gauge = to.stalls_open.get_or_create(&labels.with_cause(cause));
            gauge.set(signed(stalls as u64));
        }
        let age = to.stall_age.get_or_create(labels);
        age.set(seconds(self.stall_age));
        let waiting = to.requests_waiting.get_or_create(labels);
        waiting.set(signed(self.waiting));
        for condition in Condition::ALL {
            let labels = labels.with_condition(condition);
            let gauge = to.device_condition.get_or_create(&labels);
            gauge.set(self.conditions.contains(&condition).into());
        }
        if let Some(buffer) = self.buffer.filter(|_| labels.is_single()) {
            let queued = to.send_buffer.get_or_create(labels);
            queued.set(signed(buffer.queued));
            let limit = to.send_buffer_limit.get_or_create(labels);
            limit.set(signed(buffer.limit));
        } else {
            to.send_buffer.remove(labels);
            to.send_buffer_limit.remove(labels);
        }
    }
}

/// Raises a counter to a total that is counted elsewhere. It never falls: Prometheus would take that for a restart.
fn raise(counter: &Counter, total: u64) {
    counter.inner().fetch_max(total, Ordering::Relaxed);
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

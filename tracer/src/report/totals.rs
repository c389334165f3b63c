//! From records to a report: what is counted, and the few that are kept.

use hdrhistogram::Histogram;
use jiff::Timestamp;

use super::devices::Devices;
use super::{
    file::File,
    record::{
        self, DeviceRef, Filling, Hang, HangHead, Incident, Loss, Nanos, Refusal, Session, Stalled,
        Summary,
    },
    requests::Requests,
    summary::{Affected, In, Lost, OfDevice, Percentiles, Ranking, Report, Wait},
    tally::{Largest, Tally, Top},
    timeline::{self, Timeline},
    words,
};

/// Hangs that are kept in full.
pub const HANGS: usize = 200;
/// Incidents, losses, warnings, and hangs under way.
pub const OTHERS: usize = 50;
/// Names in a ranking: that many, at most twice as many while reading.
pub const NAMES: usize = 1000;
/// Of which so many are told.
pub const TOP: usize = 10;
/// Stalls, frames and requests' ids of a record that are kept.
const PARTS: usize = 64;
/// Percentiles are so exact: three digits.
const DIGITS: u8 = 3;
const PRECISION: f64 = 0.001;
/// Longer hangs, in ns, count as this: 146 years.
const LONGEST: Nanos = 1 << 62;
/// Kinds of waits that are told apart.
const WAITS: usize = 8;

/// What is known so far.
pub struct Totals {
    total: Tally,
    longest: Nanos,
    refusals: u64,
    requests: Requests,
    durations: Histogram<u64>,
    waits: Vec<Wait>,
    devices: Devices,
    causes: Vec<String>,
    timeline: Timeline,
    paths: Top,
    operations: Top,
    clients: Top,
    hangs: Largest<Nanos, In<Hang>>,
    incidents: Largest<(Nanos, u64, Nanos), In<Incident>>,
    losses: Largest<u64, In<Loss>>,
    fillings: Largest<i64, In<Filling>>,
    under_way: Largest<Nanos, In<Stalled>>,
    files: Vec<File>,
}

impl Default for Totals {
    fn default() -> Self {
        let durations = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        let durations = durations.expect("a range and a precision that it has");
        Self {
            total: Tally::default(),
            longest: 0,
            refusals: 0,
            requests: Requests::default(),
            durations,
            waits: Vec::new(),
            devices: Devices::default(),
            causes: Vec::new(),
            timeline: Timeline::default(),
            paths: Top::new(NAMES),
            operations: Top::new(NAMES),
            clients: Top::new(NAMES),
            hangs: Largest::new(HANGS),
            incidents: Largest::new(OTHERS),
            losses: Largest::new(OTHERS),
            fillings: Largest::new(OTHERS),
            under_way: Largest::new(OTHERS),
            files: Vec::new(),
        }
    }
}

impl Totals {
    /// What follows is of this file.
    pub fn begin(&mut self, name: String) {
        self.files.push(File::new(name));
        self.requests.forget();
    }

    /// That file is over.
    pub fn end(&mut self) {
        let place = self.files.len() - 1;
        let cut = self.files[place].end();
        for stalled in cut {
            self.keep_under_way(place, stalled);
        }
    }

    /// The file being read.
    pub fn file(&mut self) -> &mut File {
        self.files.last_mut().expect("begun")
    }

    /// One line of it.
    pub fn line(&mut self, line: &[u8]) -> serde_json::Result<()> {
        let kind = record::kind(line)?;
        match &*kind {
            "hang" => self.hang(line)?,
            "session" => self.session(serde_json::from_slice(line)?),
            "attached" => self.file().attached(serde_json::from_slice(line)?),
            "stalled" => self.stalled(serde_json::from_slice(line)?),
            "refusal" => self.refusal(&serde_json::from_slice(line)?),
            "lost_entries" => self.loss(serde_json::from_slice(line)?),
            "filling" => self.filling(serde_json::from_slice(line)?),
            "incident" => self.incident(serde_json::from_slice(line)?),
            "summary" => self
                .file()
                .summary(&serde_json::from_slice::<Summary>(line)?),
            _ => {
                serde_json::from_slice::<serde::de::IgnoredAny>(line)?;
                self.file().trace.unknown_records += 1;
            }
        }
        self.file().trace.records += 1;
        Ok(())
    }

    fn session(&mut self, session: Session) {
        let place = self.files.len() - 1;
        let cut = self.file().session(session);
        for stalled in cut {
            self.keep_under_way(place, stalled);
        }
    }

    fn hang(&mut self, line: &[u8]) -> serde_json::Result<()> {
        let hang: HangHead<'_> = serde_json::from_slice(line)?;
        let blocked = hang.duration_ns;
        let end = end_of(&hang);
        self.total.add(blocked);
        self.longest = self.longest.max(blocked);
        self.durations.saturating_record(blocked);
        self.count_names(&hang);
        self.file().hang(&hang, end);
        self.requests.see(&hang.request);
        let cause = self.cause(&hang.cause);
        if let Some(device) = self.devices.get(&hang.device) {
            let is_queued = hang.stalls.first().is_some_and(|stall| stall.op == "lock");
            let is_longest = device.hang(&hang.cause, blocked, !is_queued);
            self.timeline.hold_up(device.lane(), cause, hang.start, end);
            if is_longest {
                let full: Hang = serde_json::from_slice(line)?;
                device.explain(&hang.cause, &full.explanation);
            }
        } else {
            self.devices.others.add(blocked);
        }
        let file = self.files.len() - 1;
        self.hangs.offer(blocked, || {
            let record = cut(serde_json::from_slice(line).ok()?);
            Some(In { file, record })
        });
        Ok(())
    }

    fn count_names(&mut self, hang: &HangHead<'_>) {
        let (request, blocked) = (&hang.request, hang.duration_ns);
        self.paths.add(&request.path, blocked);
        self.operations.add(&request.operation, blocked);
        self.clients.add(&request.client_address, blocked);
        for stall in &hang.stalls {
            count_wait(&mut self.waits, &stall.op, stall.duration_ns);
        }
    }

    /// Its number in the timeline.
    fn cause(&mut self, name: &str) -> usize {
        let known = self.causes.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            if self.causes.len() < timeline::CAUSES {
                self.causes.push(words::short(name));
            }
            self.causes.len() - 1
        })
    }

    fn stalled(&mut self, stalled: Stalled) {
        let device = DeviceRef {
            transport: stalled.device.transport.as_str().into(),
            address: stalled.device.address.as_str().into(),
        };
        if let Some(device) = self.devices.get(&device) {
            device.waiting(stalled.waiting);
        }
        self.timeline.reach(stalled.start);
        self.file().stalled(stalled);
    }

    fn keep_under_way(&mut self, file: usize, record: Stalled) {
        let size = record.blocked_ns;
        self.under_way.offer(size, || Some(In { file, record }));
    }

    fn refusal(&mut self, refusal: &Refusal<'_>) {
        self.refusals += 1;
        self.file().refusal(refusal.start);
        if let Some(device) = self.devices.get(&refusal.device) {
            device.refusal(&refusal.cause, &refusal.explanation);
            self.timeline.refuse(device.lane(), refusal.start);
        }
    }

    fn loss(&mut self, mut loss: Loss) {
        let part = Lost {
            entries: loss.entries,
            bytes: loss.bytes,
            is_lower_bound: !loss.complete,
        };
        if let Some(device) = self.devices.get(&as_ref(&loss.device)) {
            device.lost(part, loss.pending);
        }
        self.timeline.reach(loss.at);
        self.file().lost(loss.at, part);
        loss.requests.truncate(PARTS);
        let file = self.files.len() - 1;
        self.losses
            .offer(loss.bytes, || Some(In { file, record: loss }));
    }

    fn filling(&mut self, filling: Filling) {
        if let Some(device) = self.devices.get(&as_ref(&filling.device)) {
            device.filling();
        }
        self.timeline.reach(filling.at);
        self.file().see(filling.at);
        let file = self.files.len() - 1;
        // The latest.
        let size = timeline::nanos(filling.at);
        self.fillings.offer(size, || {
            Some(In {
                file,
                record: filling,
            })
        });
    }

    fn incident(&mut self, incident: Incident) {
        if let Some(device) = self.devices.get(&as_ref(&incident.device)) {
            device.incident(incident.end.is_none());
        }
        self.timeline.reach(incident.start);
        let end = incident.end.unwrap_or(incident.start);
        self.timeline.reach(end);
        self.file().incident(incident.start, end);
        let lasted = words::between(incident.start, end);
        let size = (incident.blocked_ns, incident.requests, lasted);
        let file = self.files.len() - 1;
        self.incidents.offer(size, || {
            Some(In {
                file,
                record: incident,
            })
        });
    }

    /// How many things are kept: does not grow with the traces.
    pub fn kept(&self) -> usize {
        self.hangs.len()
            + self.incidents.len()
            + self.losses.len()
            + self.fillings.len()
            + self.under_way.len()
            + self.requests.kept()
            + self.timeline.kept()
            + self.paths.len()
            + self.operations.len()
            + self.clients.len()
            + self.devices.kept()
            + self.durations.distinct_values()
            + self.files.iter().map(File::kept).sum::<usize>()
    }

    /// The report on what was read.
    pub fn finish(self) -> Report {
        let untold: u64 = self.files.iter().map(File::left_out).sum();
        let files: Vec<_> = self.files.into_iter().map(File::finish).collect();
        let percentiles = percentiles(&self.durations, self.longest);
        let mut waits = self.waits;
        waits.sort_by(|a, b| b.duration_ns.cmp(&a.duration_ns).then(a.op.cmp(&b.op)));
        let other_devices = Some(self.devices.others).filter(|others| others.hangs > 0);
        let devices: Vec<OfDevice> = self.devices.finish();
        let ranking = |top: Top| {
            let (top, others) = top.first(TOP);
            Ranking { top, others }
        };
        Report {
            start: files.iter().filter_map(|file| file.start).min(),
            end: files.iter().filter_map(|file| file.end).max(),
            requests_held_up: self.requests.counted(),
            total: self.total,
            longest_ns: self.longest,
            refusals: self.refusals,
            percentiles,
            waits,
            devices,
            other_devices,
            incidents_left_out: self.incidents.left_out(),
            incidents: self.incidents.into_vec(),
            hangs_left_out: self.hangs.left_out(),
            worst_hangs: self.hangs.into_vec(),
            under_way_left_out: self.under_way.left_out() + untold,
            under_way: self.under_way.into_vec(),
            affected: Affected {
                paths: ranking(self.paths),
                operations: ranking(self.operations),
                clients: ranking(self.clients),
            },
            lost_left_out: self.losses.left_out(),
            lost: self.losses.into_vec(),
            fillings_left_out: self.fillings.left_out(),
            fillings: self.fillings.into_vec(),
            files,
            timeline: self.timeline,
            causes: self.causes,
        }
    }
}

fn as_ref(device: &record::Device) -> DeviceRef<'_> {
    DeviceRef {
        transport: device.transport.as_str().into(),
        address: device.address.as_str().into(),
    }
}

/// Where the writer did not say, as long after its beginning as it was long.
fn end_of(hang: &HangHead<'_>) -> Timestamp {
    hang.end.unwrap_or_else(|| {
        let length = i64::try_from(hang.duration_ns).unwrap_or(i64::MAX);
        let length = jiff::SignedDuration::from_nanos(length);
        hang.start.checked_add(length).unwrap_or(hang.start)
    })
}

/// Without what no reader would read, and a hostile writer would write.
fn cut(mut hang: Hang) -> Hang {
    hang.stalls.truncate(PARTS);
    let request = &mut hang.request;
    for text in [&mut request.path, &mut request.operation, &mut request.id] {
        *text = text.take().map(|text| words::short(&text));
    }
    hang
}

fn count_wait(waits: &mut Vec<Wait>, op: &str, duration: Nanos) {
    let place = waits.iter().position(|wait| wait.op == op);
    let place = place.unwrap_or_else(|| {
        if waits.len() < WAITS {
            waits.push(Wait {
                op: words::short(op),
                count: 0,
                duration_ns: 0,
            });
        }
        waits.len() - 1
    });
    waits[place].count += 1;
    waits[place].duration_ns = waits[place].duration_ns.saturating_add(duration);
}

fn percentiles(durations: &Histogram<u64>, longest: Nanos) -> Option<Percentiles> {
    if durations.is_empty() {
        return None;
    }
    // Of a bucket, its upper end: none is longer than the longest.
    let at = |quantile| durations.value_at_quantile(quantile).min(longest);
    Some(Percentiles {
        precision: PRECISION,
        p50_ns: at(0.5),
        p90_ns: at(0.9),
        p99_ns: at(0.99),
        p999_ns: at(0.999),
    })
}

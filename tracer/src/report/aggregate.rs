//! From records to a report: totals of all, and the largest in full.

use std::mem;

use serde::de::IgnoredAny;
use tracer_format::{
    BorrowedText, Name, Record,
    record::{
        Filling, Hang, Incident, LostEntries, Refusal, Rotated, Session, Stalled, record_type,
    },
    text::{between, shortened},
};
use tracer_model::{Cause, Nanos, Op};

use super::{
    devices::DeviceTable,
    file::{File, UnfinishedTraces},
    forwarded::ForwardedSummary,
    heavy::{HangTotals, HeavyHitters, Largest},
    percentiles::HangDurations,
    requests::BlockedRequests,
    summary::{Affected, DeviceSummary, FromFile, Lost, Ranking, Report, Wait, WholeHang},
    timeline::{self, Timeline},
};

/// Hangs that are kept in full.
pub const HANGS: usize = 200;
/// Incidents, losses, warnings, and hangs under way.
pub const OTHERS: usize = 50;
/// Names in a ranking: that many, at most twice as many while reading.
pub const NAMES: usize = 1000;
/// Of which this many are reported.
pub const TOP: usize = 10;
/// Stalls and requests' ids of a record that are kept.
const PARTS: usize = 64;
/// Kinds of waits that have totals of their own.
const WAITS: usize = 8;

/// A hang as it is counted: its text is borrowed from its line, and its evidence is skipped.
type CountedHang<'a> = Hang<BorrowedText<'a>, IgnoredAny>;

/// Totals of what was read so far.
pub struct Aggregator {
    total: HangTotals,
    longest: Nanos,
    refusals: u64,
    forwarded: Option<ForwardedSummary>,
    requests: BlockedRequests,
    durations: HangDurations,
    waits: Vec<Wait>,
    devices: DeviceTable,
    causes: Vec<Name<Cause>>,
    timeline: Timeline,
    paths: HeavyHitters,
    operations: HeavyHitters,
    clients: HeavyHitters,
    hangs: Largest<Nanos, FromFile<WholeHang>>,
    incidents: Largest<(Nanos, u64, Nanos), FromFile<Incident>>,
    losses: Largest<u64, FromFile<LostEntries>>,
    fillings: Largest<i64, FromFile<Filling>>,
    under_way: Largest<Nanos, FromFile<Stalled>>,
    files: Vec<File>,
    unfinished: UnfinishedTraces,
}

impl Default for Aggregator {
    fn default() -> Self {
        Self {
            total: HangTotals::default(),
            longest: 0,
            refusals: 0,
            forwarded: None,
            requests: BlockedRequests::default(),
            durations: HangDurations::default(),
            waits: Vec::new(),
            devices: DeviceTable::default(),
            causes: Vec::new(),
            timeline: Timeline::default(),
            paths: HeavyHitters::new(NAMES),
            operations: HeavyHitters::new(NAMES),
            clients: HeavyHitters::new(NAMES),
            hangs: Largest::new(HANGS),
            incidents: Largest::new(OTHERS),
            losses: Largest::new(OTHERS),
            fillings: Largest::new(OTHERS),
            under_way: Largest::new(OTHERS),
            files: Vec::new(),
            unfinished: UnfinishedTraces::default(),
        }
    }
}

impl Aggregator {
    /// A file begins.
    pub fn begin(&mut self, name: String) {
        self.files.push(File::new(name));
        self.requests.forget();
    }

    /// The file ends.
    pub fn end(&mut self) {
        let place = self.files.len() - 1;
        let cut = self.files[place].end();
        self.keep_under_way(place, cut);
    }

    /// The file being read.
    pub fn file(&mut self) -> &mut File {
        self.files.last_mut().expect("begun")
    }

    /// Adds a line of the file.
    pub fn line(&mut self, line: &[u8]) -> serde_json::Result<()> {
        if &*record_type(line)? == "hang" {
            self.hang(line)?;
        } else {
            self.record(Record::parse(line)?);
        }
        self.file().trace.records += 1;
        Ok(())
    }

    fn record(&mut self, record: Option<Record<String, IgnoredAny>>) {
        match record {
            Some(Record::Session(session)) => self.session(session),
            Some(Record::Attached(session)) => self.file().attached(session),
            Some(Record::Stalled(stalled)) => self.stalled(*stalled),
            Some(Record::Refusal(refusal)) => self.refusal(&refusal),
            Some(Record::LostEntries(loss)) => self.loss(loss),
            Some(Record::Filling(filling)) => self.filling(filling),
            Some(Record::Incident(incident)) => self.incident(incident),
            Some(Record::Forwarded(forwarded)) => {
                self.forwarded.get_or_insert_default().add(&forwarded);
                self.file().cover(forwarded.start);
            }
            Some(Record::Rotated(rotated)) => self.rotated(rotated),
            Some(Record::Ended(ended)) => self.file().cover(ended.at),
            Some(Record::Summary(summary)) => self.file().summary(&summary),
            // Hangs are counted from their lines.
            Some(Record::Hang(_)) => {}
            None => self.file().trace.unknown_records += 1,
        }
    }

    fn session(&mut self, session: Session) {
        let place = self.files.len() - 1;
        let key = session.part.map(|part| (session.start, part));
        let earlier = key.and_then(|key| self.unfinished.remove(&key));
        let cut = self.file().session(session, earlier);
        self.keep_under_way(place, cut);
    }

    fn rotated(&mut self, rotated: Rotated) {
        let (place, next) = (self.files.len() - 1, rotated.part.saturating_add(1));
        let Some((began, unfinished)) = self.file().rotated(next) else {
            return;
        };
        let key = (began, next);
        if let Err(beyond) = self.unfinished.insert(key, place, unfinished) {
            self.keep_under_way(place, beyond.open());
        }
    }

    fn hang(&mut self, line: &[u8]) -> serde_json::Result<()> {
        let hang: CountedHang<'_> = serde_json::from_slice(line)?;
        let blocked = hang.duration_ns;
        self.total.add(blocked);
        self.longest = self.longest.max(blocked);
        self.durations.add(blocked);
        self.count_names(&hang);
        let id = hang.id.as_ref().map(AsRef::as_ref);
        self.file().hang(id, (hang.start, hang.end), blocked);
        self.requests.add(&hang.request);
        let cause = self.cause(&hang.cause);
        if let Some(device) = self.devices.get(&hang.device) {
            let first = hang.stalls.first();
            let is_queued = first.is_some_and(|stall| stall.op == Op::Lock);
            (self.timeline).add_hang(device.lane, cause, hang.start, hang.end);
            let explanation = (!is_queued, hang.explanation.as_ref());
            device.add_hang(&hang.cause, blocked, explanation);
        } else {
            self.devices.others.add(blocked);
        }
        let file = self.files.len() - 1;
        self.hangs.offer(blocked, || {
            let record = cut(serde_json::from_slice(line).ok()?);
            Some(FromFile { file, record })
        });
        Ok(())
    }

    fn count_names(&mut self, hang: &CountedHang<'_>) {
        let (request, blocked) = (&hang.request, hang.duration_ns);
        for (names, name) in [
            (&mut self.paths, &request.path),
            (&mut self.operations, &request.operation),
            (&mut self.clients, &request.client_address),
        ] {
            if let Some(name) = name {
                names.add(name.as_ref(), blocked);
            }
        }
        for stall in &hang.stalls {
            count_wait(&mut self.waits, &stall.op, stall.duration_ns);
        }
    }

    /// The number of a cause in the timeline.
    fn cause(&mut self, name: &Name<Cause>) -> usize {
        let known = self.causes.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            if self.causes.len() < timeline::CAUSES {
                self.causes.push(name.clone());
            }
            self.causes.len() - 1
        })
    }

    fn stalled(&mut self, stalled: Stalled) {
        if let Some(device) = self.devices.get(&stalled.device) {
            device.most_waiting = device.most_waiting.max(stalled.waiting);
        }
        self.timeline.reach(stalled.start);
        self.file().stalled(stalled);
    }

    fn keep_under_way(&mut self, file: usize, cut: Vec<Stalled>) {
        for record in cut {
            let size = record.blocked_ns;
            self.under_way
                .offer(size, || Some(FromFile { file, record }));
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.refusals += 1;
        self.file().refusal(refusal.start);
        if let Some(device) = self.devices.get(&refusal.device) {
            device.add_refusal(&refusal.cause, &refusal.explanation);
            self.timeline.add_refusal(device.lane, refusal.start);
        }
    }

    fn loss(&mut self, mut loss: LostEntries) {
        let part = Lost {
            entries: loss.entries,
            bytes: loss.bytes,
            is_lower_bound: !loss.complete,
        };
        if let Some(device) = self.devices.get(&loss.device) {
            let sum = if loss.pending {
                &mut device.pending
            } else {
                &mut device.lost
            };
            sum.add(part);
        }
        self.timeline.reach(loss.at);
        self.file().lost(loss.at, part);
        loss.requests.truncate(PARTS);
        let file = self.files.len() - 1;
        self.losses
            .offer(loss.bytes, || Some(FromFile { file, record: loss }));
    }

    fn filling(&mut self, filling: Filling) {
        if let Some(device) = self.devices.get(&filling.device) {
            device.fillings += 1;
        }
        self.timeline.reach(filling.at);
        self.file().cover(filling.at);
        let file = self.files.len() - 1;
        // The latest are kept.
        let size = timeline::nanos(filling.at);
        self.fillings.offer(size, || {
            Some(FromFile {
                file,
                record: filling,
            })
        });
    }

    fn incident(&mut self, incident: Incident) {
        let mut more = 0;
        if let Some(device) = self.devices.get(&incident.device) {
            device.incidents += 1;
            device.incidents_open += u64::from(incident.end.is_none());
            more = device.add_counted_refusals(&incident.cause, incident.refusals);
        }
        self.refusals += more;
        self.file().more_refusals(more);
        self.timeline.reach(incident.start);
        let end = incident.end.unwrap_or(incident.start);
        self.timeline.reach(end);
        self.file().incident(incident.start, end);
        let lasted = between(incident.start, end);
        let size = (incident.blocked_ns, incident.requests, lasted);
        let file = self.files.len() - 1;
        self.incidents.offer(size, || {
            Some(FromFile {
                file,
                record: incident,
            })
        });
    }

    /// Items that are kept: their number does not grow with the traces.
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
            + self.durations.kept()
            + self.files.iter().map(File::kept).sum::<usize>()
            + self.unfinished.kept()
    }

    /// The report on what was read.
    pub fn finish(mut self) -> Report {
        for (place, unfinished) in mem::take(&mut self.unfinished).into_all() {
            self.keep_under_way(place, unfinished.open());
        }
        let open_left_out: u64 = self.files.iter().map(File::open_left_out).sum();
        let files: Vec<_> = self.files.into_iter().map(File::finish).collect();
        let percentiles = self.durations.percentiles(self.longest);
        let mut waits = self.waits;
        waits.sort_by(|a, b| b.duration_ns.cmp(&a.duration_ns).then(a.op.cmp(&b.op)));
        let other_devices = Some(self.devices.others).filter(|others| others.hangs > 0);
        let devices: Vec<DeviceSummary> = self.devices.finish();
        let ranking = |top: HeavyHitters| {
            let (top, others) = top.first(TOP);
            Ranking { top, others }
        };
        Report {
            start: files.iter().filter_map(|file| file.start).min(),
            end: files.iter().filter_map(|file| file.end).max(),
            requests_blocked: self.requests.count(),
            total: self.total,
            longest_ns: self.longest,
            refusals: self.refusals,
            forwarded: self.forwarded,
            percentiles,
            waits,
            devices,
            other_devices,
            incidents_left_out: self.incidents.left_out(),
            incidents: self.incidents.into_vec(),
            hangs_left_out: self.hangs.left_out(),
            worst_hangs: self.hangs.into_vec(),
            under_way_left_out: self.under_way.left_out() + open_left_out,
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

/// Bounds what a hostile writer could make arbitrarily large.
fn cut(mut hang: WholeHang) -> WholeHang {
    hang.stalls.truncate(PARTS);
    let request = &mut hang.request;
    for text in [&mut request.path, &mut request.operation, &mut request.id] {
        *text = text.take().map(|text| shortened(&text));
    }
    hang
}

fn count_wait(waits: &mut Vec<Wait>, op: &Name<Op>, duration: Nanos) {
    let place = waits.iter().position(|wait| wait.op == *op);
    let place = place.unwrap_or_else(|| {
        if waits.len() < WAITS {
            waits.push(Wait {
                op: op.clone(),
                count: 0,
                duration_ns: 0,
            });
        }
        waits.len() - 1
    });
    waits[place].count += 1;
    waits[place].duration_ns = waits[place].duration_ns.saturating_add(duration);
}

//! What devices owe: an entry that one device took is due from each that takes all entries, as the server's own table of audit
//! devices says. One that took none of the last requests' entries fails, whatever the reason, although no system call of it
//! may have been seen to fail: a write to a file is none of a socket, and a name that is not found or a time-out of 0 leads to none.
//!
//! A socket device took an entry if it was written to its socket, an audit file if the file changed. So a socket counts only
//! once an entry was seen there, and a file only while the server has it open. Requests that were under way when records
//! were lost, when the table changed or when the device last showed anything by itself do not count.

use tracer_model::{ConfiguredDevice, Device, Nanos, RequestInfo, Transport};

/// Requests in a row before a device is taken to fail: of one alone something may not have been seen.
const LEAST: usize = 2;

/// Since the first of them, ns: an entry may be written after its request is answered.
const PATIENCE: Nanos = 1_000_000_000;

/// Between two measurements of an audit file, ns.
const INTERVAL: Nanos = 500_000_000;

/// Requests without a further one that did not take their entries, ns, after which a device is not suspected any more.
const FORGOTTEN: Nanos = 10_000_000_000;

/// Requests that are kept of one device; further ones are not counted.
const MOST: usize = 1024;

/// A request that is over, and that other devices audited.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuditedRequest {
    pub(crate) info: RequestInfo,
    pub(crate) end: Nanos,
    /// How many of its entries another device was seen to take: one or two, or none as far as is known.
    pub(crate) entries: u64,
}

/// An audit file at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMeasurement {
    pub(crate) at: Nanos,
    /// Bytes.
    pub(crate) size: Option<u64>,
    /// Whether the server has this file open, and not another one in its place; `None` if that is not certain.
    pub(crate) is_open: Option<bool>,
    /// Bytes free in its file system.
    pub(crate) free: Option<u64>,
}

/// One device that takes all entries.
#[derive(Debug)]
struct Debtor {
    device: Device,
    /// Whether what it takes can be seen: it was seen to take something.
    is_visible: bool,
    /// When it last took an entry, or showed by itself that it did not.
    sign: Nanos,
    /// Whether it was found to fail since.
    fails: bool,
    missed: Vec<AuditedRequest>,
    /// Of a file: requests since the last measurement.
    unchecked: Vec<AuditedRequest>,
    last: Option<FileMeasurement>,
    asked: Nanos,
}

/// All devices that take all entries.
#[derive(Debug, Default)]
pub(crate) struct Dues {
    debtors: Vec<Debtor>,
    /// What began earlier does not count.
    since: Nanos,
}

impl Dues {
    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        let requests = |debtor: &Debtor| debtor.missed.len() + debtor.unchecked.len();
        self.debtors.len() + self.debtors.iter().map(requests).sum::<usize>()
    }

    /// The server's audit devices are these now. One alone owes nothing: no other shows what is due.
    pub(crate) fn configure(&mut self, at: Nanos, devices: &[ConfiguredDevice]) {
        let before = std::mem::take(&mut self.debtors);
        let was_visible = |device: &Device| {
            let mut before = before.iter();
            before.any(|debtor| debtor.device == *device && debtor.is_visible)
        };
        let counts = |known: &&ConfiguredDevice| known.takes_all && devices.len() > 1;
        // Two that write to one place are seen as one.
        let is_first = |known: &&ConfiguredDevice| {
            let first = devices.iter().find(|other| other.device == known.device);
            first.is_some_and(|first| first.path == known.path)
        };
        let counted = devices.iter().filter(counts).filter(is_first);
        let debtors = counted.map(|known| Debtor {
            is_visible: was_visible(&known.device),
            device: known.device.clone(),
            sign: at,
            fails: false,
            missed: Vec::new(),
            unchecked: Vec::new(),
            last: None,
            asked: 0,
        });
        self.debtors = debtors.collect();
        self.since = at;
    }

    /// Something may not have been seen: what is under way does not count.
    pub(crate) fn reset(&mut self, at: Nanos) {
        self.since = self.since.max(at);
        for debtor in &mut self.debtors {
            debtor.settle(at);
            debtor.last = None;
        }
    }

    /// Whether anything is due from any device.
    pub(crate) fn is_empty(&self) -> bool {
        self.debtors.is_empty()
    }

    /// The devices that owe entries.
    pub(crate) fn devices(&self) -> impl Iterator<Item = &Device> {
        self.debtors.iter().map(|debtor| &debtor.device)
    }

    /// Something happened on the device (`took`: it took an entry): it does not fail without a sign.
    pub(crate) fn sign(&mut self, device: &Device, at: Nanos, took: bool) {
        let is_syslog = device.is_syslog_socket();
        let its = self.debtors.iter_mut().filter(|debtor| {
            let by_syslog = is_syslog && debtor.device.transport == Transport::Syslog;
            debtor.device == *device || by_syslog
        });
        for debtor in its {
            debtor.is_visible |= took;
            debtor.settle(at);
        }
    }

    /// Devices of which nothing was seen in this request, and that may owe its entries. A file may have taken them all the
    /// same: see [`Self::measured`]. `used`: whether the request did something on it.
    pub(crate) fn suspects(&self, start: Nanos, used: impl Fn(&Device) -> bool) -> Vec<&Device> {
        let is_suspect = |debtor: &&Debtor| {
            let is_counted = start > debtor.sign.max(self.since);
            is_counted && (debtor.is_visible || debtor.is_file()) && !used(&debtor.device)
        };
        let suspects = self.debtors.iter().filter(is_suspect);
        suspects.map(|debtor| &debtor.device).collect()
    }

    /// A request is over of which nothing was seen on this device.
    pub(crate) fn unseen(&mut self, device: &Device, request: AuditedRequest) {
        let Some(debtor) = self.of(device) else {
            return;
        };
        let is_file = debtor.is_file();
        let list = if is_file {
            &mut debtor.unchecked
        } else {
            &mut debtor.missed
        };
        if list.len() < MOST && (is_file || request.entries > 0) {
            list.push(request);
        }
    }

    /// What became known later of a request that [`Self::measured`] returned: this device owes its entries.
    pub(crate) fn missed(&mut self, device: &Device, request: AuditedRequest) {
        let since = self.since;
        if let Some(debtor) = self.of(device)
            && request.info.start > debtor.sign.max(since)
            && debtor.missed.len() < MOST
        {
            debtor.missed.push(request);
        }
    }

    /// Takes a measurement of an audit file. Returns its device, and the requests of which it took nothing while it is not known
    /// whether they were audited.
    pub(crate) fn measured(
        &mut self,
        path: &str,
        now: FileMeasurement,
    ) -> Option<(Device, Vec<AuditedRequest>)> {
        let mut files = self.debtors.iter_mut().filter(|debtor| debtor.is_file());
        let debtor = files.find(|debtor| debtor.device.address == path)?;
        let before = debtor.last.replace(now).filter(|before| before.at < now.at);
        let is_certain = now.is_open == Some(true) || (now.is_open.is_some() && debtor.is_visible);
        debtor.is_visible |= now.is_open == Some(true);
        let same = before.filter(|before| before.size == now.size && before.is_open == now.is_open);
        let Some(before) = same.filter(|_| is_certain) else {
            debtor.settle(now.at);
            return None;
        };
        let between =
            |request: &mut AuditedRequest| request.info.start > before.at && request.end < now.at;
        let over: Vec<_> = debtor.unchecked.extract_if(.., between).collect();
        debtor.unchecked.retain(|request| request.end >= now.at);
        let (audited, unknown): (Vec<_>, Vec<_>) =
            over.into_iter().partition(|request| request.entries > 0);
        let room = MOST.saturating_sub(debtor.missed.len());
        debtor.missed.extend(audited.into_iter().take(room));
        Some((debtor.device.clone(), unknown))
    }

    /// Audit files to measure now. While nothing is due from them, none is.
    pub(crate) fn measurements_due(&mut self, now: Nanos) -> Vec<String> {
        let is_due = |debtor: &&mut Debtor| {
            let is_first = debtor.last.is_none() || !debtor.unchecked.is_empty();
            debtor.is_file() && is_first && now.saturating_sub(debtor.asked) >= INTERVAL
        };
        let due = self.debtors.iter_mut().filter(is_due);
        due.map(|debtor| {
            debtor.asked = now;
            debtor.device.address.clone()
        })
        .collect()
    }

    /// Whether a device may be failing.
    pub(crate) fn suspects_any(&self, now: Nanos) -> bool {
        let is_recent = |missed: &AuditedRequest| now.saturating_sub(missed.end) < FORGOTTEN;
        let mut debtors = self.debtors.iter();
        debtors.any(|debtor| debtor.missed.last().is_some_and(is_recent))
    }

    /// When a sample of the goroutines is wanted: it shows whether the device is still configured, and whether anybody is in
    /// its code.
    pub(crate) fn sample_due(&self) -> Option<Nanos> {
        self.debtors.iter().filter_map(Debtor::overdue_at).min()
    }

    /// Devices that fail, as far as entries show: a sample that was taken now says nothing else.
    pub(crate) fn overdue(&self, now: Nanos) -> Vec<Device> {
        let is_overdue = |debtor: &&Debtor| debtor.overdue_at().is_some_and(|due| due <= now);
        let overdue = self.debtors.iter().filter(is_overdue);
        overdue.map(|debtor| debtor.device.clone()).collect()
    }

    /// The requests whose entries this device did not take, and what is free in its file system, bytes.
    pub(crate) fn take_missed(&mut self, device: &Device) -> (Vec<AuditedRequest>, Option<u64>) {
        let Some(debtor) = self.of(device) else {
            return (Vec::new(), None);
        };
        debtor.fails = true;
        let free = debtor.last.and_then(|last| last.free);
        (std::mem::take(&mut debtor.missed), free)
    }

    fn of(&mut self, device: &Device) -> Option<&mut Debtor> {
        self.debtors
            .iter_mut()
            .find(|debtor| debtor.device == *device)
    }
}

impl Debtor {
    fn is_file(&self) -> bool {
        self.device.transport == Transport::File && self.device.address.starts_with('/')
    }

    /// Nothing is due from it that began before.
    fn settle(&mut self, at: Nanos) {
        self.sign = self.sign.max(at);
        self.fails = false;
        self.missed.clear();
        self.unchecked.retain(|request| request.info.start > at);
    }

    fn overdue_at(&self) -> Option<Nanos> {
        let least = if self.fails { 1 } else { LEAST };
        let first = self.missed.first().filter(|_| self.missed.len() >= least)?;
        Some(first.end + PATIENCE)
    }
}

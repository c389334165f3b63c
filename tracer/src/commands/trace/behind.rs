//! Which audit devices fall behind others while the programs buffer. The core decides; this only notices when it is to see
//! each entry. Pure.

use std::collections::{BTreeMap, HashMap};

use tracer_model::{Device, Event, EventKind, Nanos, Transport};

/// Between two checks, ns.
const INTERVAL: Nanos = 500_000_000;

/// How long a measurement of an audit file may take, ns.
const MEASURING: Nanos = 100_000_000;

/// A file may have grown by the last entries that a socket took so long before, ns.
const RECENT: Nanos = 2 * INTERVAL + INTERVAL / 2;

/// Each false alarm in a row doubles the pause, up to this many times: about a minute.
const MOST_ALARMS: u32 = 7;

/// What devices took, as far as newest entries and sizes of files show.
#[derive(Debug, Default)]
pub(super) struct FallingBehind {
    /// When files are measured next, and when it is checked what that shows.
    due: Nanos,
    ready: Option<Nanos>,
    checked: Nanos,
    /// When each socket device was last seen to take an entry.
    took: BTreeMap<Device, Nanos>,
    sizes: HashMap<String, Option<u64>>,
    /// Files that were measured since the last check, and whether they have changed since the measurement before.
    measured: BTreeMap<Device, bool>,
    /// Since when others took entries and this one did not.
    behind: BTreeMap<Device, Nanos>,
    is_alarmed: bool,
    /// False alarms in a row.
    alarms: u32,
}

impl FallingBehind {
    /// Whether audit files are to be measured; a check follows.
    pub(super) fn begins(&mut self, now: Nanos) -> bool {
        let begins = now >= self.due;
        if begins {
            self.due = now + INTERVAL;
            self.ready = Some(now + MEASURING);
        }
        begins
    }

    /// Whether it is time to check what the measurements showed.
    pub(super) fn is_ready(&self, now: Nanos) -> bool {
        self.ready.is_some_and(|ready| now >= ready)
    }

    /// Takes a measurement of an audit file.
    pub(super) fn measured(&mut self, event: &Event) {
        // Of others their size does not show what is written.
        let EventKind::FileSize {
            path,
            size,
            open: Some(_),
            ..
        } = &event.what
        else {
            return;
        };
        if let Some(before) = self.sizes.insert(path.clone(), *size) {
            let file = Device::configured(Transport::File, path);
            self.measured.insert(file, before != *size);
        }
    }

    /// `took`: newest entries, when they were taken and by which device; `debtors`: devices that get all entries. Returns whether
    /// one of these has taken none for a while in which another took some.
    pub(super) fn check(
        &mut self,
        now: Nanos,
        took: impl Iterator<Item = (Nanos, Device)>,
        debtors: &[Device],
    ) -> bool {
        for (at, device) in took {
            let known = self.took.entry(device).or_default();
            *known = at.max(*known);
        }
        let files = std::mem::take(&mut self.measured);
        let since = now
            .saturating_sub(INTERVAL + INTERVAL / 2)
            .max(self.checked);
        let is_active =
            files.values().any(|grown| *grown) || self.took.values().any(|at| *at > since);
        self.checked = now;
        self.ready = None;
        self.behind.retain(|device, _| debtors.contains(device));
        for device in debtors {
            let last = self.took.get(device);
            let recently = last.map(|at| *at > now.saturating_sub(RECENT));
            match recently.or(files.get(device).copied()) {
                Some(true) => drop(self.behind.remove(device)),
                Some(false) if is_active => drop(self.behind.entry(device.clone()).or_insert(now)),
                _ => {}
            }
        }
        let is_late = |since: &Nanos| now.saturating_sub(*since) >= INTERVAL;
        self.is_alarmed = self.behind.values().any(is_late);
        self.is_alarmed
    }

    /// Devices that were seen to take entries.
    pub(super) fn seen(&self) -> Vec<Device> {
        self.took.keys().cloned().collect()
    }

    /// The core has found a device that fails.
    pub(super) fn confirm(&mut self) {
        self.is_alarmed = false;
    }

    /// Buffering begins again: an alarm that nothing has come of was false.
    pub(super) fn settle(&mut self, now: Nanos) {
        self.alarms = if self.is_alarmed {
            (self.alarms + 1).min(MOST_ALARMS)
        } else {
            0
        };
        self.due = now + (INTERVAL << self.alarms);
        self.is_alarmed = false;
        self.ready = None;
        self.behind.clear();
        self.sizes.clear();
        self.measured.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = INTERVAL;

    fn tcp(address: &str) -> Device {
        Device::configured(Transport::Tcp, address)
    }

    fn file() -> Device {
        Device::configured(Transport::File, "/var/log/audit.log")
    }

    fn size(behind: &mut FallingBehind, at: Nanos, size: u64) {
        behind.measured(&Event {
            at,
            what: EventKind::FileSize {
                path: file().address,
                size: Some(size),
                open: Some(true),
                free: None,
            },
        });
    }

    /// Each second: what the socket and the other socket took, and how large the file is. Returns in which second it alarms.
    fn alarm(debtors: &[Device], seconds: &[(bool, bool, u64)]) -> Option<usize> {
        let mut behind = FallingBehind::default();
        seconds
            .iter()
            .enumerate()
            .position(|(second, (one, other, bytes))| {
                let now = 100 * S + second as Nanos * S;
                let devices = [(*one, "10.0.0.2:1515"), (*other, "10.0.0.3:1515")];
                let took = devices.into_iter().filter(|(took, _)| *took);
                let took: Vec<_> = took.map(|(_, at)| (now - S / 2, tcp(at))).collect();
                size(&mut behind, now, *bytes);
                behind.check(now, took.into_iter(), debtors)
            })
    }

    #[test]
    fn a_device_is_behind_when_others_took_entries_for_a_while() {
        let (first, other) = (tcp("10.0.0.2:1515"), tcp("10.0.0.3:1515"));
        let all = [first, other, file()];
        let healthy = [
            (true, true, 1),
            (true, true, 2),
            (true, true, 3),
            (true, true, 4),
        ];
        assert_eq!(alarm(&all, &healthy), None);
        // One request, and then none.
        let once = [
            (true, true, 1),
            (true, true, 2),
            (false, false, 2),
            (false, false, 2),
            (false, false, 2),
            (false, false, 2),
            (false, false, 2),
        ];
        assert_eq!(alarm(&all, &once), None);
        let full = [
            (true, true, 1),
            (true, true, 2),
            (true, true, 2),
            (true, true, 2),
            (true, true, 2),
        ];
        assert!(alarm(&all, &full).is_some_and(|second| second <= 4));
        let unresolved = [
            (true, true, 1),
            (true, true, 2),
            (true, false, 3),
            (true, false, 4),
            (true, false, 5),
            (true, false, 6),
        ];
        assert!(alarm(&all, &unresolved).is_some_and(|second| second <= 5));
        // Only the file beside it shows that there were entries.
        let alone = [
            (true, true, 1),
            (true, true, 2),
            (false, false, 3),
            (false, false, 4),
            (false, false, 5),
            (false, false, 6),
        ];
        assert!(alarm(&all, &alone).is_some());
        // It gets no entries of its own accord, or was never seen to take any.
        assert_eq!(alarm(&all[..1], &unresolved), None);
        let never = unresolved.map(|(one, _, size)| (one, false, size));
        assert_eq!(alarm(&all, &never), None);
        assert_eq!(alarm(&[], &full), None);
    }

    #[test]
    fn false_alarms_make_checks_rarer() {
        let mut behind = FallingBehind::default();
        let mut pauses = Vec::new();
        for _ in 0..3 {
            behind.is_alarmed = true;
            behind.settle(100 * S);
            pauses.push((behind.due - 100 * S) / S);
        }
        behind.is_alarmed = true;
        behind.confirm();
        behind.settle(100 * S);
        pauses.push((behind.due - 100 * S) / S);
        assert_eq!(pauses, [2, 4, 8, 1]);
        assert!(behind.begins(101 * S) && !behind.begins(101 * S));
        assert!(!behind.is_ready(101 * S) && behind.is_ready(101 * S + MEASURING));
    }
}

//! Outages as a person reads of them: what one device did to requests, from the first that it blocked or failed until it
//! works again. Pure.

use std::{collections::BTreeMap, sync::Arc};

use tracer_format::text::{count, duration, explain};
use tracer_model::{Cause, Device, Finding, Hang, Nanos, Refusal, Stalled};

/// One outage of one device, so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Outage {
    /// When it first blocked or failed a request.
    pub(super) since: Nanos,
    /// When something was last found of it.
    pub(super) latest: Nanos,
    /// Requests that it blocked, and that are over.
    pub(super) blocked: u64,
    /// Sum of these, ns.
    pub(super) blocked_for: Nanos,
    /// Requests that met a device that failed immediately.
    pub(super) failed: u64,
    /// Requests that the server answered with 5xx.
    pub(super) answered_5xx: u64,
    /// The longest.
    pub(super) worst: Option<Arc<Hang>>,
    /// Of what is over, in the order in which they showed.
    causes: Vec<Cause>,
    /// Of what lasted then, as far as they showed: a connection attempt that was answered later was not answered then.
    causes_so_far: Vec<Cause>,
}

impl Outage {
    fn begun(since: Nanos) -> Self {
        Self {
            since,
            latest: since,
            blocked: 0,
            blocked_for: 0,
            failed: 0,
            answered_5xx: 0,
            worst: None,
            causes: Vec::new(),
            causes_so_far: Vec::new(),
        }
    }

    fn stalled(&mut self, stalled: &Stalled) {
        self.since = self.since.min(stalled.start);
        self.latest = self.latest.max(stalled.at);
        add(&mut self.causes_so_far, stalled.cause);
    }

    fn hang(&mut self, hang: &Hang) {
        self.since = self.since.min(hang.start);
        self.seen(hang.end, hang.cause());
        self.blocked += 1;
        self.blocked_for += hang.duration;
        self.answered(hang.request.status);
        let is_worse = |worst: &Arc<Hang>| worst.duration < hang.duration;
        if self.worst.as_ref().is_none_or(is_worse) {
            self.worst = Some(Arc::new(hang.clone()));
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.since = self.since.min(refusal.start);
        self.seen(refusal.start + refusal.duration, refusal.cause);
        self.failed += 1;
        self.answered(refusal.request.status);
    }

    fn seen(&mut self, at: Nanos, cause: Cause) {
        self.latest = self.latest.max(at);
        add(&mut self.causes, cause);
    }

    /// In the order in which they showed.
    pub(super) fn causes(&self) -> &[Cause] {
        if self.causes.is_empty() {
            &self.causes_so_far
        } else {
            &self.causes
        }
    }

    fn answered(&mut self, status: Option<u16>) {
        self.answered_5xx += u64::from(status.is_some_and(|status| status >= 500));
    }

    /// `12 requests blocked (96.20 s in all), failed immediately for 3 requests; 3 were answered with HTTP 5xx`
    pub(super) fn requests(&self) -> String {
        let mut facts = Vec::new();
        if self.blocked > 0 {
            let blocked = count(self.blocked, "request");
            let time = duration(self.blocked_for);
            facts.push(match self.blocked {
                1 => format!("{blocked} blocked ({time})"),
                _ => format!("{blocked} blocked ({time} in all)"),
            });
        }
        if self.failed > 0 {
            facts.push(explain::failed_for(self.failed));
        }
        if facts.is_empty() {
            facts.push("no request blocked or failed".to_owned());
        }
        let answered = match self.answered_5xx {
            0 => String::new(),
            1 => "; 1 was answered with HTTP 5xx".to_owned(),
            several => format!("; {several} were answered with HTTP 5xx"),
        };
        format!("{}{answered}", facts.join(", "))
    }
}

fn add(causes: &mut Vec<Cause>, cause: Cause) {
    if !causes.contains(&cause) {
        causes.push(cause);
    }
}

/// The outages that go on, by device.
#[derive(Clone, Debug, Default)]
pub(super) struct Outages(BTreeMap<Device, Outage>);

impl Outages {
    /// Takes a finding. An outage that ends is returned.
    pub(super) fn add(&mut self, finding: &Finding) -> Option<Outage> {
        match finding {
            Finding::Stalled(s) => self.open(&s.device, s.start).stalled(s),
            Finding::Hang(hang) => self.open(&hang.device, hang.start).hang(hang),
            Finding::Refusal(r) => self.open(&r.device, r.start).refusal(r),
            Finding::Incident(incident) => return self.0.remove(&incident.device),
            _ => {}
        }
        None
    }

    /// The outage of this device that goes on.
    pub(super) fn of(&self, device: &Device) -> Option<&Outage> {
        self.0.get(device)
    }

    fn open(&mut self, device: &Device, since: Nanos) -> &mut Outage {
        let outage = self.0.entry(device.clone());
        outage.or_insert_with(|| Outage::begun(since))
    }
}

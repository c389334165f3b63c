//! A model of the programs' capture mode, which makes their decisions by the same code (`tracer_ebpf::capture`), and
//! the agent's controller between it and the core.

mod kernel;

use test_events::THRESHOLD;
use test_support::simulation::Capture;
use tracer::source::capture::{CaptureController, Observed};
use tracer_core::{BufferedActivity, Core};
use tracer_model::{Device, Event, EventKind, Nanos, WaitReason};

use self::kernel::SimulatedKernel;

/// The controller between the programs and the core, as `commands/trace/live.rs` uses it.
pub(crate) struct SimulatedCapture {
    controller: CaptureController<SimulatedKernel>,
    sampled: Vec<(u64, WaitReason, Option<Device>)>,
}

impl SimulatedCapture {
    /// As it is when the probes have been attached.
    pub(crate) fn new(now: Nanos) -> Self {
        Self::of(false, now)
    }

    /// The same for the server of a replay case of this name: those of Vault are of 1.16 and later, which have sinks.
    pub(crate) fn of_case(name: &str, now: Nanos) -> Self {
        Self::of(name.starts_with("vault-"), now)
    }

    fn of(has_sinks: bool, now: Nanos) -> Self {
        let kernel = SimulatedKernel::new(has_sinks);
        Self {
            controller: CaptureController::new(kernel, true, THRESHOLD, now),
            sampled: Vec::new(),
        }
    }

    /// These are where the audit devices are. `has_tls`: whether the programs recognize TLS in all that is written to them.
    pub(crate) fn with_devices(mut self, devices: Vec<Device>, has_tls: bool) -> Self {
        self.controller.kernel().has_tls = has_tls;
        self.controller.audit(devices);
        self
    }

    pub(crate) fn activity(&self) -> BufferedActivity {
        self.controller.activity().expect("a model")
    }
}

impl Capture for SimulatedCapture {
    fn is_buffering(&self) -> bool {
        self.controller.is_buffering()
    }

    fn begins_sample(&mut self, now: Nanos) -> bool {
        self.controller.begins_sample(now).expect("a model")
    }

    fn pass(&mut self, event: Event, core: &Core) -> Vec<Event> {
        match &event.what {
            EventKind::End | EventKind::SendQueues { .. } | EventKind::ServerEnded => {
                let totals = self.controller.finish(event.at).expect("a model");
                totals.into_iter().chain([event]).collect()
            }
            EventKind::Restarted(_) => {
                *self = Self::new(event.at);
                vec![event]
            }
            EventKind::Tick if self.controller.is_overdue(event.at) => {
                let mut given = self.stop_buffering(event.at);
                given.push(event);
                given
            }
            EventKind::Tick | EventKind::EntryFound { .. } if self.is_buffering() => Vec::new(),
            EventKind::Tick => {
                if self.controller.is_quiet(event.at) && core.may_buffer() {
                    self.controller.prepare_buffering().expect("a model");
                    self.controller.start_buffering(event.at);
                }
                vec![event]
            }
            EventKind::GoroutinesSampled { .. } => self.sampled(event),
            EventKind::Session(_)
            | EventKind::DevicesRead { .. }
            | EventKind::RecordsLost { .. }
            | EventKind::EntryFound { .. } => vec![event],
            _ => self.happens(event),
        }
    }
}

impl SimulatedCapture {
    fn sampled(&mut self, event: Event) -> Vec<Event> {
        let EventKind::GoroutinesSampled { goroutines, .. } = &event.what else {
            return vec![event];
        };
        let sampled = goroutines
            .iter()
            .map(|sample| (sample.goid, sample.place, sample.device.clone()));
        let before = std::mem::replace(&mut self.sampled, sampled.collect());
        let is_stuck = self.sampled.iter().any(|sample| before.contains(sample));
        if !self.is_buffering() {
            return vec![event];
        }
        if !is_stuck {
            return Vec::new();
        }
        self.controller.alarm();
        let mut given = self.stop_buffering(event.at);
        given.push(event);
        given
    }

    fn happens(&mut self, event: Event) -> Vec<Event> {
        // The agent checks often enough.
        if self.controller.is_overdue(event.at) {
            let mut given = self.stop_buffering(event.at);
            given.extend(self.happens(event));
            return given;
        }
        if !self.controller.kernel().sends(&event) {
            return Vec::new();
        }
        let at = event.at;
        self.controller.is_frozen().expect("a model");
        match self.controller.observe(event, at) {
            Observed::Forward(event) => vec![event],
            Observed::Absorbed => Vec::new(),
            Observed::StopBuffering => self.stop_buffering(at),
        }
    }

    fn stop_buffering(&mut self, now: Nanos) -> Vec<Event> {
        let since = self.controller.stop_buffering(now).expect("a model");
        since.map_or_else(Vec::new, |since| {
            let restored = self.controller.restore(Vec::new(), (since, now));
            restored.expect("a model")
        })
    }
}

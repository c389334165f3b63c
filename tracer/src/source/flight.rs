//! What a recording begins with that is made in the middle of a trace: who is traced, which audit devices it has, and where
//! they are. What follows is what the kernel side kept back ([`super::capture`]), and then every event.

use tracer_model::{Device, Event, EventKind, Nanos};

/// The events that later ones cannot be understood without. Bounded: each replaces the one before.
#[derive(Debug, Default)]
pub struct Prologue {
    session: Option<Event>,
    devices: Option<Event>,
}

impl Prologue {
    /// Takes any event of the trace.
    pub fn observe(&mut self, event: &Event) {
        match &event.what {
            EventKind::Session(session) | EventKind::Restarted(session) => {
                self.session = Some(Event {
                    at: event.at,
                    what: EventKind::Session(session.clone()),
                });
                self.devices = None;
            }
            EventKind::DevicesRead { .. } => self.devices = Some(event.clone()),
            _ => {}
        }
    }

    /// The first events of a recording that begins now. `audit`: where audit devices are, as far as is known.
    pub fn events(&self, at: Nanos, audit: Vec<Device>) -> Vec<Event> {
        let declared = (!audit.is_empty()).then_some(Event {
            at,
            what: EventKind::DevicesDeclared { devices: audit },
        });
        let known = [self.session.clone(), self.devices.clone(), declared];
        known.into_iter().flatten().collect()
    }
}

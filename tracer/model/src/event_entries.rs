//! The audit entries in an event: all that names a request.

use crate::{
    entry::EntryHead,
    event::{Event, EventKind},
};

impl Event {
    /// A copy without the paths of requests, for a line that `--paths` does not apply to.
    #[must_use]
    pub fn without_paths(&self) -> Self {
        let mut copy = self.clone();
        copy.each_entry(|entry| entry.path = None);
        copy
    }

    /// The event without what its entry says, if the server only tries a device by that.
    #[must_use]
    pub fn without_test(&self) -> Option<Self> {
        let (EventKind::Send { entry, .. } | EventKind::BufferedWrite { entry, .. }) = &self.what
        else {
            return None;
        };
        entry.as_ref().filter(|entry| entry.is_test())?;
        let mut event = self.clone();
        event.each_entry(|entry| *entry = entry.nameless());
        Some(event)
    }

    /// Passes each audit entry that it has, which is all that names a request.
    pub fn each_entry(&mut self, mut change: impl FnMut(&mut EntryHead)) {
        match &mut self.what {
            EventKind::Send { entry, .. }
            | EventKind::BufferedWrite { entry, .. }
            | EventKind::EntryFound { entry, .. } => entry.iter_mut().for_each(change),
            EventKind::GoroutinesSampled {
                goroutines,
                handlers,
            } => {
                let goroutines = goroutines.iter_mut().filter_map(|of| of.entry.as_mut());
                goroutines.for_each(&mut change);
                let handlers = handlers.iter_mut().flatten();
                let entries = handlers.filter_map(|of| of.entry.as_mut());
                entries.for_each(change);
            }
            EventKind::Session(_)
            | EventKind::Restarted(_)
            | EventKind::Receive { .. }
            | EventKind::State { .. }
            | EventKind::Retransmit { .. }
            | EventKind::WindowProbe { .. }
            | EventKind::Rejected { .. }
            | EventKind::Reset { .. }
            | EventKind::Drop { .. }
            | EventKind::SocketError { .. }
            | EventKind::ConnectFailed { .. }
            | EventKind::DevicesFailed { .. }
            | EventKind::FileSize { .. }
            | EventKind::ForwardedSampled { .. }
            | EventKind::DevicesRead { .. }
            | EventKind::DevicesDeclared { .. }
            | EventKind::RecordsLost { .. }
            | EventKind::BufferingEnded(_)
            | EventKind::SendQueues { .. }
            | EventKind::ServerEnded
            | EventKind::Tick
            | EventKind::End => {}
        }
    }
}

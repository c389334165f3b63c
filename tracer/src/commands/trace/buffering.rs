//! When the programs buffer in the kernel, and what a live trace does where they begin or cease to.

use anyhow::Result;

use super::{clock, following::Following, live::Live};
use tracer_model::EventKind;

impl Live {
    /// The programs buffer from now on, if nothing is under way.
    pub(super) fn start_buffering(&mut self, server: &mut Following) -> Result<()> {
        let is_quiet = server.open_queries == 0 && server.capture.is_quiet(clock::monotonic());
        if !is_quiet || !self.core.may_buffer() {
            return Ok(());
        }
        server.capture.audit(self.core.audit_addresses());
        server.capture.prepare_buffering()?;
        self.poll(server)?;
        let now = clock::monotonic();
        let is_well = server.capture.is_quiet(now) && self.core.may_buffer();
        server.capture.start_buffering(now);
        server.behind.settle(now);
        self.recorders.buffering(now);
        if !is_well {
            // What those events began is to be seen.
            self.stop_buffering(server)?;
        }
        Ok(())
    }

    /// The programs stream from now on; the core gets what it needs of their buffers.
    pub(super) fn stop_buffering(&mut self, server: &mut Following) -> Result<()> {
        // Before the programs are told: what they stream is later.
        let now = clock::monotonic();
        let Some(since) = server.capture.stop_buffering(now)? else {
            return Ok(());
        };
        let streamed = server.records(usize::MAX)?;
        self.recorders
            .streaming(now, || self.core.audit_addresses());
        for mut event in server.capture.restore(streamed, (since, now))? {
            if let EventKind::BufferingEnded(totals) = &mut event.what {
                totals.took = server.behind.seen();
            }
            self.feed(event, server);
        }
        Ok(())
    }
}

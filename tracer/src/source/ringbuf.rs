//! The live source: records out of the kernel's ring buffer.

use std::io;

use aya::maps::{MapData, RingBuf};
use log::warn;
use tokio::io::unix::AsyncFd;

use super::readable::readable;
use crate::decode::{Kernel, decode};
use tracer_model::Event;

/// Decoded records of the running trace.
pub(crate) struct Events {
    ring: AsyncFd<RingBuf<MapData>>,
    kernel: Kernel,
    malformed: u64,
}

impl Events {
    /// Takes over the ring buffer. Needs a tokio runtime.
    pub(crate) fn new(ring: RingBuf<MapData>, kernel: Kernel) -> io::Result<Self> {
        Ok(Self {
            ring: readable(ring)?,
            kernel,
            malformed: 0,
        })
    }

    /// Waits until the programs wake the agent, which they do for stalls and failures only.
    pub(crate) async fn wake_up(&self) -> io::Result<()> {
        self.ring.readable().await?.clear_ready();
        Ok(())
    }
}

/// The records in the ring, oldest first. Ends when the ring is empty.
impl Iterator for Events {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            let record = self.ring.get_mut().next()?;
            match decode(&record, &self.kernel) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(error) => {
                    self.malformed += 1;
                    if self.malformed == 1 {
                        warn!("dropped an invalid record: {error}");
                    }
                }
            }
        }
    }
}

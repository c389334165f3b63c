//! The live source: records out of the kernel's ring buffer.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, RingBuf};
use log::warn;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use tokio::io::unix::AsyncFd;

use super::readable::readable;
use crate::decode::{Kernel, decode};
use tracer_model::Event;

/// The ring buffer is no longer mapped when it has been empty for so many reads in a row. It is mapped twice, one behind the other
/// (`kernel/bpf/ringbuf.c`), and all of that counts as memory of the agent: a third of what it has.
const EMPTY_READS: u32 = 8;

/// Decoded records of the running trace.
pub(crate) struct Events {
    map: AsyncFd<OwnedFd>,
    /// The same map, while it is mapped.
    ring: Option<RingBuf<MapData>>,
    /// How many reads in a row found nothing.
    empty_reads: u32,
    kernel: Kernel,
    malformed: u64,
}

impl Events {
    /// Takes over the map of the ring buffer. Needs a tokio runtime.
    pub(crate) fn new(map: OwnedFd, kernel: Kernel) -> io::Result<Self> {
        Ok(Self {
            map: readable(map)?,
            ring: None,
            empty_reads: 0,
            kernel,
            malformed: 0,
        })
    }

    /// Waits until the programs wake the agent, which they do for stalls and failures only.
    pub(crate) async fn wake_up(&self) -> io::Result<()> {
        self.map.readable().await?.clear_ready();
        Ok(())
    }

    /// The oldest records in the ring, at most so many: none if it is empty.
    pub(crate) fn read(&mut self, most: usize) -> Result<Vec<Event>> {
        let ring = match &mut self.ring {
            Some(ring) => ring,
            None if !has_records(self.map.get_ref())? => return Ok(Vec::new()),
            none => none.insert(map(self.map.get_ref())?),
        };
        let mut events = Vec::new();
        while events.len() < most
            && let Some(record) = ring.next()
        {
            match decode(&record, &self.kernel) {
                Ok(event) => events.extend(event),
                Err(error) => {
                    self.malformed += 1;
                    if self.malformed == 1 {
                        warn!("dropped an invalid record: {error}");
                    }
                }
            }
        }
        self.empty_reads = if events.is_empty() {
            self.empty_reads + 1
        } else {
            0
        };
        if self.empty_reads >= EMPTY_READS {
            (self.ring, self.empty_reads) = (None, 0);
        }
        Ok(events)
    }
}

/// Whether there is something to read, without mapping it (`ringbuf_map_poll_kern`).
fn has_records(map: &OwnedFd) -> Result<bool> {
    let mut polled = [PollFd::new(map.as_fd(), PollFlags::POLLIN)];
    loop {
        match poll(&mut polled, PollTimeout::ZERO) {
            // A signal came: `poll(2)` says so even where it does not wait.
            Err(Errno::EINTR) => {}
            ready => return Ok(ready.context("cannot poll the ring buffer")? > 0),
        }
    }
}

fn map(map: &OwnedFd) -> Result<RingBuf<MapData>> {
    let again = map.try_clone().context("cannot map the ring buffer")?;
    let mapped = MapData::from_fd(again).and_then(|map| RingBuf::try_from(Map::RingBuf(map)));
    mapped.context("cannot map the ring buffer")
}

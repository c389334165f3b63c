//! One request, and what it really waited for.

use tracer_model::{EntryKind, Nanos, WaitReason};

/// One request: what it does, and what became of it.
#[derive(Debug)]
pub struct Request {
    /// In the order in which requests are planned.
    pub number: usize,
    /// The number of its client.
    pub client: usize,
    /// When its client's bytes were read.
    pub start: Nanos,
    /// When it was answered.
    pub end: Option<Nanos>,
    /// When its entries were made: one before the work, one before the answer.
    pub entries: Vec<Nanos>,
    /// What it waited for, in which device, from when to when.
    pub waits: Vec<Wait>,
    /// When it was in which device.
    pub held: Vec<(usize, Nanos, Nanos)>,
    /// Devices that this entry is still to be written to.
    pub(super) left: Vec<usize>,
    pub(super) attempts: u32,
    pub(super) socket: u64,
    /// What it waits for now, and since when.
    pub place: Option<(WaitReason, usize, Nanos)>,
    pub(super) entered: Nanos,
}

/// One wait, as it really was.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// For what.
    pub place: WaitReason,
    /// The number of the device.
    pub device: usize,
    /// ns.
    pub duration: Nanos,
}

impl Request {
    /// How long a device blocked it.
    pub fn blocked(&self, device: usize) -> Nanos {
        self.waits_for(device).map(|wait| wait.duration).sum()
    }

    /// Its waits for a device.
    pub fn waits_for(&self, device: usize) -> impl Iterator<Item = &Wait> {
        self.waits.iter().filter(move |wait| wait.device == device)
    }

    /// The kind of its last entry.
    pub fn kind(&self) -> EntryKind {
        if self.entries.len() < 2 {
            EntryKind::Request
        } else {
            EntryKind::Response
        }
    }
}

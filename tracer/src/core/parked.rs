//! Where a goroutine waits while it makes no system call: for the device's lock, or for a name. Only
//! its stack tells ([`crate::target::goroutines`]), so it is looked at now and then while a request
//! is silent. The looks say what a silence was; its beginning and end are the goroutine's own acts.

use serde::{Deserialize, Serialize};

use super::{
    evidence::Evidence,
    operation::{Op, Operation, Outcome, Phase},
};
use crate::event::{Actor, Device, Nanos};

/// Looks kept per silence; at two a second, minutes of them.
const LOOKS: usize = 512;

/// What a parked goroutine of the server waits for, in the code of an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The device's lock, which another request holds.
    Lock,
    /// The look-up of the device's name.
    Resolve,
    /// A connection: its socket tells more.
    Connect,
    /// Room for what it writes: in a send buffer, whose socket tells more; in a pipe; on a disk.
    Write,
    /// That a file opens: a FIFO's reader, a disk.
    Open,
    /// The answer of an HTTP server that has got the entry.
    Answer,
    /// Something else.
    Other,
}

/// One goroutine that works on a client's request, or on its entry, as found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The goroutine that waits.
    pub goid: u64,
    /// Who started it, who started that one, and so on, as far as known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<u64>,
    /// The goroutine that works on the request, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<u64>,
    /// What is waited for.
    pub place: Place,
    /// For which of the request's entries, where the code tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// The device as it is configured, where that is certain: an address, or a name with a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
    /// Functions on its stack that tell what it does, innermost first: `net.(*netFD).connect`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<String>,
}

impl Parked {
    /// The goroutine that works on the request.
    pub fn works_for(&self) -> u64 {
        self.request.unwrap_or(self.goid)
    }
}

/// What was found of one request at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// What it waits for.
    pub op: Op,
    /// In which device.
    pub device: Device,
    /// For which entry.
    pub phase: Option<Phase>,
}

/// What was found of one request during its present silence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Silence {
    looks: Vec<(Nanos, Look)>,
}

impl Silence {
    /// Remembers a look.
    pub fn look(&mut self, at: Nanos, look: Look) {
        if self.looks.len() < LOOKS {
            self.looks.push((at, look));
        }
    }

    /// The silence ended; what it was, as operations. When one wait went over into another was
    /// between two looks: said to be in the middle, with how far it may be off.
    pub fn end(
        &mut self,
        by: Actor,
        (start, end): (Nanos, Nanos),
        outcome: Option<Outcome>,
    ) -> Vec<Operation> {
        let mut operations: Vec<Operation> = Vec::new();
        let mut last_look = start;
        for (at, look) in std::mem::take(&mut self.looks) {
            match operations.last_mut() {
                Some(last) if look.is_of(last) => {}
                Some(last) => {
                    let uncertainty = (at - last_look) / 2;
                    last.end = at - uncertainty;
                    last.uncertainty = last.uncertainty.max(uncertainty);
                    let begins = last.end;
                    operations.push(Operation {
                        uncertainty,
                        ..waited(by, &look, (begins, end), outcome)
                    });
                }
                None => operations.push(waited(by, &look, (start, end), outcome)),
            }
            last_look = at;
        }
        operations
    }
}

impl Look {
    fn is_of(&self, operation: &Operation) -> bool {
        self.op == operation.op && self.device == operation.device && self.phase == operation.phase
    }
}

fn waited(
    by: Actor,
    look: &Look,
    (start, end): (Nanos, Nanos),
    outcome: Option<Outcome>,
) -> Operation {
    let outcome = match (outcome, look.op) {
        // Nobody resolves a name and then does not use it.
        (Some(_), Op::Resolve) => Some(Outcome::Timeout),
        (outcome, _) => outcome,
    };
    Operation {
        socket: None,
        device: look.device.clone(),
        op: look.op,
        by,
        start,
        end,
        outcome,
        errno: None,
        evidence: Evidence::default(),
        entry: None,
        phase: look.phase,
        uncertainty: 0,
        holder: None,
    }
}

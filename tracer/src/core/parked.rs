//! Where a goroutine waits while it makes no system call: for the device's lock, or for a name. Only
//! its stack tells ([`crate::target::stacks`]), so it is looked at now and then while a request
//! is silent. The looks say what a silence was; its beginning and end are the goroutine's own acts.

use serde::{Deserialize, Serialize};

use super::{
    evidence::Evidence,
    operation::{Op, Operation, Outcome},
};
use crate::event::{Actor, Device, Nanos};

/// Looks kept per silence; at two a second, minutes of them.
const LOOKS: usize = 512;

/// What a parked goroutine of the server waits for, in the code of an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The device's lock, which another request holds.
    Lock,
    /// The look-up of the device's name.
    Resolve,
    /// A connection: its socket tells more.
    Connect,
    /// Room in the send buffer: its socket tells more.
    Write,
    /// Something else.
    Other,
}

/// One goroutine, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Which.
    pub goid: u64,
    /// Where.
    pub place: Place,
}

/// What was found of one request during its present silence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Silence {
    looks: Vec<Look>,
}

#[derive(Clone, Debug, PartialEq)]
struct Look {
    at: Nanos,
    op: Op,
    device: Device,
}

impl Silence {
    /// Remembers a look.
    pub fn look(&mut self, at: Nanos, op: Op, device: Device) {
        if self.looks.len() < LOOKS {
            self.looks.push(Look { at, op, device });
        }
    }

    /// The silence ended; what it was, as operations. Between two looks that differ, the later one
    /// begins where it was made.
    pub fn end(
        &mut self,
        by: Actor,
        (start, end): (Nanos, Nanos),
        outcome: Option<Outcome>,
    ) -> Vec<Operation> {
        let mut operations: Vec<Operation> = Vec::new();
        for look in std::mem::take(&mut self.looks) {
            match operations.last_mut() {
                Some(last) if last.op == look.op && last.device == look.device => continue,
                Some(last) => last.end = look.at,
                None => {}
            }
            let begins = if operations.is_empty() {
                start
            } else {
                look.at
            };
            operations.push(waited(by, &look, (begins, end), outcome));
        }
        operations
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
        holder: None,
    }
}

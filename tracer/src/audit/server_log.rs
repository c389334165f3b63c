//! Errors in the server's own log that say which audit device did not take an entry, and why. Of a line nothing is kept but the
//! device, the class of its error and which entry it was: the rest may name a client's path.
//!
//! To Vault 1.14, and in OpenBao, a line is of one device (`vault/audit_broker.go`). Since 1.15 it has the errors of all devices
//! that failed (`vault/audit/broker.go`), and is the core's where none took the entry (`vault/request_handling.go`).

use std::borrow::Cow;

use tracer_model::{Device, DeviceFailure, Phase};

use self::{error::Attempt, fields::fields};

mod error;
mod fields;
mod lookup;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogReport {
    /// Which entry was not taken.
    pub phase: Option<Phase>,
    /// By which devices.
    pub failures: Vec<DeviceFailure>,
}

/// What messages about an entry begin with, behind the name of the logger.
const MESSAGES: [(&str, &[&str]); 2] = [
    (
        "audit",
        &[
            "backend failed to log ",
            "log request underlying pipeline error",
            "log response underlying pipeline error",
        ],
    ),
    ("core", &["failed to audit "]),
];

/// What the errors of one device begin with, where a line has those of several.
const OF_A_DEVICE: [&str; 4] = [
    "error writing to socket",
    "error writing file for sink",
    "error writing to syslog",
    "Sink).Process:",
];

/// `None` if the line is about no entry, or says of no device why it failed.
pub fn parse(line: &[u8]) -> Option<LogReport> {
    let text = String::from_utf8_lossy(line);
    let line = fields(&text)?;
    let (_, messages) = MESSAGES.iter().find(|(logger, _)| *logger == line.logger)?;
    messages
        .iter()
        .find(|known| line.message.starts_with(**known))?;
    let words = || line.message.split([' ', ':']);
    let phase = words().find_map(|word| match word {
        "request" => Some(Phase::Request),
        "response" => Some(Phase::Response),
        _ => None,
    });
    let path = line.get("backend").map(Cow::into_owned);
    let error = line.get("error")?;
    let failures = devices(&error)
        .filter_map(|attempts| failure(&attempts))
        .map(|failure| DeviceFailure {
            path: path.clone(),
            ..failure
        })
        .collect::<Vec<_>>();
    (!failures.is_empty()).then_some(LogReport { phase, failures })
}

/// The errors of each device, one a line.
fn devices(error: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut devices: Vec<Vec<&str>> = vec![Vec::new()];
    for line in error.lines().filter(|line| !line.trim().is_empty()) {
        let begins = OF_A_DEVICE.iter().any(|start| line.contains(start));
        match devices.last_mut() {
            Some(last) if !begins => last.push(line),
            _ => devices.push(vec![line]),
        }
    }
    devices.into_iter()
}

/// From all attempts of one device: why, from the last; where it leads, from any that says so.
fn failure(lines: &[&str]) -> Option<DeviceFailure> {
    let attempts: Vec<_> = lines
        .iter()
        .filter_map(|line| Attempt::parse(line))
        .collect();
    let last = attempts.last()?;
    let addresses = attempts
        .iter()
        .rev()
        .filter_map(|attempt| attempt.device.as_ref());
    let is_full = |device: &&Device| device.is_address() && !device.address.is_empty();
    let device = addresses.clone().find(is_full).or(addresses.clone().next());
    Some(DeviceFailure {
        path: None,
        device: device.cloned(),
        lookup: last.lookup.clone(),
        reason: last.reason,
        dial: last.dial,
        free: None,
    })
}

#[cfg(test)]
mod tests;

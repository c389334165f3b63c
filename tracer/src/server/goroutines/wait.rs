//! What a goroutine waits for in the code of an audit device, from the functions on its stack.

use super::{
    device_kind::DeviceKind,
    functions::KnownFunction,
    roles::{DeviceCode, EntryPoint, FunctionRole},
};
use tracer_model::{Phase, WaitReason};

#[cfg(test)]
mod tests;

/// Names of functions reported of one stack.
const NAMES: usize = 8;

/// A wait in the code of an audit device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeviceWait {
    pub(super) reason: WaitReason,
    pub(super) code: DeviceCode,
    pub(super) phase: Option<Phase>,
    /// Frames of the device: the innermost, and that of the function called from outside.
    pub(super) frames: (usize, usize),
}

/// `functions`: innermost first; `None` for those that show nothing.
pub(super) fn find(functions: &[Option<&KnownFunction>]) -> Option<DeviceWait> {
    let role = |i: usize| functions[i].and_then(|known| known.role);
    let device = |i: usize| match role(i) {
        Some(FunctionRole::Device(code, entry)) => Some((i, code, entry)),
        _ => None,
    };
    let (inner, ..) = (0..functions.len()).find_map(device)?;
    let mut outer = (inner..functions.len()).filter_map(device);
    let (outer, code, entry) = outer.find_map(|(i, code, entry)| Some((i, code, entry?)))?;
    let calls: Vec<_> = (0..inner).filter_map(role).collect();
    let locks = inner > 0 && role(inner - 1) == Some(FunctionRole::Lock);
    // Beyond the audit lock the broker waits for its devices.
    (code.kind != DeviceKind::Broker || locks).then_some(())?;
    Some(DeviceWait {
        reason: reason(&calls),
        code,
        phase: phase(entry),
        frames: (inner, outer),
    })
}

/// For which entry a request's own goroutine is inside the audit broker.
pub(super) fn in_broker(functions: &[Option<&KnownFunction>]) -> Option<Phase> {
    let entry = |known: &&KnownFunction| known.role.and_then(FunctionRole::broker_entry);
    functions.iter().flatten().find_map(entry).and_then(phase)
}

/// Whether it has forwarded its request to the active node of the cluster.
pub(super) fn is_forwarded(functions: &[Option<&KnownFunction>]) -> bool {
    let mut known = functions.iter().flatten();
    known.any(|known| known.role == Some(FunctionRole::Forward))
}

/// `calls`: below the device's own code. The outermost says what is done: a dial may ask a name server, which
/// connects and writes. A wait outside of input and output is one for the device itself, by whatever primitive: mutexes
/// until 2026, since then a pool of permits.
fn reason(calls: &[FunctionRole]) -> WaitReason {
    let does = calls.iter().rev().find_map(|role| match role {
        FunctionRole::Resolve => Some(WaitReason::Resolve),
        FunctionRole::Connect => Some(WaitReason::Connect),
        FunctionRole::Open => Some(WaitReason::Open),
        FunctionRole::Write => Some(WaitReason::Write),
        FunctionRole::Answer => Some(WaitReason::Answer),
        FunctionRole::Format => Some(WaitReason::Other),
        _ => None,
    });
    let has = |role| calls.contains(&role);
    does.unwrap_or_else(|| {
        match (
            has(FunctionRole::Lock) || has(FunctionRole::Park),
            has(FunctionRole::HttpClient),
        ) {
            (true, true) => WaitReason::Answer,
            (true, false) => WaitReason::Lock,
            (false, _) => WaitReason::Other,
        }
    })
}

fn phase(entry: EntryPoint) -> Option<Phase> {
    match entry {
        EntryPoint::Request => Some(Phase::Request),
        EntryPoint::Response => Some(Phase::Response),
        EntryPoint::Other => None,
    }
}

/// The names of those that show something, innermost first. Where one waits, several functions of a
/// library do in a row: the innermost is named.
pub(super) fn names(functions: &[Option<&KnownFunction>]) -> Vec<String> {
    let is_named = |known: &&&KnownFunction| {
        !matches!(
            known.role,
            Some(FunctionRole::Park | FunctionRole::HttpClient)
        )
    };
    let mut names = Vec::new();
    let mut last = None;
    for known in functions.iter().flatten().filter(is_named) {
        let again = known.role.is_some_and(|role| last == Some(role));
        let is_device = matches!(known.role, None | Some(FunctionRole::Device(..)));
        if is_device || !again {
            names.push(known.name.to_string());
        }
        last = known.role;
    }
    names.truncate(NAMES);
    names
}

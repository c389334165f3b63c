//! What the functions on a stack say about waiting for an audit device.

use super::{
    functions::Known,
    method::{DeviceCode, Entry, Function, Kind, Part},
};
use tracer_model::{Phase, WaitReason};

/// Names of functions told of one stack.
const NAMES: usize = 8;

/// That an audit device is on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: WaitReason,
    pub(super) code: DeviceCode,
    pub(super) phase: Option<Phase>,
    /// Which frames are the device's: the innermost, and that of the function called from elsewhere.
    pub(super) frames: (usize, usize),
}

/// `functions`: innermost first; `None` for those that tell nothing.
pub(super) fn find(functions: &[Option<&Known>]) -> Option<Found> {
    let role = |i: usize| functions[i].and_then(|known| known.role);
    let device = |i: usize| match role(i) {
        Some(Function::Device(code, part)) => Some((i, code, part)),
        _ => None,
    };
    let (inner, _, part) = (0..functions.len()).find_map(device)?;
    let mut outer = (inner..functions.len()).filter_map(device);
    let (entry, code, what) = outer.find_map(|(i, code, part)| Some((i, code, part.entry?)))?;
    let calls: Vec<_> = (0..inner).map(role).collect();
    let at = place(&calls, part);
    // Beyond its lock, devices wait, and not their broker.
    (code.kind != Kind::Broker || at == WaitReason::Lock).then_some(())?;
    Some(Found {
        at,
        code,
        phase: phase(what),
        frames: (inner, entry),
    })
}

/// For which entry a request's own goroutine is inside the audit broker.
pub(super) fn handler(functions: &[Option<&Known>]) -> Option<Phase> {
    let role = |known: &&Known| known.role.and_then(Function::broker);
    functions.iter().flatten().find_map(role).and_then(phase)
}

/// What the device's code called says most; whom that called in turn says how.
fn place(calls: &[Option<Function>], by: Part) -> WaitReason {
    let syslog = |call: &&Option<Function>| **call == Some(Function::Syslog);
    let for_device = calls.iter().rev().take_while(syslog).count();
    let inner = &calls[..calls.len() - for_device];
    // Other methods take locks too, but not the device's: `Backend.Salt`.
    if (by.locks || for_device > 0) && inner.last() == Some(&Some(Function::Lock)) {
        return WaitReason::Lock;
    }
    let telling = calls.iter().rev().find_map(|call| match call {
        Some(Function::Resolve) => Some(WaitReason::Resolve),
        Some(Function::Connect) => Some(WaitReason::Connect),
        Some(Function::Open) => Some(WaitReason::Open),
        Some(Function::Write) => Some(WaitReason::Write),
        Some(Function::Answer) => Some(WaitReason::Answer),
        _ => None,
    });
    telling.unwrap_or(WaitReason::Other)
}

fn phase(entry: Entry) -> Option<Phase> {
    match entry {
        Entry::Request => Some(Phase::Request),
        Entry::Response => Some(Phase::Response),
        Entry::Other => None,
    }
}

/// The names of those that tell something, innermost first. Where one waits, several functions of a
/// library do in a row: the innermost says it.
pub(super) fn names(functions: &[Option<&Known>]) -> Vec<String> {
    let mut names = Vec::new();
    let mut last = None;
    for known in functions.iter().flatten() {
        let again = known.role.is_some_and(|role| last == Some(role));
        let is_device = matches!(known.role, None | Some(Function::Device(..)));
        if is_device || !again {
            names.push(known.name.to_string());
        }
        last = known.role;
    }
    names.truncate(NAMES);
    names
}

#[cfg(test)]
mod tests {
    use super::{super::method::Style, *};

    const fn device(kind: Kind, entry: Option<Entry>, locks: bool) -> Function {
        let style = Style::Backend;
        Function::Device(DeviceCode { kind, style }, Part { entry, locks })
    }

    const REQUEST: Option<Function> = Some(device(Kind::Socket, Some(Entry::Request), true));
    const INNER: Option<Function> = Some(device(Kind::Socket, None, false));
    const LOCK: Option<Function> = Some(Function::Lock);
    const WRITE: Option<Function> = Some(Function::Write);
    const CONNECT: Option<Function> = Some(Function::Connect);
    const SYSLOG: Option<Function> = Some(Function::Syslog);

    fn known(roles: &[Option<Function>]) -> Vec<Option<Known>> {
        let known = |(i, role): (usize, &Option<Function>)| {
            let name = i.to_string().into();
            role.map(|role| Known {
                role: Some(role),
                name,
            })
        };
        roles.iter().enumerate().map(known).collect()
    }

    fn found(roles: &[Option<Function>]) -> Option<Found> {
        let known = known(roles);
        let functions: Vec<_> = known.iter().map(Option::as_ref).collect();
        find(&functions)
    }

    fn at(roles: &[Option<Function>]) -> Option<WaitReason> {
        found(roles).map(|found| found.at)
    }

    #[test]
    fn waits_for_the_lock() {
        let stack = [None, LOCK, REQUEST, None];
        let found = found(&stack).expect("a device");
        assert_eq!((found.at, found.frames), (WaitReason::Lock, (2, 2)));
        assert_eq!(found.phase, Some(Phase::Request));
    }

    #[test]
    fn another_lock_is_not_the_devices() {
        assert_eq!(at(&[LOCK, INNER, None, REQUEST]), Some(WaitReason::Other)); // of the salt
        assert_eq!(at(&[LOCK, None, REQUEST]), Some(WaitReason::Other)); // of the formatter
        let http = Some(device(Kind::Http, Some(Entry::Request), false));
        assert_eq!(at(&[LOCK, None, http]), Some(WaitReason::Other));
    }

    #[test]
    fn a_files_lock_is_taken_further_in() {
        let request = Some(device(Kind::File, Some(Entry::Request), false));
        let log = Some(device(Kind::File, None, true));
        assert_eq!(at(&[LOCK, log, request]), Some(WaitReason::Lock));
        assert_eq!(at(&[LOCK, LOCK, log, request]), Some(WaitReason::Lock));
        assert_eq!(
            found(&[WRITE, log, request]).map(|f| f.frames),
            Some((1, 2))
        );
    }

    #[test]
    fn syslogs_lock_is_taken_by_what_writes_to_it() {
        let request = Some(device(Kind::Syslog, Some(Entry::Request), false));
        assert_eq!(at(&[LOCK, SYSLOG, SYSLOG, request]), Some(WaitReason::Lock));
        let writes = [LOCK, WRITE, None, SYSLOG, SYSLOG, request];
        assert_eq!(at(&writes), Some(WaitReason::Write));
        assert_eq!(at(&[LOCK, request]), Some(WaitReason::Other));
    }

    #[test]
    fn the_outer_call_says_what_is_done() {
        let under = |calls: &[Function]| {
            let calls = calls.iter().copied().map(Some).chain([INNER, REQUEST]);
            at(&calls.collect::<Vec<_>>())
        };
        assert_eq!(under(&[Function::Write]), Some(WaitReason::Write));
        assert_eq!(under(&[Function::Connect]), Some(WaitReason::Connect));
        assert_eq!(under(&[Function::Resolve]), Some(WaitReason::Resolve));
        assert_eq!(under(&[Function::Open]), Some(WaitReason::Open));
        assert_eq!(under(&[Function::Answer]), Some(WaitReason::Answer));
        assert_eq!(under(&[]), Some(WaitReason::Other));
        // Asking a name server.
        let asking = [Function::Write, Function::Connect, Function::Resolve];
        assert_eq!(under(&asking), Some(WaitReason::Resolve));
        // Reading what has been interrupted, inside the dial.
        let inside = [Function::Lock, Function::Connect];
        assert_eq!(under(&inside), Some(WaitReason::Connect));
    }

    #[test]
    fn other_goroutines_are_none_of_ours() {
        assert_eq!(at(&[None, LOCK, None]), None);
        assert_eq!(at(&[]), None);
        // Cut off before the function that was called from elsewhere: it cannot be told which.
        assert_eq!(at(&[WRITE, INNER]), None);
    }

    #[test]
    fn names_the_innermost_of_a_library_and_all_of_a_device() {
        let named = |roles: &[Option<Function>]| {
            let known = known(roles);
            names(&known.iter().map(Option::as_ref).collect::<Vec<_>>()).join(" ")
        };
        let stack = [None, CONNECT, None, CONNECT, INNER, INNER, REQUEST];
        assert_eq!(named(&stack), "1 4 5 6");
        assert_eq!(named(&[LOCK, WRITE, LOCK, REQUEST]), "0 1 2 3");
        assert_eq!(named(&[INNER; 20]).split(' ').count(), NAMES);
    }
}

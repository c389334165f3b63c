//! What the functions on a stack say about waiting for an audit device.

use super::functions::{DeviceCode, Entry, Function};
use crate::core::{operation::Phase, parked::Place};

/// That an audit device is on the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: Place,
    pub(super) code: DeviceCode,
    pub(super) phase: Option<Phase>,
    /// Which frame is that of the function that took, or is to take, the device's lock.
    pub(super) entry: usize,
}

/// `functions`: innermost first; `None` for those that tell nothing.
pub(super) fn find(functions: &[Option<Function>]) -> Option<Found> {
    let is_device =
        |f: &Option<Function>| matches!(f, Some(Function::Entry(..) | Function::Inner(_)));
    let inner = functions.iter().position(is_device)?;
    let (entry, code, what) = (inner..functions.len()).find_map(|i| match functions[i] {
        Some(Function::Entry(code, what)) => Some((i, code, what)),
        _ => None,
    })?;
    Some(Found {
        at: place(&functions[..inner], inner == entry),
        code,
        phase: phase(what),
        entry,
    })
}

/// What the device's code called says most; whom that called in turn says how.
fn place(calls: &[Option<Function>], from_entry: bool) -> Place {
    // Other methods take locks too, but not the device's: `Backend.Salt`.
    if from_entry && calls.last() == Some(&Some(Function::Lock)) {
        return Place::Lock;
    }
    let telling = calls.iter().rev().find_map(|call| match call {
        Some(Function::Resolve) => Some(Place::Resolve),
        Some(Function::Connect) => Some(Place::Connect),
        Some(Function::Write) => Some(Place::Write),
        _ => None,
    });
    telling.unwrap_or(Place::Other)
}

fn phase(entry: Entry) -> Option<Phase> {
    match entry {
        Entry::Request => Some(Phase::Request),
        Entry::Response => Some(Phase::Response),
        Entry::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: Function = Function::Entry(DeviceCode::Backend, Entry::Request);
    const INNER: Function = Function::Inner(DeviceCode::Backend);

    fn at(functions: &[Option<Function>]) -> Option<(Place, usize)> {
        find(functions).map(|found| (found.at, found.entry))
    }

    #[test]
    fn waits_for_the_lock() {
        let stack = [None, Some(Function::Lock), Some(REQUEST), None];
        assert_eq!(at(&stack), Some((Place::Lock, 2)));
        assert_eq!(find(&stack).and_then(|f| f.phase), Some(Phase::Request));
    }

    #[test]
    fn another_lock_is_not_the_devices() {
        let of_salt = [Some(Function::Lock), Some(INNER), None, Some(REQUEST)];
        assert_eq!(at(&of_salt), Some((Place::Other, 3)));
        let of_formatter = [Some(Function::Lock), None, Some(REQUEST)];
        assert_eq!(at(&of_formatter), Some((Place::Other, 2)));
    }

    #[test]
    fn the_outer_call_says_what_is_done() {
        let under = |calls: &[Function]| {
            let calls = calls.iter().copied().chain([INNER, REQUEST]);
            at(&calls.map(Some).collect::<Vec<_>>()).map(|(place, _)| place)
        };
        assert_eq!(under(&[Function::Write]), Some(Place::Write));
        assert_eq!(under(&[Function::Connect]), Some(Place::Connect));
        assert_eq!(under(&[Function::Resolve]), Some(Place::Resolve));
        assert_eq!(under(&[]), Some(Place::Other));
        // Asking a name server.
        let asking = [Function::Write, Function::Connect, Function::Resolve];
        assert_eq!(under(&asking), Some(Place::Resolve));
        // Reading what has been interrupted, inside the dial.
        let inside = [Function::Lock, Function::Connect];
        assert_eq!(under(&inside), Some(Place::Connect));
    }

    #[test]
    fn other_goroutines_are_none_of_ours() {
        assert_eq!(at(&[None, Some(Function::Lock), None]), None);
        assert_eq!(at(&[]), None);
        // Cut off before the function that was called from elsewhere: it cannot be told which.
        assert_eq!(at(&[Some(Function::Write), Some(INNER)]), None);
    }
}

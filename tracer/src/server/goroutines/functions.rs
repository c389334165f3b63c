//! The functions that tell what a goroutine does when they are on its stack, by address.

use std::ops::Range;

use super::method::{Function, Method};

/// A function that tells something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// What is waited for, or in whose code; `None` if it only makes plain whose work it is.
    pub(super) role: Option<Function>,
    /// As people write it: `net.(*netFD).connect`.
    pub(super) name: Box<str>,
}

impl Known {
    /// `None` if it tells nothing.
    pub(super) fn of(method: Method<'_>) -> Option<Self> {
        let role = method.role();
        (role.is_some() || method.is_telling()).then(|| Self {
            role,
            name: method.short().into(),
        })
    }
}

/// Those that tell something. A server has some hundreds.
#[derive(Debug, Default)]
pub(super) struct Functions(Vec<(Range<u64>, Known)>);

impl Functions {
    pub(super) fn new(mut functions: Vec<(Range<u64>, Known)>) -> Self {
        functions.sort_by_key(|(at, _)| at.start);
        Self(functions)
    }

    /// Whether there is one that does this.
    pub(super) fn any(&self, role: impl Fn(Function) -> bool) -> bool {
        self.0.iter().filter_map(|(_, known)| known.role).any(role)
    }

    /// Whose call returns here. The last thing that a function does may be a call: what comes next is
    /// another function then.
    pub(super) fn at(&self, return_address: u64) -> Option<&Known> {
        let call = return_address.checked_sub(1)?;
        let behind = self.0.partition_point(|(at, _)| at.start <= call);
        let (at, function) = self.0.get(behind.checked_sub(1)?)?;
        at.contains(&call).then_some(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: Function) -> Known {
        Known {
            role: Some(role),
            name: "".into(),
        }
    }

    #[test]
    fn finds_the_caller_of_a_return_address() {
        let functions = Functions::new(vec![
            (0x200..0x210, known(Function::Write)),
            (0x100..0x110, known(Function::Lock)),
        ]);
        let at = |address| functions.at(address).and_then(|known| known.role);
        assert_eq!(at(0x100), None);
        assert_eq!(at(0x101), Some(Function::Lock));
        // The call is the function's last instruction.
        assert_eq!(at(0x110), Some(Function::Lock));
        assert_eq!(at(0x111), None);
        assert_eq!(at(0x205), Some(Function::Write));
        assert_eq!((at(0), at(u64::MAX)), (None, None));
    }

    #[test]
    fn keeps_what_tells_something() {
        let of = |name: &str| Known::of(Method::parse(name.as_bytes())?);
        let served = of("net/http.(*conn).serve").expect("telling");
        assert_eq!((served.role, &*served.name), (None, "http.(*conn).serve"));
        let lock = of("sync.(*Mutex).Lock").expect("telling");
        assert_eq!(lock.role, Some(Function::Lock));
        assert_eq!(of("net/http.(*conn).readRequest"), None);
    }
}

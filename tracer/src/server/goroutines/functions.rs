//! Functions that show what a goroutine does when they are on its stack, by address.

use std::ops::Range;

use super::{function_name::FunctionName, roles::FunctionRole};

/// Such a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KnownFunction {
    /// `None` if it shows only on what the goroutine works.
    pub(super) role: Option<FunctionRole>,
    /// As people write it: `net.(*netFD).connect`.
    pub(super) name: Box<str>,
}

impl KnownFunction {
    /// `None` if it shows nothing.
    pub(super) fn of(function: FunctionName<'_>) -> Option<Self> {
        let role = function.role();
        (role.is_some() || function.shows_work()).then(|| Self {
            role,
            name: function.short().into(),
        })
    }
}

/// In order. A server has some hundreds.
#[derive(Debug, Default)]
pub(super) struct Functions(Vec<(Range<u64>, KnownFunction)>);

impl Functions {
    pub(super) fn new(mut functions: Vec<(Range<u64>, KnownFunction)>) -> Self {
        functions.sort_by_key(|(at, _)| at.start);
        Self(functions)
    }

    /// Whether one has such a role.
    pub(super) fn any(&self, role: impl Fn(FunctionRole) -> bool) -> bool {
        self.0.iter().filter_map(|(_, known)| known.role).any(role)
    }

    /// The function whose call returns here. The last thing that a function does may be a call: what comes next is
    /// another function then.
    pub(super) fn at(&self, return_address: u64) -> Option<&KnownFunction> {
        let call = return_address.checked_sub(1)?;
        let behind = self.0.partition_point(|(at, _)| at.start <= call);
        let (at, function) = self.0.get(behind.checked_sub(1)?)?;
        at.contains(&call).then_some(function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(role: FunctionRole) -> KnownFunction {
        KnownFunction {
            role: Some(role),
            name: "".into(),
        }
    }

    #[test]
    fn finds_the_caller_of_a_return_address() {
        let functions = Functions::new(vec![
            (0x200..0x210, known(FunctionRole::Write)),
            (0x100..0x110, known(FunctionRole::Lock)),
        ]);
        let at = |address| functions.at(address).and_then(|known| known.role);
        assert_eq!(at(0x100), None);
        assert_eq!(at(0x101), Some(FunctionRole::Lock));
        // The call is the function's last instruction.
        assert_eq!(at(0x110), Some(FunctionRole::Lock));
        assert_eq!(at(0x111), None);
        assert_eq!(at(0x205), Some(FunctionRole::Write));
        assert_eq!((at(0), at(u64::MAX)), (None, None));
    }

    #[test]
    fn keeps_functions_that_show_something() {
        let of = |name: &str| KnownFunction::of(FunctionName::parse(name.as_bytes())?);
        let served = of("net/http.(*conn).serve").expect("telling");
        assert_eq!((served.role, &*served.name), (None, "http.(*conn).serve"));
        let lock = of("sync.(*Mutex).Lock").expect("telling");
        assert_eq!(lock.role, Some(FunctionRole::Lock));
        assert_eq!(of("net/http.(*conn).readRequest"), None);
    }
}

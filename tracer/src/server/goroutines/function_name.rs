//! Names of functions as Go's linker spells them.

use std::str;

/// `path/of/package.Function`, `path/of/package.Type.Method` or `path/of/package.(*Type).Method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FunctionName<'a> {
    pub(super) package: &'a str,
    /// Its type's name; empty if it has no receiver. Of a closure in a plain function: that function's name.
    pub(super) receiver: &'a str,
    pub(super) name: &'a str,
    /// Whether the receiver is a pointer.
    is_pointer: bool,
}

impl<'a> FunctionName<'a> {
    /// `None` for what is no function of a package.
    pub(super) fn parse(symbol: &'a [u8]) -> Option<Self> {
        let symbol = str::from_utf8(symbol).ok()?;
        // Receivers and type arguments may contain slashes and dots of their own.
        let path = &symbol[..symbol.find(['(', '[']).unwrap_or(symbol.len())];
        let last = path.rfind('/').map_or(0, |slash| slash + 1);
        let dot = last + path[last..].find('.')?;
        let (package, rest) = (&symbol[..dot], &symbol[dot + 1..]);
        let pointer = rest.strip_prefix("(*");
        let (receiver, name) = match pointer {
            Some(rest) => rest.split_once(").")?,
            None => rest.split_once('.').unwrap_or(("", rest)),
        };
        Some(Self {
            package,
            receiver,
            name,
            is_pointer: pointer.is_some(),
        })
    }

    /// Whether its first argument is a pointer to its receiver.
    pub(super) fn has_pointer_receiver(self) -> bool {
        self.is_pointer
    }

    /// The name of its package in code: the last part of the path.
    pub(super) fn package_name(self) -> &'a str {
        package_name(self.package)
    }

    /// The name of its receiver's type in the debugging information.
    pub(super) fn type_name(self) -> String {
        format!("{}.{}", self.package, self.receiver)
    }

    /// The name without the path of the package, as people write it.
    pub(super) fn short(self) -> String {
        let (package, name) = (self.package_name(), self.name);
        match self.receiver {
            "" => format!("{package}.{name}"),
            receiver if self.is_pointer => format!("{package}.(*{receiver}).{name}"),
            receiver => format!("{package}.{receiver}.{name}"),
        }
    }
}

pub(super) fn package_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(symbol: &str) -> Option<[&str; 3]> {
        let parsed = FunctionName::parse(symbol.as_bytes())?;
        Some([parsed.package, parsed.receiver, parsed.name])
    }

    #[test]
    fn splits_symbols() {
        for (symbol, expected) in [
            ("os.OpenFile", ["os", "", "OpenFile"]),
            ("a.b/c/d.(*T).M", ["a.b/c/d", "T", "M"]),
            ("a.b/c.T.M", ["a.b/c", "T", "M"]),
            ("a.b/c.F.func1", ["a.b/c", "F", "func1"]),
            ("a/b.(*T[go.shape.int]).M", ["a/b", "T[go.shape.int]", "M"]),
            ("a.F[go.shape.*b/c.D]", ["a", "F[go", "shape.*b/c.D]"]),
            (
                "gopkg.in/yaml%2ev3.(*T).M",
                ["gopkg.in/yaml%2ev3", "T", "M"],
            ),
        ] {
            assert_eq!(parts(symbol), Some(expected), "{symbol}");
        }
        for symbol in ["", "(", "runtime", "a.(*T)"] {
            assert_eq!(parts(symbol), None, "{symbol}");
        }
    }

    #[test]
    fn shortens_as_people_do() {
        let short = |name: &str| FunctionName::parse(name.as_bytes()).map(FunctionName::short);
        for (name, expected) in [
            ("internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).lockSlow"),
            ("net.(*netFD).connect", "net.(*netFD).connect"),
            ("os.OpenFile", "os.OpenFile"),
            (
                "a.b/event.MetricsCounter.Process",
                "event.MetricsCounter.Process",
            ),
            (
                "github.com/openbao/openbao/v2/internal/builtin/audit/socket.(*Backend).reconnect",
                "socket.(*Backend).reconnect",
            ),
        ] {
            assert_eq!(short(name).as_deref(), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn any_symbol_is_survived(symbol in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = FunctionName::parse(&symbol);
        }
    }
}

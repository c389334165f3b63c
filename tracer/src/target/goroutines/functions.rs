//! Functions that tell what a goroutine does when they are on its stack.

use std::ops::Range;

/// Whose audit devices they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeviceCode {
    /// `OpenBao`'s, and Vault's up to 1.14: called by the request (`builtin/audit/socket/backend.go`).
    Backend,
    /// Vault's since 1.15: called in goroutines of its own (`internal/observability/event/sink_socket.go`).
    Sink,
}

/// What a function is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Of a socket audit device, called from elsewhere: it takes the device's lock.
    Entry(DeviceCode, Entry),
    /// Of a socket audit device.
    Inner(DeviceCode),
    /// Waits for a lock.
    Lock,
    /// Looks a name up.
    Resolve,
    /// Connects.
    Connect,
    /// Writes to a socket.
    Write,
}

/// What a device is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Request,
    Response,
    Other,
}

/// A method, as Go spells it: `path/of/package.(*Type).Method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method<'a> {
    package: &'a str,
    receiver: &'a str,
    name: &'a str,
}

impl<'a> Method<'a> {
    pub(super) fn parse(name: &'a [u8]) -> Option<Self> {
        let at = name.iter().position(|byte| *byte == b'(')?;
        let name = std::str::from_utf8(name).ok()?;
        let package = name.get(..at)?.strip_suffix('.')?;
        let (receiver, name) = name.get(at..)?.strip_prefix("(*")?.split_once(").")?;
        Some(Self {
            package,
            receiver,
            name,
        })
    }

    /// As the debugging information names its receiver.
    pub(super) fn type_name(self) -> String {
        format!("{}.{}", self.package, self.receiver)
    }

    /// `None` if it tells nothing.
    pub(super) fn role(self) -> Option<Function> {
        let device = self.device_code();
        device
            .map(|code| self.role_in(code))
            .or_else(|| self.role_in_library())
    }

    /// Vault kept the sink in package `audit` for a while.
    pub(super) fn device_code(self) -> Option<DeviceCode> {
        let package = self.package;
        match self.receiver {
            "Backend" if package.ends_with("/audit/socket") => Some(DeviceCode::Backend),
            "SocketSink" | "AuditSocketSink"
                if package.ends_with("/event") || package.ends_with("/audit") =>
            {
                Some(DeviceCode::Sink)
            }
            _ => None,
        }
    }

    fn role_in(self, code: DeviceCode) -> Function {
        let entry = match (code, self.name) {
            (DeviceCode::Backend, "LogRequest") => Entry::Request,
            (DeviceCode::Backend, "LogResponse") => Entry::Response,
            (DeviceCode::Backend, "LogTestMessage" | "Reload")
            | (DeviceCode::Sink, "Process" | "Reopen") => Entry::Other,
            _ => return Function::Inner(code),
        };
        Function::Entry(code, entry)
    }

    /// `net/dial.go`: `Dialer.DialContext` first has `Resolver.resolveAddrList` look the name up, then
    /// has a `sysDialer` connect. Either may let other goroutines work and wait for them.
    fn role_in_library(self) -> Option<Function> {
        match (self.package, self.receiver, self.name) {
            ("sync" | "internal/sync", "Mutex" | "RWMutex", _) => Some(Function::Lock),
            ("net", "Resolver", _) => Some(Function::Resolve),
            ("net", "sysDialer", _) | ("net", "netFD", "connect" | "dial") => {
                Some(Function::Connect)
            }
            ("net", "conn", "Write") | ("internal/poll", "FD", "Write") => Some(Function::Write),
            _ => None,
        }
    }
}

/// Those that tell something, by address.
#[derive(Debug, Default)]
pub(super) struct Functions(Vec<(Range<u64>, Function)>);

impl Functions {
    pub(super) fn new(mut functions: Vec<(Range<u64>, Function)>) -> Self {
        functions.sort_by_key(|(at, _)| at.start);
        Self(functions)
    }

    /// Whose call returns here. The last thing that a function does may be a call: what comes next is
    /// another function then.
    pub(super) fn at(&self, return_address: u64) -> Option<Function> {
        let call = return_address.checked_sub(1)?;
        let behind = self.0.partition_point(|(at, _)| at.start <= call);
        let (at, function) = self.0.get(behind.checked_sub(1)?)?;
        at.contains(&call).then_some(*function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Option<Function> {
        Method::parse(name.as_bytes())?.role()
    }

    #[test]
    fn knows_the_devices_code() {
        use DeviceCode::{Backend, Sink};
        let openbao = "github.com/openbao/openbao/v2/internal/builtin/audit/socket.(*Backend)";
        let vault = "github.com/hashicorp/vault/builtin/audit/socket.(*Backend)";
        let sink = "github.com/hashicorp/vault/internal/observability/event.(*SocketSink)";
        let named = |of: &str, method: &str| role(&format!("{of}.{method}"));
        for of in [openbao, vault] {
            let request = Function::Entry(Backend, Entry::Request);
            assert_eq!(named(of, "LogRequest"), Some(request));
            let response = Function::Entry(Backend, Entry::Response);
            assert_eq!(named(of, "LogResponse"), Some(response));
            let reload = Function::Entry(Backend, Entry::Other);
            assert_eq!(named(of, "Reload"), Some(reload));
            for inner in ["reconnect", "write", "LogRequest.deferwrap1"] {
                assert_eq!(named(of, inner), Some(Function::Inner(Backend)), "{inner}");
            }
        }
        let process = Function::Entry(Sink, Entry::Other);
        assert_eq!(named(sink, "Process"), Some(process));
        assert_eq!(named(sink, "connect"), Some(Function::Inner(Sink)));
        assert_eq!(
            role("github.com/hashicorp/vault/audit.(*AuditSocketSink).Process"),
            Some(process)
        );
    }

    #[test]
    fn knows_what_they_wait_in() {
        assert_eq!(
            role("internal/sync.(*Mutex).lockSlow"),
            Some(Function::Lock)
        );
        assert_eq!(role("sync.(*RWMutex).Lock"), Some(Function::Lock));
        assert_eq!(
            role("net.(*Resolver).lookupIPAddr"),
            Some(Function::Resolve)
        );
        assert_eq!(
            role("net.(*sysDialer).dialParallel"),
            Some(Function::Connect)
        );
        assert_eq!(role("net.(*netFD).connect"), Some(Function::Connect));
        assert_eq!(role("net.(*conn).Write"), Some(Function::Write));
    }

    #[test]
    fn other_functions_tell_nothing() {
        for name in [
            "",
            "(",
            "main.main",
            "net.(*Dialer).DialContext",
            "net.(*netFD).Read",
            "mynet.(*Resolver).Look",
            "github.com/openbao/openbao/v2/internal/builtin/audit/file.(*Backend).LogRequest",
            "github.com/openbao/openbao/v2/internal/builtin/audit/socket.Factory",
            "github.com/hashicorp/vault/internal/observability/event.(*FileSink).Process",
            "internal/sync.(*HashTrieMap[go.shape.interface {},go.shape.interface {}]).All",
            "type:.eq.struct { f func(*int).x }",
        ] {
            assert_eq!(role(name), None, "{name}");
        }
    }

    #[test]
    fn finds_the_caller_of_a_return_address() {
        let functions = Functions::new(vec![
            (0x200..0x210, Function::Write),
            (0x100..0x110, Function::Lock),
        ]);
        assert_eq!(functions.at(0x100), None);
        assert_eq!(functions.at(0x101), Some(Function::Lock));
        // The call is the function's last instruction.
        assert_eq!(functions.at(0x110), Some(Function::Lock));
        assert_eq!(functions.at(0x111), None);
        assert_eq!(functions.at(0x205), Some(Function::Write));
        assert_eq!((functions.at(0), functions.at(u64::MAX)), (None, None));
    }
}

//! Names of functions, and what they tell when they are on a goroutine's stack.

use tracer_model::EntryKind;

/// Whose audit devices they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeviceCode {
    /// Of which kind.
    pub kind: Kind,
    /// Who calls it.
    pub style: Style,
}

/// What audit devices write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A socket.
    Socket,
    /// A file, a FIFO, or standard output.
    File,
    /// Standard output, and nothing else.
    Stdout,
    /// An HTTP server.
    Http,
    /// This host's syslog daemon.
    Syslog,
    /// Whatever it hands entries to: what waits for its lock waits for a device, since whoever holds it
    /// is in one (`vault/audit_broker.go`).
    Broker,
}

/// Who calls a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// The request: `OpenBao`'s, and Vault's up to 1.14 (`builtin/audit/*/backend.go`).
    Backend,
    /// A goroutine of its own: Vault's since 1.15 (`internal/observability/event/sink_*.go`).
    Sink,
}

/// What a function is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Of an audit device.
    Device(DeviceCode, Part),
    /// Of what writes to syslog for a device (`hashicorp/go-syslog`), and takes the lock for it.
    Syslog,
    /// Waits for a lock.
    Lock,
    /// Looks a name up.
    Resolve,
    /// Connects.
    Connect,
    /// Opens a file.
    Open,
    /// Writes.
    Write,
    /// Has sent a request to an HTTP server and waits for what it answers.
    Answer,
}

impl Function {
    /// Which entry it hands to the devices, if it is the audit broker's `LogRequest` or `LogResponse`.
    pub(super) fn broker(self) -> Option<Entry> {
        match self {
            Self::Device(code, Part { entry, .. }) if code.kind == Kind::Broker => {
                entry.filter(|entry| *entry != Entry::Other)
            }
            _ => None,
        }
    }
}

/// What a function of a device does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// Called from elsewhere.
    pub(super) entry: Option<Entry>,
    /// Whether it takes the device's lock itself.
    pub(super) locks: bool,
}

/// What a device is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Request,
    Response,
    Other,
}

/// What a function keeps in its frame that tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// What is to be written to all devices, and of which of the request's entries.
    Input(EntryKind),
    /// The context of one entry on its way to all sinks.
    Context,
    /// Since when a mutex is waited for: `CLOCK_MONOTONIC`, ns (`runtime/time_nofake.go`, `nanotime`).
    WaitStart,
}

impl Variable {
    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Variable::Input(_) => "in",
            Variable::Context => "ctx",
            Variable::WaitStart => "waitStartTime",
        }
    }

    /// Which word of how many says it. An interface's second one points to what it holds
    /// (`runtime/runtime2.go`, `iface`).
    pub(super) fn word(self) -> (usize, usize) {
        match self {
            Variable::Input(_) | Variable::WaitStart => (0, 1),
            Variable::Context => (1, 2),
        }
    }
}

/// Those without a receiver that tell something. `RWMutex.RLock` is compiled into its callers, and what it
/// calls is not (`sync/runtime.go`).
const FUNCTIONS: [(&str, &str); 3] = [
    ("os", "OpenFile"),
    ("sync", "runtime_SemacquireRWMutexR"),
    ("sync", "runtime_SemacquireRWMutex"),
];

/// A function, as Go spells it: `path/of/package.Function`, `path/of/package.(*Type).Method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method<'a> {
    package: &'a str,
    /// Empty if it has none.
    receiver: &'a str,
    name: &'a str,
}

impl<'a> Method<'a> {
    pub(super) fn parse(name: &'a [u8]) -> Option<Self> {
        let plain = FUNCTIONS.iter().find(|(package, function)| {
            name.strip_prefix(package.as_bytes())
                .and_then(|name| name.strip_prefix(b"."))
                == Some(function.as_bytes())
        });
        if let Some((package, name)) = plain {
            return Some(Self {
                package,
                receiver: "",
                name,
            });
        }
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

    /// As people write it: without the path of its package.
    pub(super) fn short(self) -> String {
        let package = base(self.package);
        match self.receiver {
            "" => format!("{package}.{}", self.name),
            receiver => format!("{package}.(*{receiver}).{}", self.name),
        }
    }

    /// `None` if it tells nothing of what is waited for.
    pub(super) fn role(self) -> Option<Function> {
        let device = self.device_code();
        device
            .map(|code| Function::Device(code, self.part(code)))
            .or_else(|| self.role_in_library())
    }

    /// Vault kept the sinks of socket devices in package `audit` for a while.
    pub(super) fn device_code(self) -> Option<DeviceCode> {
        let of = |style| move |kind| DeviceCode { kind, style };
        match self.receiver {
            "Backend" => backend(self.package).map(of(Style::Backend)),
            _ if self.is_brokers() => Some(of(Style::Backend)(Kind::Broker)),
            receiver => sink(self.package, receiver).map(of(Style::Sink)),
        }
    }

    fn is_brokers(self) -> bool {
        matches!(
            (base(self.package), self.receiver),
            ("vault", "AuditBroker") | ("audit", "Broker")
        )
    }

    fn part(self, code: DeviceCode) -> Part {
        let entry = match (code.style, self.name) {
            (Style::Backend, "LogRequest") => Some(Entry::Request),
            (Style::Backend, "LogResponse") => Some(Entry::Response),
            (Style::Backend, "LogTestMessage" | "Reload") | (Style::Sink, "Process" | "Reopen") => {
                Some(Entry::Other)
            }
            _ if code.kind == Kind::Broker => Some(Entry::Other),
            _ => None,
        };
        let locks = match code.kind {
            Kind::Socket => entry.is_some(),
            Kind::File => matches!(self.name, "log" | "Reload" | "Reopen"),
            Kind::Broker => true,
            Kind::Stdout | Kind::Http | Kind::Syslog => false,
        };
        Part { entry, locks }
    }

    /// `net/dial.go`: `Dialer.DialContext` first has `Resolver.resolveAddrList` look the name up, then
    /// has a `sysDialer` connect. Either may let other goroutines work and wait for them, as
    /// `net/http`'s `Transport` always does.
    fn role_in_library(self) -> Option<Function> {
        match (self.package, self.receiver, self.name) {
            ("sync" | "internal/sync", "Mutex" | "RWMutex" | "", _) => Some(Function::Lock),
            ("net", "Resolver", _) => Some(Function::Resolve),
            ("net", "sysDialer", _)
            | ("net", "netFD", "connect" | "dial")
            | ("net/http", "Transport", "getConn") => Some(Function::Connect),
            ("os", "", "OpenFile") => Some(Function::Open),
            ("net", "conn", "Write")
            | ("internal/poll", "FD", "Write")
            | ("os", "File", "Write" | "WriteString") => Some(Function::Write),
            ("net/http", "persistConn", "roundTrip") => Some(Function::Answer),
            (package, "ClientConn", "RoundTrip" | "roundTrip") if base(package) == "http2" => {
                Some(Function::Answer)
            }
            (package, _, _) if base(package) == "go-syslog" => Some(Function::Syslog),
            _ => None,
        }
    }

    /// Of what hands entries to devices (`vault/audit_broker.go`, in Vault since 1.16
    /// `audit/broker.go`), and to sinks (`hashicorp/eventlogger`, `graph.go`), and of these; and of what
    /// waits for a mutex (`internal/sync/mutex.go`, before Go 1.24 `sync/mutex.go`).
    pub(super) fn variable(self) -> Option<Variable> {
        match (base(self.package), self.receiver, self.name) {
            ("vault", "AuditBroker", name) | ("audit", "Broker", name) => match name {
                "LogRequest" => Some(Variable::Input(EntryKind::Request)),
                "LogResponse" => Some(Variable::Input(EntryKind::Response)),
                _ => None,
            },
            ("eventlogger", "graph", "process" | "doProcess")
            | ("event" | "audit", _, "Process") => Some(Variable::Context),
            ("sync", "Mutex", "lockSlow") => Some(Variable::WaitStart),
            _ => None,
        }
    }

    /// Whether a package may have such functions.
    pub(super) fn has_variables(package: &str) -> bool {
        let base = base(package);
        matches!(base, "vault" | "audit" | "event" | "eventlogger" | "sync")
    }

    /// Whether it makes plain whose work it is, though not what is waited for.
    pub(super) fn is_telling(self) -> bool {
        match (base(self.package), self.receiver) {
            ("vault", "AuditBroker") | ("audit", "Broker") => self.variable().is_some(),
            ("vault", "Core") => self.name.starts_with("handle") && self.name.ends_with("Request"),
            ("eventlogger", "graph") => self.name.starts_with("process"),
            ("http2", "serverConn") | ("http", "http2serverConn") => self.name == "runHandler",
            ("http", "conn") => self.name == "serve",
            _ => false,
        }
    }
}

/// The last part of a package's path, as the package is called in code.
fn base(package: &str) -> &str {
    package.rsplit('/').next().unwrap_or(package)
}

/// `builtin/audit/*/backend.go`.
fn backend(package: &str) -> Option<Kind> {
    match package.rsplit_once("/audit/")?.1 {
        "socket" => Some(Kind::Socket),
        "file" => Some(Kind::File),
        "http" => Some(Kind::Http),
        "syslog" => Some(Kind::Syslog),
        _ => None,
    }
}

fn sink(package: &str, receiver: &str) -> Option<Kind> {
    if !matches!(base(package), "event" | "audit") {
        return None;
    }
    match receiver.strip_prefix("Audit").unwrap_or(receiver) {
        "SocketSink" => Some(Kind::Socket),
        "FileSink" => Some(Kind::File),
        "StdoutSink" => Some(Kind::Stdout),
        "SyslogSink" => Some(Kind::Syslog),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str) -> Option<Function> {
        Method::parse(name.as_bytes())?.role()
    }

    const OPENBAO: &str = "github.com/openbao/openbao/v2/internal/builtin/audit";
    const EVENT: &str = "github.com/hashicorp/vault/internal/observability/event";

    fn device(kind: Kind, style: Style, entry: Option<Entry>, locks: bool) -> Function {
        let part = Part { entry, locks };
        Function::Device(DeviceCode { kind, style }, part)
    }

    #[test]
    fn knows_the_socket_devices_code() {
        let backend = |entry| Some(device(Kind::Socket, Style::Backend, entry, entry.is_some()));
        let openbao = format!("{OPENBAO}/socket.(*Backend)");
        let vault = "github.com/hashicorp/vault/builtin/audit/socket.(*Backend)";
        for of in [&openbao, vault] {
            let named = |method: &str| role(&format!("{of}.{method}"));
            assert_eq!(named("LogRequest"), backend(Some(Entry::Request)));
            assert_eq!(named("LogResponse"), backend(Some(Entry::Response)));
            assert_eq!(named("Reload"), backend(Some(Entry::Other)));
            for inner in ["reconnect", "write", "LogRequest.deferwrap1"] {
                assert_eq!(named(inner), backend(None), "{inner}");
            }
        }
        let sink = |entry| Some(device(Kind::Socket, Style::Sink, entry, entry.is_some()));
        let process = sink(Some(Entry::Other));
        assert_eq!(role(&format!("{EVENT}.(*SocketSink).Process")), process);
        assert_eq!(role(&format!("{EVENT}.(*SocketSink).connect")), sink(None));
        assert_eq!(
            role("github.com/hashicorp/vault/audit.(*AuditSocketSink).Process"),
            process
        );
    }

    #[test]
    fn knows_the_other_devices_code() {
        let backend = |kind| Some(device(kind, Style::Backend, Some(Entry::Request), false));
        let sink = |kind| Some(device(kind, Style::Sink, Some(Entry::Other), false));
        for (name, expected) in [
            ("file", backend(Kind::File)),
            ("http", backend(Kind::Http)),
            ("syslog", backend(Kind::Syslog)),
        ] {
            assert_eq!(
                role(&format!("{OPENBAO}/{name}.(*Backend).LogRequest")),
                expected
            );
        }
        for (name, expected) in [
            ("FileSink", sink(Kind::File)),
            ("AuditFileSink", sink(Kind::File)),
            ("StdoutSink", sink(Kind::Stdout)),
            ("SyslogSink", sink(Kind::Syslog)),
        ] {
            assert_eq!(
                role(&format!("{EVENT}.(*{name}).Process")),
                expected,
                "{name}"
            );
        }
        // What takes a file's lock is not what is called from elsewhere.
        let log = |of| role(&format!("{of}.log"));
        let takes = |style| Some(device(Kind::File, style, None, true));
        assert_eq!(
            log(format!("{OPENBAO}/file.(*Backend)")),
            takes(Style::Backend)
        );
        assert_eq!(log(format!("{EVENT}.(*FileSink)")), takes(Style::Sink));
    }

    #[test]
    fn knows_what_they_wait_in() {
        for (name, expected) in [
            ("internal/sync.(*Mutex).lockSlow", Function::Lock),
            ("sync.(*RWMutex).Lock", Function::Lock),
            ("net.(*Resolver).lookupIPAddr", Function::Resolve),
            ("net.(*sysDialer).dialParallel", Function::Connect),
            ("net.(*netFD).connect", Function::Connect),
            ("net/http.(*Transport).getConn", Function::Connect),
            ("os.OpenFile", Function::Open),
            ("net.(*conn).Write", Function::Write),
            ("os.(*File).Write", Function::Write),
            ("net/http.(*persistConn).roundTrip", Function::Answer),
            (
                "net/http/internal/http2.(*ClientConn).RoundTrip",
                Function::Answer,
            ),
            (
                "github.com/hashicorp/go-syslog.(*builtinWriter).writeAndRetry",
                Function::Syslog,
            ),
        ] {
            assert_eq!(role(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn other_functions_tell_nothing() {
        for name in [
            "",
            "(",
            "main.main",
            "os.OpenFileX",
            "net.(*Dialer).DialContext",
            "net.(*netFD).Read",
            "mynet.(*Resolver).Look",
            "github.com/openbao/openbao/v2/internal/builtin/audit/socket.Factory",
            "github.com/openbao/openbao/v2/internal/builtin/logical/pki.(*Backend).LogRequest",
            "github.com/hashicorp/vault/internal/observability/event.(*NoopSink).Process",
            "example.com/elsewhere.(*FileSink).Process",
            "internal/sync.(*HashTrieMap[go.shape.interface {},go.shape.interface {}]).All",
            "type:.eq.struct { f func(*int).x }",
        ] {
            assert_eq!(role(name), None, "{name}");
        }
    }

    #[test]
    fn writes_names_as_people_do() {
        let short = |name: &str| Method::parse(name.as_bytes()).map(Method::short);
        for (name, expected) in [
            ("internal/sync.(*Mutex).lockSlow", "sync.(*Mutex).lockSlow"),
            ("net.(*netFD).connect", "net.(*netFD).connect"),
            ("os.OpenFile", "os.OpenFile"),
            (
                "github.com/openbao/openbao/v2/internal/builtin/audit/socket.(*Backend).reconnect",
                "socket.(*Backend).reconnect",
            ),
        ] {
            assert_eq!(short(name).as_deref(), Some(expected));
        }
    }

    #[test]
    fn knows_whose_work_it_is() {
        let tells = |name: &str| Method::parse(name.as_bytes()).is_some_and(Method::is_telling);
        for name in [
            "github.com/openbao/openbao/v2/internal/vault.(*AuditBroker).LogRequest",
            "github.com/hashicorp/vault/vault.(*Core).handleLoginRequest",
            "net/http.(*conn).serve",
            "net/http.(*http2serverConn).runHandler",
            "golang.org/x/net/http2.(*serverConn).runHandler",
        ] {
            assert!(tells(name), "{name}");
        }
        for name in [
            "github.com/hashicorp/vault/vault.(*AuditBroker).Register",
            "github.com/hashicorp/vault/vault.(*Core).HandleRequest",
            "net/http.(*conn).serve.func1",
        ] {
            assert!(!tells(name), "{name}");
        }
    }
}

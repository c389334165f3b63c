//! What functions of the server and of Go's library show when they are on a goroutine's stack.

use super::{
    device_kind::DeviceKind,
    function_name::{FunctionName, package_name},
};
use crate::server::generation::AuditMark;
use tracer_model::EntryKind;

#[cfg(test)]
mod tests;

/// Whose audit devices they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct DeviceCode {
    /// Of which kind.
    pub(super) kind: DeviceKind,
    /// Who calls it.
    pub(super) style: DeviceStyle,
}

/// Which goroutine calls a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeviceStyle {
    /// The request: `OpenBao`'s, and Vault's up to 1.14 (`builtin/audit/*/backend.go`).
    Backend,
    /// A goroutine of its own: Vault's since 1.15 (`internal/observability/event/sink_*.go`).
    Sink,
}

/// What a function on a stack shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FunctionRole {
    /// Of an audit device or the audit broker, with what calls it from outside, if anything does.
    Device(DeviceCode, Option<EntryPoint>),
    /// Makes the text of an entry: salt, HMACs, JSON.
    Format,
    /// Writes to syslog for a device (`hashicorp/go-syslog`), and takes its lock.
    Syslog,
    /// Takes a lock.
    Lock,
    /// Of the runtime: waits for another goroutine.
    Park,
    /// Looks a name up.
    Resolve,
    /// Connects.
    Connect,
    /// Opens a file.
    Open,
    /// Writes.
    Write,
    /// Has sent a request to an HTTP server and waits for the response.
    Answer,
    /// Of the client of an HTTP server: what it waits for, its callees show.
    HttpClient,
    /// Waits for connections.
    Accept,
    /// Serves the connections of other nodes of the cluster.
    ServesNodes,
    /// Has forwarded its request to the active node, and waits for the answer.
    Forward,
    /// Reads what a gRPC server answers.
    GrpcClient,
}

impl FunctionRole {
    /// Which entry it hands to the devices, if it is the audit broker's `LogRequest` or `LogResponse`.
    pub(super) fn broker_entry(self) -> Option<EntryPoint> {
        match self {
            Self::Device(code, entry) if code.kind == DeviceKind::Broker => {
                entry.filter(|entry| *entry != EntryPoint::Other)
            }
            _ => None,
        }
    }
}

/// What a device is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryPoint {
    /// To write the entry of a request.
    Request,
    /// To write the entry of a response.
    Response,
    /// Something else, or either.
    Other,
}

/// A variable in a function's frame that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Variable {
    /// The input of the audit broker, with the kind of its entry.
    Input(EntryKind),
    /// The context of one entry on its way to all sinks.
    Context,
    /// Since when a mutex is waited for: `CLOCK_MONOTONIC`, ns (`runtime/time_nofake.go`, `nanotime`).
    WaitStart,
    /// The server's own structure, which has the table of audit devices (`vault/core.go`).
    Core,
}

impl Variable {
    /// Its name in the source.
    pub(super) fn name(self) -> &'static str {
        match self {
            Variable::Input(_) => "in",
            Variable::Context => "ctx",
            Variable::WaitStart => "waitStartTime",
            Variable::Core => "c",
        }
    }

    /// The word of its method's arguments that it begins with, counted from the receiver's pointer; `None` if it is no argument,
    /// or of no use without debugging information.
    pub(super) fn argument_word(self) -> Option<i64> {
        match self {
            // `(ctx context.Context, in *logical.LogInput, ...)`: an interface has two words.
            Variable::Input(_) => Some(3),
            Variable::Context => Some(1),
            Variable::WaitStart | Variable::Core => None,
        }
    }

    /// Which of its how many words is read. An interface's second word points to its value
    /// (`runtime/runtime2.go`, `iface`).
    pub(super) fn word(self) -> (usize, usize) {
        match self {
            Variable::Input(_) | Variable::WaitStart | Variable::Core => (0, 1),
            Variable::Context => (1, 2),
        }
    }
}

impl FunctionName<'_> {
    /// `None` if it does not show what is waited for.
    pub(super) fn role(self) -> Option<FunctionRole> {
        if self.formats() {
            return Some(FunctionRole::Format);
        }
        let device = self.device_code();
        device
            .map(|code| FunctionRole::Device(code, self.entry_point(code)))
            .or_else(|| self.role_in_library())
    }

    /// Vault kept the sinks of socket devices in package `audit` for a while.
    pub(super) fn device_code(self) -> Option<DeviceCode> {
        let of = |style| move |kind| DeviceCode { kind, style };
        match self.receiver {
            "Backend" => DeviceKind::of_backend(self.package).map(of(DeviceStyle::Backend)),
            _ if self.is_brokers() => Some(of(DeviceStyle::Backend)(DeviceKind::Broker)),
            receiver => {
                DeviceKind::of_sink(self.package_name(), receiver).map(of(DeviceStyle::Sink))
            }
        }
    }

    /// What it shows of how the server audits (`audit/broker.go`, `internal/observability/event/sink_socket.go`).
    pub(super) fn mark(self) -> Option<AuditMark> {
        match (self.package_name(), self.receiver, self.name) {
            ("audit", "Broker", "LogRequest") => Some(AuditMark::BrokerOfAudit),
            ("audit", "", "getAuditContext") => Some(AuditMark::EntryContext),
            _ => {
                let code = self.device_code()?;
                match code.style {
                    DeviceStyle::Sink if self.name == "acquirePermit" => Some(AuditMark::Permits),
                    DeviceStyle::Sink => Some(AuditMark::Sinks),
                    DeviceStyle::Backend if code.kind == DeviceKind::Broker => None,
                    DeviceStyle::Backend => Some(AuditMark::Backends),
                }
            }
        }
    }

    fn is_brokers(self) -> bool {
        matches!(
            (self.package_name(), self.receiver),
            ("vault", "AuditBroker") | ("audit", "Broker")
        )
    }

    fn entry_point(self, code: DeviceCode) -> Option<EntryPoint> {
        match (code.style, self.name) {
            (DeviceStyle::Backend, "LogRequest") => Some(EntryPoint::Request),
            (DeviceStyle::Backend, "LogResponse") => Some(EntryPoint::Response),
            (DeviceStyle::Backend, "LogTestMessage" | "Reload")
            | (DeviceStyle::Sink, "Process" | "Reopen") => Some(EntryPoint::Other),
            _ => (code.kind == DeviceKind::Broker).then_some(EntryPoint::Other),
        }
    }

    /// The salt is read from the storage when it is first used (`Backend.Salt`, `sdk/helper/salt`), and has a lock of
    /// its own; formatters and what they call (`audit/format.go`, `audit/entry_formatter.go`).
    fn formats(self) -> bool {
        let formatters = ["Formatter", "formatter", "FormatWriter"];
        match self.package_name() {
            "salt" | "hmac" => true,
            "audit" if formatters.iter().any(|end| self.receiver.ends_with(end)) => true,
            "audit" if self.name.starts_with("Format") || self.name.starts_with("Hash") => true,
            _ => self.name == "Salt" || self.package.starts_with("encoding/json"),
        }
    }

    /// `net/dial.go`: `Dialer.DialContext` first has `Resolver.resolveAddrList` look the name up, then
    /// has a `sysDialer` connect. Either may start goroutines and wait for them, as `net/http`'s `Transport`
    /// always does. `RWMutex.RLock` is compiled into its callers, and what it calls is not (`sync/runtime.go`).
    fn role_in_library(self) -> Option<FunctionRole> {
        match (self.package, self.receiver, self.name) {
            ("sync" | "internal/sync", "Mutex" | "RWMutex", _)
            | ("sync", "", "runtime_SemacquireRWMutexR" | "runtime_SemacquireRWMutex") => {
                Some(FunctionRole::Lock)
            }
            // All that wait for others: not for input or output, a time, or the garbage collector.
            ("runtime", "", "chanrecv" | "chansend" | "selectgo" | "semacquire1")
            | ("runtime" | "sync", "", "notifyListWait" | "runtime_notifyListWait") => {
                Some(FunctionRole::Park)
            }
            ("net", "Resolver", _) => Some(FunctionRole::Resolve),
            ("net", "sysDialer", _)
            | ("net", "netFD", "connect" | "dial")
            | ("net/http", "Transport", "getConn")
            | ("net/http", "http2clientConnPool", _) => Some(FunctionRole::Connect),
            ("os", "", "OpenFile") => Some(FunctionRole::Open),
            ("internal/poll", "FD", "Accept") => Some(FunctionRole::Accept),
            ("net", "conn", "Write")
            | ("internal/poll", "FD", "Write")
            | ("os", "File", "Write" | "WriteString") => Some(FunctionRole::Write),
            ("net/http", "persistConn", "roundTrip")
            | ("net/http", "http2ClientConn", "RoundTrip" | "roundTrip") => {
                Some(FunctionRole::Answer)
            }
            ("net/http", "Client" | "bodyEOFSignal", _) => Some(FunctionRole::HttpClient),
            _ => self.role_in_module(),
        }
    }

    fn role_in_module(self) -> Option<FunctionRole> {
        match (self.package_name(), self.receiver, self.name) {
            ("http2", "ClientConn", "RoundTrip" | "roundTrip") => Some(FunctionRole::Answer),
            ("http2", "clientConnPool", _) => Some(FunctionRole::Connect),
            ("go-syslog", ..) => Some(FunctionRole::Syslog),
            _ => self.role_in_cluster(),
        }
    }

    /// `vault/cluster/cluster.go`, `Listener.Run`, starts a goroutine for each listener; the client that gRPC generates of
    /// `vault/request_forwarding_service.proto` waits for the active node (`vault/request_forwarding.go`, `ForwardRequest`);
    /// `google.golang.org/grpc/internal/transport/http2_client.go`, `reader`.
    fn role_in_cluster(self) -> Option<FunctionRole> {
        match (self.package_name(), self.receiver, self.name) {
            ("cluster", "Listener", name) if name.starts_with("Run.") => {
                Some(FunctionRole::ServesNodes)
            }
            (_, "requestForwardingClient", "ForwardRequest") => Some(FunctionRole::Forward),
            ("transport", "http2Client", "reader") => Some(FunctionRole::GrpcClient),
            _ => None,
        }
    }

    /// Of the audit broker (`vault/audit_broker.go`, in Vault since 1.16 `audit/broker.go`), of `hashicorp/eventlogger`
    /// (`graph.go`) and its sinks, of what waits for a mutex (`internal/sync/mutex.go`, before Go 1.24
    /// `sync/mutex.go`), and of the server itself.
    pub(super) fn variable(self) -> Option<Variable> {
        if self.is_brokers() {
            return match self.name {
                "LogRequest" => Some(Variable::Input(EntryKind::Request)),
                "LogResponse" => Some(Variable::Input(EntryKind::Response)),
                _ => None,
            };
        }
        match (self.package_name(), self.receiver, self.name) {
            ("eventlogger", "graph", "process" | "doProcess")
            | ("event" | "audit", _, "Process") => Some(Variable::Context),
            ("sync", "Mutex", "lockSlow") => Some(Variable::WaitStart),
            // Loops that run as long as the server is unsealed (`vault/core_metrics.go`, `vault/barrier_aes_gcm.go`).
            (
                "vault",
                "Core",
                "metricsLoop" | "emitMetricsActiveNode" | "autoRotateBarrierLoop",
            ) => Some(Variable::Core),
            _ => None,
        }
    }

    /// Whether it shows on what a goroutine works, though not what is waited for.
    pub(super) fn shows_work(self) -> bool {
        match (self.package_name(), self.receiver) {
            ("vault", "AuditBroker") | ("audit", "Broker") => self.variable().is_some(),
            ("vault", "Core") => self.name.starts_with("handle") && self.name.ends_with("Request"),
            ("eventlogger", "graph") => self.name.starts_with("process"),
            ("http2", "serverConn") | ("http", "http2serverConn") => self.name == "runHandler",
            ("http", "conn") => self.name == "serve",
            _ => false,
        }
    }
}

/// Whether functions of this package have variables that are read.
pub(crate) fn has_variables(package: &str) -> bool {
    let packages = ["vault", "audit", "event", "eventlogger", "sync"];
    packages.contains(&package_name(package))
}

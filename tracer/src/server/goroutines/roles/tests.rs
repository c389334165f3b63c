use super::*;

fn role(name: &str) -> Option<FunctionRole> {
    FunctionName::parse(name.as_bytes())?.role()
}

const OPENBAO: &str = "github.com/openbao/openbao/v2/internal/builtin/audit";
const EVENT: &str = "github.com/hashicorp/vault/internal/observability/event";

fn device(kind: DeviceKind, style: DeviceStyle, entry: Option<EntryPoint>) -> FunctionRole {
    FunctionRole::Device(DeviceCode { kind, style }, entry)
}

#[test]
fn recognizes_the_socket_devices_code() {
    let backend = |entry| Some(device(DeviceKind::Socket, DeviceStyle::Backend, entry));
    let openbao = format!("{OPENBAO}/socket.(*Backend)");
    let vault = "github.com/hashicorp/vault/builtin/audit/socket.(*Backend)";
    for of in [&openbao, vault] {
        let named = |method: &str| role(&format!("{of}.{method}"));
        assert_eq!(named("LogRequest"), backend(Some(EntryPoint::Request)));
        assert_eq!(named("LogResponse"), backend(Some(EntryPoint::Response)));
        assert_eq!(named("Reload"), backend(Some(EntryPoint::Other)));
        for inner in ["reconnect", "write", "LogRequest.deferwrap1"] {
            assert_eq!(named(inner), backend(None), "{inner}");
        }
    }
    let sink = |entry| Some(device(DeviceKind::Socket, DeviceStyle::Sink, entry));
    let process = sink(Some(EntryPoint::Other));
    assert_eq!(role(&format!("{EVENT}.(*SocketSink).Process")), process);
    assert_eq!(role(&format!("{EVENT}.(*SocketSink).connect")), sink(None));
    assert_eq!(
        role("github.com/hashicorp/vault/audit.(*AuditSocketSink).Process"),
        process
    );
}

#[test]
fn recognizes_the_other_devices_code() {
    let backend = |kind| {
        Some(device(
            kind,
            DeviceStyle::Backend,
            Some(EntryPoint::Request),
        ))
    };
    let sink = |kind| Some(device(kind, DeviceStyle::Sink, Some(EntryPoint::Other)));
    for (name, expected) in [
        ("file", backend(DeviceKind::File)),
        ("http", backend(DeviceKind::Http)),
        ("syslog", backend(DeviceKind::Syslog)),
    ] {
        assert_eq!(
            role(&format!("{OPENBAO}/{name}.(*Backend).LogRequest")),
            expected
        );
    }
    for (name, expected) in [
        ("FileSink", sink(DeviceKind::File)),
        ("AuditFileSink", sink(DeviceKind::File)),
        ("StdoutSink", sink(DeviceKind::Stdout)),
        ("SyslogSink", sink(DeviceKind::Syslog)),
    ] {
        assert_eq!(
            role(&format!("{EVENT}.(*{name}).Process")),
            expected,
            "{name}"
        );
    }
}

#[test]
fn recognizes_library_functions() {
    for (name, expected) in [
        ("internal/sync.(*Mutex).lockSlow", FunctionRole::Lock),
        ("sync.(*RWMutex).Lock", FunctionRole::Lock),
        ("net.(*Resolver).lookupIPAddr", FunctionRole::Resolve),
        ("net.(*sysDialer).dialParallel", FunctionRole::Connect),
        ("net.(*netFD).connect", FunctionRole::Connect),
        ("net/http.(*Transport).getConn", FunctionRole::Connect),
        ("os.OpenFile", FunctionRole::Open),
        ("net.(*conn).Write", FunctionRole::Write),
        ("os.(*File).Write", FunctionRole::Write),
        ("net/http.(*persistConn).roundTrip", FunctionRole::Answer),
        (
            "net/http/internal/http2.(*ClientConn).RoundTrip",
            FunctionRole::Answer,
        ),
        (
            "github.com/hashicorp/go-syslog.(*builtinWriter).writeAndRetry",
            FunctionRole::Syslog,
        ),
    ] {
        assert_eq!(role(name), Some(expected), "{name}");
    }
}

#[test]
fn other_functions_have_no_role() {
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
fn recognizes_functions_that_show_the_work() {
    let shows =
        |name: &str| FunctionName::parse(name.as_bytes()).is_some_and(FunctionName::shows_work);
    for name in [
        "github.com/openbao/openbao/v2/internal/vault.(*AuditBroker).LogRequest",
        "github.com/hashicorp/vault/vault.(*Core).handleLoginRequest",
        "net/http.(*conn).serve",
        "net/http.(*http2serverConn).runHandler",
        "golang.org/x/net/http2.(*serverConn).runHandler",
    ] {
        assert!(shows(name), "{name}");
    }
    for name in [
        "github.com/hashicorp/vault/vault.(*AuditBroker).Register",
        "github.com/hashicorp/vault/vault.(*Core).HandleRequest",
        "net/http.(*conn).serve.func1",
    ] {
        assert!(!shows(name), "{name}");
    }
}

#[test]
fn functions_tell_the_generation() {
    let mark = |name: &str| FunctionName::parse(name.as_bytes())?.mark();
    for (name, expected) in [
        (
            format!("{OPENBAO}/socket.(*Backend).LogRequest"),
            Some(AuditMark::Backends),
        ),
        (
            format!("{EVENT}.(*FileSink).Process"),
            Some(AuditMark::Sinks),
        ),
        (
            format!("{EVENT}.(*SocketSink).acquirePermit"),
            Some(AuditMark::Permits),
        ),
        (
            "github.com/hashicorp/vault/audit.(*Broker).LogRequest".to_owned(),
            Some(AuditMark::BrokerOfAudit),
        ),
        (
            "github.com/hashicorp/vault/audit.getAuditContext".to_owned(),
            Some(AuditMark::EntryContext),
        ),
        (
            "github.com/hashicorp/vault/vault.(*AuditBroker).LogRequest".to_owned(),
            None,
        ),
        // Storage has permits too.
        (
            "github.com/hashicorp/go-secure-stdlib/permitpool.(*Pool).Acquire".to_owned(),
            None,
        ),
    ] {
        assert_eq!(mark(&name), expected, "{name}");
    }
}

/// Of Vault 1.14, 1.16 and 2.1, and of OpenBao 2.7.
#[test]
fn recognizes_what_nodes_of_a_cluster_do() {
    for (name, expected) in [
        (
            "github.com/hashicorp/vault/vault/cluster.(*Listener).Run.func2",
            Some(FunctionRole::ServesNodes),
        ),
        (
            "github.com/openbao/openbao/v2/internal/vault/cluster.(*Listener).Run.func1",
            Some(FunctionRole::ServesNodes),
        ),
        (
            "github.com/hashicorp/vault/vault.(*requestForwardingClient).ForwardRequest",
            Some(FunctionRole::Forward),
        ),
        (
            "github.com/openbao/openbao/v2/internal/vault/forwarding.(*requestForwardingClient).ForwardRequest",
            Some(FunctionRole::Forward),
        ),
        (
            "google.golang.org/grpc/internal/transport.(*http2Client).reader",
            Some(FunctionRole::GrpcClient),
        ),
        ("internal/poll.(*FD).Accept", Some(FunctionRole::Accept)),
        // It reads the request's body first; the active node serves it; another call of the same client.
        (
            "github.com/hashicorp/vault/vault.(*Core).ForwardRequest",
            None,
        ),
        (
            "github.com/hashicorp/vault/vault.(*forwardedRequestRPCServer).ForwardRequest",
            None,
        ),
        (
            "github.com/hashicorp/vault/vault.(*requestForwardingClient).Echo",
            None,
        ),
        (
            "github.com/hashicorp/vault/vault/cluster.(*Listener).AddHandler",
            None,
        ),
        ("net/http.(*Server).Serve", None),
    ] {
        assert_eq!(role(name), expected, "{name}");
    }
}

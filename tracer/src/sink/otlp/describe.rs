//! The attributes of a server, a request, a device and a connection.

use std::{net::SocketAddr, path::Path};

use super::{attributes::Attributes, messages::Resource};
use tracer_model::{
    AddressKind, Attribution, Device, Evidence, Op, RequestInfo, Session, Stall, Tcp,
};

pub(super) fn resource(session: &Session) -> Resource {
    let executable = Path::new(&session.exe).file_name();
    let executable = executable.map(|name| name.to_string_lossy().into_owned());
    let service = match executable.as_deref() {
        Some("vault") => "vault".to_owned(),
        Some("bao" | "openbao") => "openbao".to_owned(),
        // As the semantic conventions name an unknown service.
        Some(other) => format!("unknown_service:{other}"),
        None => "unknown_service".to_owned(),
    };
    let attributes = Attributes::default()
        .with("service.name", service)
        .with("host.name", session.host.as_deref())
        .with("process.pid", session.pid.unsigned_abs())
        .with("process.executable.name", executable)
        .with("process.executable.path", session.exe.as_str())
        .with("process.runtime.version", session.go_version.as_deref())
        .with("os.type", "linux")
        .with("os.version", session.kernel.as_str());
    let given = session.resource.iter();
    let attributes = given.fold(attributes, |attributes, (key, value)| {
        attributes.replace(key, value)
    });
    Resource {
        attributes: attributes.0,
        ..Resource::default()
    }
}

pub(super) fn request(request: &RequestInfo) -> Attributes {
    let client = request.client;
    let path = request.path.as_deref();
    // Without a version the protocol is unknown too.
    let protocol = request.http_version.map(|_| "http");
    Attributes::default()
        .with("client.address", client.map(|end| end.ip().to_string()))
        .with("client.port", client.map(|end| end.port()))
        .with("network.protocol.name", protocol)
        .with("network.protocol.version", request.http_version)
        .with("url.path", path.map(|path| format!("/v1/{path}")))
        .with("http.response.status_code", request.status)
        .with("vault.request.id", request.id.as_deref())
        .with("vault.request.operation", request.operation.as_deref())
        .with("vault.request.path", path)
        .with("vault.request.tie", request.tie.map(Attribution::name))
        .flag("vault.request.duration_is_lower_bound", request.lower_bound)
}

pub(super) fn device(device: &Device) -> Attributes {
    let attributes = Attributes::default().with("vault.audit.device", device.to_string());
    let (transport, address) = (device.transport.name(), device.address.as_str());
    if address.is_empty() {
        return attributes;
    }
    match device.transport.address_kind() {
        AddressKind::HostPort => attributes
            .with("network.transport", transport)
            .and(peer(address)),
        AddressKind::SocketPath => attributes
            .with("network.transport", transport)
            .with("network.peer.address", address),
        AddressKind::FilePath => attributes.with("file.path", address),
        AddressKind::Other => attributes,
    }
}

pub(super) fn peer(address: &str) -> Attributes {
    let attributes = Attributes::default();
    if let Ok(peer) = address.parse::<SocketAddr>() {
        return attributes
            .with("network.type", if peer.is_ipv4() { "ipv4" } else { "ipv6" })
            .with("network.peer.address", peer.ip().to_string())
            .with("network.peer.port", peer.port());
    }
    // A name that was never resolved.
    match address.rsplit_once(':') {
        Some((name, port)) => attributes
            .with("server.address", name)
            .with("server.port", port.parse::<u16>().ok()),
        None => attributes.with("server.address", address),
    }
}

/// The state of a connection at the beginning or end of a stall. Before it is established there is a timeout only.
fn tcp(at: &str, op: Op, tcp: &Tcp) -> Attributes {
    let key = |name: &str| format!("vault.tcp.{at}.{name}");
    let attributes = Attributes::default().with(&key("rto_ns"), tcp.rto);
    if op == Op::Connect {
        return attributes;
    }
    attributes
        .with(&key("unacked_bytes"), tcp.unacked())
        .with(&key("unsent_bytes"), tcp.unsent())
        .with(&key("send_queue_bytes"), tcp.queued)
        .with(&key("send_buffer_bytes"), tcp.limit)
        .with(&key("peer_window_bytes"), tcp.window)
        .with(&key("srtt_ns"), tcp.srtt)
        .with(&key("last_ack_age_ns"), tcp.ack_age)
}

/// What was seen of a stall.
pub(super) fn evidence(stall: &Stall) -> Attributes {
    let evidence = &stall.evidence;
    let at = |at: &str, state: Option<&_>| {
        state.map_or_else(Attributes::default, |state| tcp(at, stall.op, state))
    };
    // A duration: attributes of spans hold no times.
    let silent = evidence
        .silent_since
        .map(|since| stall.start.saturating_sub(since));
    at("begin", evidence.begin.as_ref())
        .and(at("end", evidence.end.as_ref()))
        .with("vault.tcp.silent_before_ns", silent)
        .with("vault.frames", &evidence.frames)
}

/// The last known number of unanswered probes of a closed window, if there were any.
pub(super) fn window_probes(evidence: &Evidence) -> Option<u32> {
    let last = evidence.end.as_ref().or(evidence.begin.as_ref())?;
    last.probes.filter(|probes| *probes > 0)
}

//! What spans say of a server, a request, a device and a connection, in attributes.

use std::{net::SocketAddr, path::Path};

use opentelemetry_proto::tonic::common::v1::KeyValue;

use super::attributes::Attributes;
use tracer_model::{Attribution, Device, Evidence, Op, RequestInfo, Session, Tcp, Transport};

pub(super) fn resource(session: &Session) -> Vec<KeyValue> {
    let executable = Path::new(&session.exe).file_name();
    let executable = executable.map(|name| name.to_string_lossy().into_owned());
    let service = match executable.as_deref() {
        Some("vault") => "vault".to_owned(),
        Some("bao" | "openbao") => "openbao".to_owned(),
        // As the specification of resources names what has no name.
        Some(other) => format!("unknown_service:{other}"),
        None => "unknown_service".to_owned(),
    };
    Attributes::default()
        .text("service.name", service)
        .maybe_text("host.name", session.host.as_deref())
        .number("process.pid", u64::from(session.pid.unsigned_abs()))
        .maybe_text("process.executable.name", executable)
        .text("process.executable.path", &*session.exe)
        .maybe_text("process.runtime.version", session.go_version.as_deref())
        .text("os.type", "linux")
        .text("os.version", &*session.kernel)
        .into_vec()
}

pub(super) fn about_request(request: &RequestInfo) -> Attributes {
    let client = request.client;
    // Both versions are HTTP; without one it is not known what is spoken.
    let http = request.http_version.map(|_| "http");
    let path = request.path.as_ref().map(|path| format!("/v1/{path}"));
    Attributes::default()
        .maybe_text(
            "client.address",
            client.map(|client| client.ip().to_string()),
        )
        .maybe_number("client.port", client.map(|client| client.port()))
        .maybe_text("network.protocol.name", http)
        .maybe_text("network.protocol.version", request.http_version)
        .maybe_text("url.path", path)
        .maybe_number("http.response.status_code", request.status)
        .maybe_text("vault.request.id", request.id.as_deref())
        .maybe_text("vault.request.operation", request.operation.as_deref())
        .maybe_text("vault.request.path", request.path.as_deref())
        .maybe_text("vault.request.tie", request.tie.map(Attribution::name))
        .flag("vault.request.duration_is_lower_bound", request.lower_bound)
}

pub(super) fn device(device: &Device) -> Attributes {
    let named = Attributes::default().text("vault.audit.device", device.to_string());
    let transport = device.transport.name();
    if device.address.is_empty() {
        return named;
    }
    match device.transport {
        Transport::Tcp | Transport::Udp => {
            let named = named.text("network.transport", transport);
            match device.address.parse::<SocketAddr>() {
                Ok(peer) => named
                    .text("network.type", if peer.is_ipv4() { "ipv4" } else { "ipv6" })
                    .text("network.peer.address", peer.ip().to_string())
                    .number("network.peer.port", peer.port().into()),
                // A name that was never resolved.
                Err(_) => match device.address.rsplit_once(':') {
                    Some((name, port)) => named
                        .text("server.address", name)
                        .maybe_number("server.port", port.parse::<u16>().ok()),
                    None => named.text("server.address", &*device.address),
                },
            }
        }
        Transport::Unix => named
            .text("network.transport", transport)
            .text("network.peer.address", &*device.address),
        Transport::File => named.text("file.path", &*device.address),
        Transport::Http | Transport::Syslog => named,
    }
}

/// TCP's view at one end of a stall. Before a connection stands there is no more than the time-out.
pub(super) fn snapshot(at: &str, op: Op, tcp: &Tcp) -> Attributes {
    let key = |name: &str| format!("vault.tcp.{at}.{name}");
    let attributes = Attributes::default().maybe_number(&key("rto_ns"), tcp.rto);
    if op == Op::Connect {
        return attributes;
    }
    attributes
        .number(&key("unacked_bytes"), tcp.unacked().into())
        .number(&key("unsent_bytes"), tcp.unsent().into())
        .maybe_number(&key("send_queue_bytes"), tcp.queued)
        .maybe_number(&key("send_buffer_bytes"), tcp.limit)
        .maybe_number(&key("peer_window_bytes"), tcp.window)
        .maybe_number(&key("srtt_ns"), tcp.srtt)
        .maybe_number(&key("last_ack_age_ns"), tcp.ack_age)
}

/// Probes of a closed window in a row without an answer, as last known.
pub(super) fn probes(evidence: &Evidence) -> Option<u32> {
    let last = evidence.end.as_ref().or(evidence.begin.as_ref())?;
    last.probes.filter(|probes| *probes > 0)
}

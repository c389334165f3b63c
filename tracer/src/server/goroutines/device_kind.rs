//! The kinds of audit devices: their packages and types, where each keeps its address, and what the address may be.

use std::collections::BTreeMap;

use tracer_model::{Device, Transport};

use crate::server::go::dwarf::Structures;

/// What audit devices write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeviceKind {
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
    /// The audit broker: what waits for its lock waits for a device, since the lock's holder is
    /// in one (`vault/audit_broker.go`).
    Broker,
}

/// The structures that lead from a syslog device to its socket's path, beside the device's own.
pub(super) const STRUCTURES: [&str; 4] = [
    "github.com/hashicorp/go-syslog.builtinWriter",
    "github.com/hashicorp/go-syslog.netConn",
    "net.netFD",
    "net.UnixAddr",
];

/// An interface's second word points to its value (`runtime/runtime2.go`, `iface`).
const IFACE_DATA: u32 = 8;

/// Offsets of the members of a device's type, and of other structures.
#[derive(Clone, Copy)]
pub(super) struct MemberOffsets<'a> {
    pub(super) structures: &'a Structures,
    /// The name of the device's type.
    pub(super) device: &'a str,
}

impl MemberOffsets<'_> {
    fn of(self, structure: &str, member: &str) -> Option<u32> {
        self.structures.get(structure)?.get(member).copied()
    }

    fn own(self, member: &str) -> Option<u32> {
        self.of(self.device, member)
    }
}

impl DeviceKind {
    /// By the package of a type `Backend` (`builtin/audit/*/backend.go`).
    pub(super) fn of_backend(package: &str) -> Option<Self> {
        match package.rsplit_once("/audit/")?.1 {
            "socket" => Some(Self::Socket),
            "file" => Some(Self::File),
            "http" => Some(Self::Http),
            "syslog" => Some(Self::Syslog),
            _ => None,
        }
    }

    /// By the package and type of a sink (`internal/observability/event/sink_*.go`).
    pub(super) fn of_sink(package: &str, receiver: &str) -> Option<Self> {
        if !matches!(package, "event" | "audit") {
            return None;
        }
        match receiver.strip_prefix("Audit").unwrap_or(receiver) {
            "SocketSink" => Some(Self::Socket),
            "FileSink" => Some(Self::File),
            "StdoutSink" => Some(Self::Stdout),
            "SyslogSink" => Some(Self::Syslog),
            _ => None,
        }
    }

    /// By the type of an entry of the audit table: what `vault audit enable` takes.
    fn of_type(name: &str) -> Option<Self> {
        match name {
            "socket" => Some(Self::Socket),
            "file" => Some(Self::File),
            "http" => Some(Self::Http),
            "syslog" => Some(Self::Syslog),
            _ => None,
        }
    }

    /// Leads to its socket's type, where the code does not fix it.
    pub(super) fn network(self, members: MemberOffsets<'_>) -> Option<u32> {
        (self == Self::Socket).then(|| members.own("socketType"))?
    }

    /// Leads to its address: the offsets of the pointers to follow, then that of the string, bytes.
    pub(super) fn address(self, members: MemberOffsets<'_>) -> Option<Vec<u32>> {
        let [writer, connection, descriptor, path] = STRUCTURES;
        Some(match self {
            Self::Socket => vec![members.own("address")?],
            Self::File => vec![members.own("path")?],
            Self::Http => vec![members.own("uri")?],
            // `builtinLogger` has only a pointer to its writer, and `net.UnixConn` one to its descriptor.
            Self::Syslog => vec![
                // Vault's sink has a `logger` for its own log beside it.
                members.own("syslogger").or(members.own("logger"))? + IFACE_DATA,
                0,
                members.of(writer, "conn")? + IFACE_DATA,
                members.of(connection, "conn")? + IFACE_DATA,
                0,
                members.of(descriptor, "raddr")? + IFACE_DATA,
                members.of(path, "Name")?,
            ],
            Self::Stdout | Self::Broker => return None,
        })
    }

    /// The device with what was read of it; `None` where no configuration allows that.
    pub(super) fn device(self, network: Option<&str>, address: &str) -> Option<Device> {
        let (transport, address) = match self {
            Self::Socket => (socket(network?, address)?, address.to_owned()),
            Self::File => is_file(address).then(|| (Transport::File, address.to_owned()))?,
            Self::Http => (Transport::Http, origin(address)?),
            Self::Syslog => is_path(address).then(|| (Transport::Unix, address.to_owned()))?,
            Self::Stdout | Self::Broker => return None,
        };
        Some(Device::configured(transport, &address))
    }

    /// The device where nothing else is known of it. `None` for sockets: the probes see where they lead.
    pub(super) fn unnamed(self) -> Option<Device> {
        let (transport, address) = match self {
            Self::Socket | Self::Broker => return None,
            Self::File => (Transport::File, ""),
            Self::Stdout => (Transport::File, "stdout"),
            Self::Http => (Transport::Http, ""),
            Self::Syslog => (Transport::Syslog, ""),
        };
        Some(Device::configured(transport, address))
    }
}

/// The names of the options of an audit device that say where it is, and which entries it gets. No other option is read: they
/// may be secret.
pub(super) const OPTIONS: [&str; 7] = [
    "address",
    "socket_type",
    "file_path",
    "path",
    "uri",
    FILTER,
    FALLBACK,
];

/// Which entries a device gets (Vault Enterprise: an expression; whether it gets those that no other took).
const FILTER: &str = "filter";
const FALLBACK: &str = "fallback";

/// Whether a device with these options gets all entries.
pub(super) fn takes_all(options: &BTreeMap<String, String>) -> bool {
    let is_fallback = options.get(FALLBACK).is_some_and(|value| value != "false");
    !options.contains_key(FILTER) && !is_fallback
}

/// The device of an entry of the audit table, from its type and options (`builtin/audit/*/backend.go`).
pub(super) fn configured(name: &str, options: &BTreeMap<String, String>) -> Option<Device> {
    let kind = DeviceKind::of_type(name)?;
    let option = |name: &str| options.get(name).map(String::as_str);
    match kind {
        DeviceKind::Socket => {
            let network = option("socket_type").unwrap_or("tcp");
            kind.device(Some(network), option("address")?)
        }
        DeviceKind::File => kind.device(None, option("file_path").or(option("path"))?),
        DeviceKind::Http => kind.device(None, option("uri")?),
        DeviceKind::Syslog | DeviceKind::Stdout | DeviceKind::Broker => kind.unnamed(),
    }
}

fn socket(network: &str, address: &str) -> Option<Transport> {
    let transport = Transport::of_network(network)?;
    let is_complete = transport == Transport::Unix || address.contains(':');
    is_complete.then_some(transport)
}

/// Relative paths are possible, but cannot be told from other text.
fn is_path(text: &str) -> bool {
    text.starts_with('/')
}

fn is_file(text: &str) -> bool {
    is_path(text) || text == "stdout"
}

/// Of `https://user:password@host:8080/path?token=secret` the part that is not secret: `https://host:8080`.
fn origin(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority
        .rsplit('@')
        .next()
        .filter(|host| !host.is_empty())?;
    matches!(scheme, "http" | "https").then(|| format!("{scheme}://{host}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_parts_of_a_uri_are_omitted() {
        for (uri, expected) in [
            ("http://log.lab:8080/audit", Some("http://log.lab:8080")),
            ("https://u:p@[fd00::2]?token=t", Some("https://[fd00::2]")),
            ("https://u:p@x@log/#f", Some("https://log")),
            ("ftp://log/", None),
            ("http:///path", None),
            ("log:8080", None),
        ] {
            assert_eq!(origin(uri).as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn accepts_what_a_configuration_allows() {
        let is_socket = |network, address| socket(network, address).is_some();
        assert!(is_socket("tcp", "log.lab:1515") && is_socket("unix", "relative"));
        assert!(!is_socket("tcp", "log.lab") && !is_socket("http", "log.lab:1515"));
        assert!(is_file("/var/log/audit.log") && is_file("stdout"));
        assert!(!is_file("discard") && !is_file("audit.log"));
    }

    #[test]
    fn an_entry_of_the_audit_table_says_where_its_device_is() {
        let device = |name: &str, options: &[(&str, &str)]| {
            let options = options.iter();
            let options = options.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            configured(name, &options.collect()).map(|device| device.to_string())
        };
        for (name, options, expected) in [
            (
                "socket",
                &[("address", "log:1515")][..],
                Some("tcp log:1515"),
            ),
            (
                "socket",
                &[("address", "/run/log"), ("socket_type", "unixgram")],
                Some("unix /run/log"),
            ),
            ("socket", &[("address", "log")], None),
            ("socket", &[], None),
            (
                "file",
                &[("file_path", "/var/log/a")],
                Some("file /var/log/a"),
            ),
            ("file", &[("path", "/var/log/a")], Some("file /var/log/a")),
            ("file", &[("file_path", "discard")], None),
            (
                "http",
                &[("uri", "https://user:secret@log/in?token=secret")],
                Some("http https://log"),
            ),
            ("syslog", &[], Some("syslog")),
            ("plugin", &[("address", "log:1515")], None),
        ] {
            assert_eq!(
                device(name, options).as_deref(),
                expected,
                "{name} {options:?}"
            );
        }
    }

    #[test]
    fn what_is_no_socket_device_is_never_taken_for_one() {
        let transport = |kind: DeviceKind| kind.unnamed().map(|device| device.transport);
        assert_eq!(transport(DeviceKind::Socket), None);
        assert_eq!(transport(DeviceKind::Http), Some(Transport::Http));
        assert_eq!(transport(DeviceKind::Syslog), Some(Transport::Syslog));
    }
}

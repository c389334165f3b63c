//! The device in whose code a goroutine waits: the receiver of its method.
//!
//! Go's compiler keeps a receiver that it needs again where the caller of old would have passed it
//! (`src/cmd/compile/abi-internal.md`, "spill area"): on amd64 behind the return address, on arm64
//! above the caller's frame record. That is no promise, so it is used only if the value there is
//! what the device's configuration allows.

use std::{collections::BTreeMap, str};

use object::Architecture;

use super::{
    memory::{Memory, word},
    roles::{DeviceCode, DeviceKind},
    stack::Stack,
};
use crate::server::go::dwarf::Structures;

/// From the frame pointer, on arm64 (read in disassembly, not tried) from the caller's.
const RECEIVER: u64 = 16;
/// An interface's second word points to its value (`runtime/runtime2.go`, `iface`).
const IFACE_DATA: u32 = 8;
/// `net/dial.go`, `Dialer.Dial`: those that audit devices can use.
const NETWORKS: [&str; 9] = [
    "tcp",
    "tcp4",
    "tcp6",
    "udp",
    "udp4",
    "udp6",
    "unix",
    "unixgram",
    "unixpacket",
];
/// Bytes beyond which an address is rejected: a name has up to 253, a path 4095.
const MAX_ADDRESS: u64 = 4096;

/// The structures that lead from a syslog device to its socket's path, beside the device's own.
pub(super) const STRUCTURES: [&str; 4] = [
    "github.com/hashicorp/go-syslog.builtinWriter",
    "github.com/hashicorp/go-syslog.netConn",
    "net.netFD",
    "net.UnixAddr",
];

/// A device, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceConfig {
    /// `tcp`, `udp`, `unix` and the like: a socket's type; `file`; `http`; `syslog` if its socket is
    /// not known.
    pub(super) network: String,
    /// `log.example.com:1515`, not looked up; a path, or `stdout`; the scheme, host and port of a URI,
    /// whose other parts may be secret. Empty if it is not known.
    pub(super) address: String,
}

/// Where devices keep their configuration.
#[derive(Debug, Default)]
pub(super) struct DeviceLayouts {
    /// Whether receivers are found from the caller's frame pointer.
    by_caller: bool,
    layouts: Vec<(DeviceCode, DeviceLayout)>,
}

/// Where a device keeps what identifies it.
#[derive(Clone, Debug)]
pub(super) struct DeviceLayout {
    /// Offset of its socket's type, where the code does not fix it.
    pub(super) network: Option<u32>,
    pub(super) address: FieldPath,
}

/// Leads to a string: the offsets of the pointers to follow, then that of the string, bytes.
#[derive(Clone, Debug)]
pub(super) struct FieldPath(pub(super) Vec<u32>);

impl DeviceLayout {
    /// `name`: of the device's type.
    fn new(structures: &Structures, name: &str, kind: DeviceKind) -> Option<Self> {
        let of = |structure: &str, member: &str| structures.get(structure)?.get(member).copied();
        let own = |member| of(name, member);
        let network = match kind {
            DeviceKind::Socket => Some(own("socketType")?),
            _ => None,
        };
        let [writer, connection, descriptor, path] = STRUCTURES;
        let path = match kind {
            DeviceKind::Socket => vec![own("address")?],
            DeviceKind::File => vec![own("path")?],
            DeviceKind::Http => vec![own("uri")?],
            // `builtinLogger` holds but a pointer to its writer, and `net.UnixConn` one to its
            // descriptor.
            DeviceKind::Syslog => vec![
                own("logger")? + IFACE_DATA,
                0,
                of(writer, "conn")? + IFACE_DATA,
                of(connection, "conn")? + IFACE_DATA,
                0,
                of(descriptor, "raddr")? + IFACE_DATA,
                of(path, "Name")?,
            ],
            DeviceKind::Stdout | DeviceKind::Broker => return None,
        };
        Some(Self {
            network,
            address: FieldPath(path),
        })
    }
}

impl FieldPath {
    fn read(&self, memory: &impl Memory, from: u64) -> Option<String> {
        let (last, pointers) = self.0.split_last()?;
        let follow = |from: u64, at: &u32| memory.word(from.checked_add((*at).into())?).ok();
        let holder = pointers.iter().try_fold(from, follow)?;
        string(memory, holder.checked_add((*last).into())?)
    }
}

impl DeviceLayouts {
    pub(super) fn new(
        machine: Architecture,
        structures: &Structures,
        types: &BTreeMap<String, DeviceCode>,
    ) -> Self {
        let layouts = types.iter().filter_map(|(name, code)| {
            Some((*code, DeviceLayout::new(structures, name, code.kind)?))
        });
        Self {
            by_caller: machine == Architecture::Aarch64,
            layouts: layouts.collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn for_test(by_caller: bool, layouts: Vec<(DeviceCode, DeviceLayout)>) -> Self {
        Self { by_caller, layouts }
    }

    /// `frames`: frame pointers of the device's methods. A device that is no socket is reported by its kind even if
    /// nothing else is known: it must not be mistaken for one.
    pub(super) fn read(
        &self,
        memory: &impl Memory,
        code: DeviceCode,
        stack: Stack<'_>,
        frames: [u64; 2],
    ) -> Option<DeviceConfig> {
        let mut receivers = frames
            .into_iter()
            .filter_map(|frame| self.receiver(stack, frame));
        let found = receivers.find_map(|receiver| self.configured(memory, code, receiver));
        found.or_else(|| by_kind(code.kind))
    }

    fn receiver(&self, stack: Stack<'_>, frame: u64) -> Option<u64> {
        let from = if self.by_caller {
            stack.word(frame)?
        } else {
            frame
        };
        stack.word(from.checked_add(RECEIVER)?)
    }

    fn configured(
        &self,
        memory: &impl Memory,
        code: DeviceCode,
        receiver: u64,
    ) -> Option<DeviceConfig> {
        let mut layouts = self.layouts.iter().filter(|(of, _)| *of == code);
        layouts.find_map(|(_, layout)| layout.read(memory, code.kind, receiver))
    }
}

impl DeviceLayout {
    fn read(&self, memory: &impl Memory, kind: DeviceKind, receiver: u64) -> Option<DeviceConfig> {
        let text = self.address.read(memory, receiver)?;
        let network = self
            .network
            .map(|at| string(memory, receiver.checked_add(at.into())?));
        let (network, address) = match (kind, network) {
            (DeviceKind::Socket, network) => {
                let network = network??;
                is_socket(&network, &text).then_some((network, text))?
            }
            (DeviceKind::File, _) => is_file(&text).then(|| ("file".to_owned(), text))?,
            (DeviceKind::Http, _) => ("http".to_owned(), origin(&text)?),
            (DeviceKind::Syslog, _) => is_path(&text).then(|| ("unixgram".to_owned(), text))?,
            (DeviceKind::Stdout | DeviceKind::Broker, _) => return None,
        };
        Some(DeviceConfig { network, address })
    }
}

fn by_kind(kind: DeviceKind) -> Option<DeviceConfig> {
    let (network, address) = match kind {
        DeviceKind::Socket | DeviceKind::Broker => return None,
        DeviceKind::File => ("file", ""),
        DeviceKind::Stdout => ("file", "stdout"),
        DeviceKind::Http => ("http", ""),
        DeviceKind::Syslog => ("syslog", ""),
    };
    Some(DeviceConfig {
        network: network.to_owned(),
        address: address.to_owned(),
    })
}

/// A pointer and a length (`reflect/value.go`, `stringHeader`).
fn string(memory: &impl Memory, at: u64) -> Option<String> {
    let mut header = [0; 16];
    memory.read(at, &mut header).ok()?;
    let (bytes, len) = (word(&header), word(&header[8..]));
    if !(1..=MAX_ADDRESS).contains(&len) {
        return None;
    }
    let mut text = vec![0; len as usize];
    memory.read(bytes, &mut text).ok()?;
    let text = str::from_utf8(&text).ok()?;
    (!text.contains(char::is_control)).then(|| text.to_owned())
}

fn is_socket(network: &str, address: &str) -> bool {
    NETWORKS.contains(&network) && (network.starts_with("unix") || address.contains(':'))
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
        assert!(is_socket("tcp", "log.lab:1515") && is_socket("unix", "relative"));
        assert!(!is_socket("tcp", "log.lab") && !is_socket("http", "log.lab:1515"));
        assert!(is_file("/var/log/audit.log") && is_file("stdout"));
        assert!(!is_file("discard") && !is_file("audit.log"));
    }

    #[test]
    fn what_is_no_socket_device_is_never_taken_for_one() {
        let network = |kind| by_kind(kind).map(|device| device.network);
        assert_eq!(network(DeviceKind::Socket), None);
        assert_eq!(network(DeviceKind::Http).as_deref(), Some("http"));
        assert_eq!(network(DeviceKind::Syslog).as_deref(), Some("syslog"));
    }
}

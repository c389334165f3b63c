//! Which device a goroutine waits in: the receiver of its method.
//!
//! Go's compiler keeps a receiver that it needs again where the caller of old would have passed it
//! (`src/cmd/compile/abi-internal.md`, "spill area"): on amd64 behind the return address, on arm64
//! above the caller's frame record. That is no promise, so it is believed only if both members there
//! are what the device's configuration allows.

use std::{collections::BTreeMap, str};

use object::Architecture;

use super::{functions::DeviceCode, memory::Memory, memory::word, stack::Stack};
use crate::target::go::dwarf::Structures;

/// From the frame pointer, on arm64 (read in disassembly, not tried) from the caller's.
const RECEIVER: u64 = 16;
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
/// Bytes beyond which an address is not believed: a name has up to 253, a path 108.
const MAX_ADDRESS: u64 = 300;

/// A device, as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// `tcp`, `udp`, `unix` and the like: its `socket_type`.
    pub network: String,
    /// `log.example.com:1515`, not looked up; or a path.
    pub address: String,
}

/// Where devices keep their configuration.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Whether receivers are found from the caller's frame pointer.
    by_caller: bool,
    layouts: Vec<(DeviceCode, Layout)>,
}

/// Byte offsets in `socket.Backend` or `event.SocketSink`, which name them alike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) network: u32,
    pub(super) address: u32,
}

impl Layout {
    fn new(structures: &Structures, name: &str) -> Option<Self> {
        let members = structures.get(name)?;
        Some(Self {
            network: *members.get("socketType")?,
            address: *members.get("address")?,
        })
    }
}

impl Devices {
    pub(super) fn new(
        machine: Architecture,
        structures: &Structures,
        types: &BTreeMap<String, DeviceCode>,
    ) -> Self {
        let layouts = types
            .iter()
            .filter_map(|(name, code)| Some((*code, Layout::new(structures, name)?)));
        Self {
            by_caller: machine == Architecture::Aarch64,
            layouts: layouts.collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn made(by_caller: bool, layouts: Vec<(DeviceCode, Layout)>) -> Self {
        Self { by_caller, layouts }
    }

    /// Of the method whose frame pointer this is.
    pub(super) fn read(
        &self,
        memory: &impl Memory,
        code: DeviceCode,
        stack: &Stack,
        frame: u64,
    ) -> Option<Configured> {
        let from = if self.by_caller {
            stack.word(frame)?
        } else {
            frame
        };
        let receiver = stack.word(from.checked_add(RECEIVER)?)?;
        let mut layouts = self.layouts.iter().filter(|(of, _)| *of == code);
        layouts.find_map(|(_, layout)| configured(memory, *layout, receiver))
    }
}

fn configured(memory: &impl Memory, layout: Layout, receiver: u64) -> Option<Configured> {
    let text = |offset: u32| string(memory, receiver.checked_add(offset.into())?);
    let network = text(layout.network).filter(|text| NETWORKS.contains(&text.as_str()))?;
    let address = text(layout.address).filter(|text| plausible(&network, text))?;
    Some(Configured { network, address })
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
    str::from_utf8(&text).ok().map(str::to_owned)
}

fn plausible(network: &str, address: &str) -> bool {
    let is_path = network.starts_with("unix");
    !address.contains(char::is_control) && (is_path || address.contains(':'))
}

//! The device in whose code a goroutine waits: the receiver of its method.
//!
//! Go's compiler keeps a receiver that it needs again where the caller of old would have passed it
//! (`src/cmd/compile/abi-internal.md`, "spill area"): on amd64 behind the return address, on arm64
//! above the caller's frame record. That is no promise, so it is used only if the value there is
//! what the device's configuration allows.

use std::{collections::BTreeMap, str};

use object::Architecture;

use super::{
    device_kind::{DeviceKind, MemberOffsets},
    memory::{Memory, word},
    roles::DeviceCode,
    stack::Stack,
};
use crate::server::go::dwarf::Structures;
use tracer_model::Device;

/// From the frame pointer, on arm64 (read in disassembly, not tried) from the caller's.
const RECEIVER: u64 = 16;
/// Bytes beyond which an address is rejected: a name has up to 253, a path 4095.
const MAX_ADDRESS: u64 = 4096;

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
        let members = MemberOffsets {
            structures,
            device: name,
        };
        Some(Self {
            network: kind.network(members),
            address: FieldPath(kind.address(members)?),
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

    /// Whether it is known where any device keeps its address.
    pub(super) fn are_known(&self) -> bool {
        !self.layouts.is_empty()
    }

    /// `frames`: frame pointers of the device's methods. A device that is no socket is reported by its kind even if
    /// nothing else is known: it must not be mistaken for one.
    pub(super) fn read(
        &self,
        memory: &impl Memory,
        code: DeviceCode,
        stack: Stack<'_>,
        frames: [u64; 2],
    ) -> Option<Device> {
        let mut receivers = frames
            .into_iter()
            .filter_map(|frame| self.receiver(stack, frame));
        let found = receivers.find_map(|receiver| self.configured(memory, code, receiver));
        found.or_else(|| code.kind.unnamed())
    }

    fn receiver(&self, stack: Stack<'_>, frame: u64) -> Option<u64> {
        let from = if self.by_caller {
            stack.word(frame)?
        } else {
            frame
        };
        stack.word(from.checked_add(RECEIVER)?)
    }

    fn configured(&self, memory: &impl Memory, code: DeviceCode, receiver: u64) -> Option<Device> {
        let mut layouts = self.layouts.iter().filter(|(of, _)| *of == code);
        layouts.find_map(|(_, layout)| layout.read(memory, code.kind, receiver))
    }
}

impl DeviceLayout {
    fn read(&self, memory: &impl Memory, kind: DeviceKind, receiver: u64) -> Option<Device> {
        let address = self.address.read(memory, receiver)?;
        let network = match self.network {
            Some(at) => Some(string(memory, receiver.checked_add(at.into())?)?),
            None => None,
        };
        kind.device(network.as_deref(), &address)
    }
}

/// A pointer and a length (`reflect/value.go`, `stringHeader`).
pub(super) fn string(memory: &impl Memory, at: u64) -> Option<String> {
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

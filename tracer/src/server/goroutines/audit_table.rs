//! The audit devices that the server has, as its operator configured them: its audit table.
//!
//! `vault/core.go` keeps it as `audit *MountTable`, in every generation. A change makes another table (`vault/audit.go`,
//! `enableAudit`), so an address that is the same again is the same table.

use std::collections::BTreeMap;

use super::{
    device::string,
    device_kind,
    go_map::MapLayout,
    memory::{Memory, word},
    roles::Variable,
    stack::{Frame, Stack},
    variables::Variables,
};
use crate::server::go::dwarf::{Sections, local::Local};
use tracer_model::ConfiguredDevice;

/// Entries beyond which a table is rejected.
const MAX_ENTRIES: u64 = 256;

/// What the entries of the audit table, and of no other, say in `Table` (`vault/audit.go`); `OpenBao` has two words, for those
/// of its API and of its configuration.
const AUDIT: [&str; 2] = ["audit", "audit-config"];

/// Offset of a slice's length, bytes (`runtime/slice.go`).
const SLICE_LEN: u64 = 8;

/// Reads the table, if the compiler says where it lies.
#[derive(Debug, Default)]
pub(super) struct AuditTable(Option<TableLayout>);

/// Offsets in `vault.Core`, `MountTable` and `MountEntry`, bytes.
#[derive(Debug)]
struct TableLayout {
    table: u32,
    entries: u32,
    kind: u32,
    path: u32,
    name: u32,
    options: u32,
    map: MapLayout,
}

/// What is kept from one sample to the next.
#[derive(Debug, Default)]
pub(super) struct LastTable {
    core: Option<u64>,
    table: Option<u64>,
}

impl AuditTable {
    pub(super) fn new(debug: &Sections, variables: &Variables) -> Self {
        let mut cores = variables.of(|variable| variable == Variable::Core);
        Self(cores.find_map(|core| TableLayout::of(debug, core)))
    }

    /// Whether the stacks are still to be searched for where the server's own structure is.
    pub(super) fn is_sought(&self, last: &LastTable) -> bool {
        self.0.is_some() && last.core.is_none()
    }

    /// The devices, in the table's order, if they are not those of the last call, or `None` if they cannot be read.
    pub(super) fn news(
        &self,
        memory: &impl Memory,
        last: &mut LastTable,
    ) -> Option<Vec<ConfiguredDevice>> {
        let layout = self.0.as_ref()?;
        let core = last.core?;
        let table = memory.word(core.checked_add(layout.table.into())?).ok();
        let table = table.filter(|table| *table != 0)?;
        if last.table == Some(table) {
            return None;
        }
        let devices = layout.devices(memory, table);
        // What seemed to be the server's structure may have been something else.
        last.core = devices.is_some().then_some(core);
        last.table = devices.is_some().then_some(table);
        devices
    }
}

impl LastTable {
    /// Searches a stack for where the server's own structure is.
    pub(super) fn seek(&mut self, variables: &Variables, stack: Stack<'_>, frames: &[Frame]) {
        let mut read = frames
            .iter()
            .filter_map(|frame| variables.read(stack, *frame));
        let core = read.find(|(variable, at)| *variable == Variable::Core && *at != 0);
        self.core = core.map(|(_, core)| core).or(self.core);
    }
}

impl TableLayout {
    /// `core`: a variable that points to `vault.Core`.
    fn of(debug: &Sections, core: &Local) -> Option<Self> {
        let core = debug.structure(core.of()?)?;
        core.name.ends_with("/vault.Core").then_some(())?;
        let table = *core.members.get("audit")?;
        let entries = *debug.structure(table.of?)?.members.get("Entries")?;
        let slice = debug.structure(entries.of?)?;
        let entry = debug.structure(slice.members.get("array")?.of?)?;
        let member = |name| entry.members.get(name).map(|member| member.offset);
        let options = *entry.members.get("Options")?;
        Some(Self {
            table: table.offset,
            entries: entries.offset,
            kind: member("Table")?,
            path: member("Path")?,
            name: member("Type")?,
            options: options.offset,
            map: MapLayout::of(debug, options.of?)?,
        })
    }

    fn devices(&self, memory: &impl Memory, table: u64) -> Option<Vec<ConfiguredDevice>> {
        let slice = table.checked_add(self.entries.into())?;
        let len = memory.word(slice.checked_add(SLICE_LEN)?).ok()?;
        if len > MAX_ENTRIES {
            return None;
        }
        let mut pointers = vec![0; 8 * len as usize];
        memory.read(memory.word(slice).ok()?, &mut pointers).ok()?;
        let entries = pointers.chunks_exact(8).map(word);
        let mut devices = Vec::new();
        for entry in entries {
            devices.extend(self.device(memory, entry)?);
        }
        Some(devices)
    }

    /// `None` if that is no entry of the audit table; nothing if it is one of a device that is not known.
    fn device(
        &self,
        memory: &impl Memory,
        entry: u64,
    ) -> Option<std::option::IntoIter<ConfiguredDevice>> {
        let text = |offset: u32| string(memory, entry.checked_add(offset.into())?);
        AUDIT.contains(&text(self.kind)?.as_str()).then_some(())?;
        let (path, name) = (text(self.path)?, text(self.name)?);
        let options = memory.word(entry.checked_add(self.options.into())?).ok()?;
        let options = match options {
            0 => BTreeMap::new(),
            at => self.map.read(memory, at, &device_kind::OPTIONS)?,
        };
        let device = device_kind::configured(&name, &options);
        Some(
            device
                .map(|device| ConfiguredDevice {
                    path,
                    device,
                    takes_all: device_kind::takes_all(&options),
                })
                .into_iter(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io};

    use super::{super::go_map::GroupLayout, *};

    const CORE: u64 = 0x100;
    const TABLE: u64 = 0x200;

    /// Words by address.
    struct Words(HashMap<u64, u64>);

    impl Memory for Words {
        fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
            for (at, byte) in (address..).zip(into) {
                let word = self.0.get(&(at & !7)).ok_or(io::ErrorKind::InvalidData)?;
                *byte = word.to_le_bytes()[at as usize % 8];
            }
            Ok(())
        }
    }

    impl Words {
        fn text(&mut self, at: u64, text: &str) {
            let holder = 0x10_0000 + 0x100 * self.0.len() as u64;
            for (i, bytes) in text.as_bytes().chunks(8).enumerate() {
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                let word = u64::from_le_bytes(word);
                self.0.insert(holder + 8 * i as u64, word);
            }
            self.0.extend([(at, holder), (at + 8, text.len() as u64)]);
        }
    }

    fn layout() -> TableLayout {
        TableLayout {
            table: 8,
            entries: 16,
            kind: 0,
            path: 16,
            name: 32,
            options: 48,
            map: MapLayout::Groups {
                directory: 16,
                directory_len: 24,
                groups: 16,
                mask: 24,
                group: GroupLayout::TOGETHER,
            },
        }
    }

    /// A table with one entry, without options.
    fn memory(kind: &str) -> Words {
        let (pointers, entry) = (0x300, 0x400);
        let mut memory = Words(HashMap::from([
            (CORE + 8, TABLE),
            (TABLE + 16, pointers),
            (TABLE + 24, 1),
            (pointers, entry),
            (entry + 48, 0),
        ]));
        for (at, text) in [(0, kind), (16, "log/"), (32, "syslog")] {
            memory.text(entry + at, text);
        }
        memory
    }

    fn last() -> LastTable {
        LastTable {
            core: Some(CORE),
            table: None,
        }
    }

    #[test]
    fn the_devices_are_news_once() {
        let table = AuditTable(Some(layout()));
        for kind in AUDIT {
            let (mut memory, mut last) = (memory(kind), last());
            let news = table.news(&memory, &mut last).expect("readable");
            let [configured] = &news[..] else {
                panic!("{news:?}")
            };
            assert_eq!(
                (configured.path.as_str(), configured.device.to_string()),
                ("log/", "syslog".to_owned())
            );
            assert_eq!(table.news(&memory, &mut last), None);
            // A change makes another table.
            memory
                .0
                .extend([(CORE + 8, 0x600), (0x610, 0x700), (0x618, 0)]);
            assert_eq!(table.news(&memory, &mut last), Some(Vec::new()));
        }
    }

    #[test]
    fn what_is_no_audit_table_is_not_believed() {
        let table = AuditTable(Some(layout()));
        let mut state = last();
        assert_eq!(table.news(&memory("mounts"), &mut state), None);
        assert!(table.is_sought(&state), "the structure may be elsewhere");
        let mut huge = memory("audit");
        huge.0.insert(TABLE + 24, 1 << 50);
        assert_eq!(table.news(&huge, &mut last()), None);
        // A server that is sealed, or a standby, has none.
        let mut sealed = memory("audit");
        sealed.0.insert(CORE + 8, 0);
        assert_eq!(table.news(&sealed, &mut last()), None);
        assert_eq!(
            AuditTable::default().news(&memory("audit"), &mut last()),
            None
        );
    }
}

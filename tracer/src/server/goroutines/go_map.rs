//! A Go map from text to text: `map[string]string`.
//!
//! Since Go 1.24 it is a table of groups of eight slots, each group with a word of control bytes, or a single such group
//! (`internal/runtime/maps`). Before, it was an array of buckets of eight, each with a chain of further ones
//! (`runtime/map.go`). Nothing is hashed here: all entries are read.

use std::collections::BTreeMap;

use super::{
    device::string,
    memory::{Memory, word},
};
use crate::server::go::dwarf::{Sections, entry::TypeOffset};

/// Slots in a group or a bucket.
const SLOTS: u64 = 8;
/// Bytes of a string: a pointer and a length.
const STRING: u64 = 16;
/// Groups or buckets beyond which a map is rejected: the options of an audit device are a handful.
const MAX_GROUPS: u64 = 64;
/// The bit of a control byte that says that its slot is empty or deleted (`internal/runtime/maps/group.go`).
const CTRL_EMPTY: u8 = 0x80;
/// The least tag of a slot that is in use (`runtime/map.go`, `minTopHash`).
const MIN_TOP_HASH: u8 = 5;

/// Offsets, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MapLayout {
    /// Since Go 1.24.
    Groups {
        directory: u32,
        directory_len: u32,
        /// In a table, of the pointer to its groups.
        groups: u32,
        /// In a table, of the number of its groups less one.
        mask: u32,
        group: GroupLayout,
    },
    /// Before.
    Buckets {
        /// Of the logarithm of the number of buckets.
        log_len: u32,
        buckets: u32,
        old_buckets: u32,
    },
}

/// Where a group has its slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupLayout {
    pub(super) keys: u64,
    pub(super) values: u64,
    /// From one slot to the next.
    pub(super) stride: u64,
}

impl GroupLayout {
    /// Key beside value, behind the control bytes.
    pub(super) const TOGETHER: Self = Self {
        keys: SLOTS,
        values: SLOTS + STRING,
        stride: 2 * STRING,
    };

    /// All keys, then all values: of buckets, and of groups with `GOEXPERIMENT=mapsplitgroup`.
    pub(super) const APART: Self = Self {
        keys: SLOTS,
        values: SLOTS + SLOTS * STRING,
        stride: STRING,
    };

    const SIZE: u64 = SLOTS + 2 * SLOTS * STRING;
}

impl MapLayout {
    /// Of a map type whose keys and values are strings.
    pub(super) fn of(debug: &Sections, map: TypeOffset) -> Option<Self> {
        let map = debug.structure(map)?;
        let member = |name| map.members.get(name).map(|member| member.offset);
        if let Some(buckets) = member("buckets") {
            return Some(Self::Buckets {
                log_len: member("B")?,
                buckets,
                old_buckets: member("oldbuckets")?,
            });
        }
        let table = debug.structure(map.members.get("dirPtr")?.of?)?;
        let groups = *table.members.get("groups")?;
        let reference = debug.structure(groups.of?)?;
        let data = *reference.members.get("data")?;
        let group = debug.structure(data.of?)?;
        let is_together = group.members.contains_key("slots");
        let is_apart = group.members.contains_key("keys") || group.members.contains_key("elems");
        (is_together || is_apart).then_some(())?;
        Some(Self::Groups {
            directory: member("dirPtr")?,
            directory_len: member("dirLen")?,
            groups: groups.offset + data.offset,
            mask: groups.offset + reference.members.get("lengthMask")?.offset,
            group: if is_together {
                GroupLayout::TOGETHER
            } else {
                GroupLayout::APART
            },
        })
    }

    /// The values of these keys; `None` if it cannot be read, or is no such map.
    pub(super) fn read(
        self,
        memory: &impl Memory,
        map: u64,
        keys: &[&str],
    ) -> Option<BTreeMap<String, String>> {
        let mut found = BTreeMap::new();
        for (group, is_bucket) in self.groups(memory, map)? {
            let mut bytes = [0; GroupLayout::SIZE as usize];
            memory.read(group, &mut bytes).ok()?;
            let layout = match self {
                Self::Groups { group, .. } => group,
                Self::Buckets { .. } => GroupLayout::APART,
            };
            for slot in 0..SLOTS {
                let tag = bytes[slot as usize];
                let is_used = if is_bucket {
                    tag >= MIN_TOP_HASH
                } else {
                    tag & CTRL_EMPTY == 0
                };
                let at = |first: u64| Some(group.checked_add(first)? + slot * layout.stride);
                let key = is_used.then(|| string(memory, at(layout.keys)?)).flatten();
                if let Some(key) = key.filter(|key| keys.contains(&key.as_str())) {
                    // An empty text is as good as none.
                    let value = string(memory, at(layout.values)?);
                    found.extend(value.map(|value| (key, value)));
                }
            }
        }
        Some(found)
    }

    /// The address of each group or bucket, and which it is.
    fn groups(self, memory: &impl Memory, map: u64) -> Option<Vec<(u64, bool)>> {
        let field = |of: u64, offset: u32| memory.word(of.checked_add(offset.into())?).ok();
        match self {
            Self::Groups {
                directory,
                directory_len,
                groups,
                mask,
                ..
            } => {
                let (first, len) = (field(map, directory)?, field(map, directory_len)?);
                if len == 0 {
                    // A small map has one group and no directory, and none before something is put into it.
                    let group = (first != 0).then_some((first, false));
                    return Some(group.into_iter().collect());
                }
                (len <= MAX_GROUPS).then_some(())?;
                let mut tables = vec![0; 8 * len as usize];
                memory.read(first, &mut tables).ok()?;
                // Several places of the directory may lead to one table, side by side.
                let mut tables: Vec<_> = tables.chunks_exact(8).map(word).collect();
                tables.dedup();
                let mut all = Vec::new();
                for table in tables {
                    let (data, mask) = (field(table, groups)?, field(table, mask)?);
                    (mask < MAX_GROUPS).then_some(())?;
                    all.extend(
                        (0..=mask).map(|i| (data.wrapping_add(i * GroupLayout::SIZE), false)),
                    );
                }
                (all.len() as u64 <= MAX_GROUPS).then_some(all)
            }
            Self::Buckets {
                log_len,
                buckets,
                old_buckets,
            } => {
                let log_len = field(map, log_len)? as u8;
                // While it grows, some entries are still in the old buckets.
                let is_grown = field(map, old_buckets)? == 0;
                (is_grown && log_len <= 6).then_some(())?;
                let first = field(map, buckets)?;
                let mut all = Vec::new();
                for i in 0..1 << log_len {
                    let mut bucket = first.wrapping_add(i * (GroupLayout::SIZE + 8));
                    while bucket != 0 {
                        (all.len() < MAX_GROUPS as usize).then_some(())?;
                        all.push((bucket, true));
                        bucket = memory.word(bucket.checked_add(GroupLayout::SIZE)?).ok()?;
                    }
                }
                Some(all)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, io};

    use super::*;

    /// Bytes by address.
    #[derive(Default)]
    struct Bytes(HashMap<u64, u8>);

    impl Memory for Bytes {
        fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
            for (at, byte) in (address..).zip(into) {
                *byte = *self.0.get(&at).ok_or(io::ErrorKind::InvalidData)?;
            }
            Ok(())
        }
    }

    impl Bytes {
        fn put(&mut self, at: u64, bytes: &[u8]) {
            self.0.extend((at..).zip(bytes.iter().copied()));
        }

        fn words(&mut self, at: u64, words: &[u64]) {
            let bytes: Vec<_> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.put(at, &bytes);
        }

        /// A group or bucket at `at`, whose slots have these tags.
        fn slots(&mut self, at: u64, layout: GroupLayout, slots: &[(u8, &str, &str)]) {
            self.put(at, &[0; GroupLayout::SIZE as usize + 8]);
            for (i, (tag, key, value)) in slots.iter().enumerate() {
                let i = i as u64;
                self.put(at + i, &[*tag]);
                for (first, text) in [(layout.keys, key), (layout.values, value)] {
                    let holder = 0x10_0000 + self.0.len() as u64;
                    self.put(holder, text.as_bytes());
                    self.words(at + first + i * layout.stride, &[holder, text.len() as u64]);
                }
            }
        }
    }

    const MAP: u64 = 0x100;

    fn groups(group: GroupLayout) -> MapLayout {
        MapLayout::Groups {
            directory: 16,
            directory_len: 24,
            groups: 16,
            mask: 24,
            group,
        }
    }

    const BUCKETS: MapLayout = MapLayout::Buckets {
        log_len: 8,
        buckets: 16,
        old_buckets: 24,
    };

    fn read(layout: MapLayout, memory: &Bytes) -> Option<Vec<(String, String)>> {
        let found = layout.read(memory, MAP, &["address", "uri"])?;
        Some(found.into_iter().collect())
    }

    fn address() -> Vec<(String, String)> {
        vec![("address".to_owned(), "log:1515".to_owned())]
    }

    /// In a slot that is deleted lies what was there; `token` is nobody's business.
    const SLOTS_IN_USE: [(u8, &str, &str); 3] = [
        (0x33, "token", "secret"),
        (0xfe, "uri", "http://deleted"),
        (0x11, "address", "log:1515"),
    ];

    #[test]
    fn reads_a_small_map() {
        for group in [GroupLayout::TOGETHER, GroupLayout::APART] {
            let mut memory = Bytes::default();
            memory.words(MAP, &[2, 0, 0x1000, 0]);
            memory.slots(0x1000, group, &SLOTS_IN_USE);
            memory.put(0x1003, &[0x80; 5]);
            assert_eq!(read(groups(group), &memory), Some(address()));
        }
    }

    /// A syslog device is configured without options.
    #[test]
    fn reads_a_map_into_which_nothing_was_put() {
        let mut memory = Bytes::default();
        memory.words(MAP, &[0, 0, 0, 0]);
        let nothing = Some(BTreeMap::new());
        assert_eq!(read(groups(GroupLayout::TOGETHER), &memory), nothing);
        assert_eq!(read(BUCKETS, &memory), nothing);
    }

    #[test]
    fn reads_a_map_of_tables() {
        let mut memory = Bytes::default();
        memory.words(MAP, &[2, 0, 0x200, 4]);
        memory.words(0x200, &[0x300, 0x300, 0x400, 0x400]);
        memory.words(0x300, &[0, 0, 0x1000, 1]);
        memory.words(0x400, &[0, 0, 0x3000, 0]);
        let layout = GroupLayout::TOGETHER;
        for at in [0x3000, 0x1000, 0x1000 + GroupLayout::SIZE] {
            memory.slots(at, layout, &[]);
            memory.put(at, &[0x80; 8]);
        }
        memory.slots(0x1000 + GroupLayout::SIZE, layout, &SLOTS_IN_USE[2..]);
        memory.put(0x1001 + GroupLayout::SIZE, &[0x80; 7]);
        assert_eq!(read(groups(layout), &memory), Some(address()));
        memory.words(0x300, &[0, 0, 0x1000, 1 << 40]);
        assert_eq!(read(groups(layout), &memory), None, "no such map");
    }

    #[test]
    fn reads_a_map_of_buckets() {
        let mut memory = Bytes::default();
        memory.words(MAP, &[2, 1, 0x1000, 0]);
        memory.slots(0x1000, GroupLayout::APART, &[(1, "uri", "http://empty")]);
        let second = 0x1000 + GroupLayout::SIZE + 8;
        memory.slots(second, GroupLayout::APART, &[]);
        memory.words(second + GroupLayout::SIZE, &[0x5000]);
        memory.slots(0x5000, GroupLayout::APART, &SLOTS_IN_USE[2..]);
        assert_eq!(read(BUCKETS, &memory), Some(address()));
        memory.words(MAP + 24, &[0x7000]);
        assert_eq!(read(BUCKETS, &memory), None, "it grows");
        memory.words(MAP + 24, &[0]);
        memory.words(0x5000 + GroupLayout::SIZE, &[0x5000]);
        assert_eq!(read(BUCKETS, &memory), None, "a chain that has no end");
    }
}

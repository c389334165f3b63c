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
                let is_used = match is_bucket {
                    true => tag >= MIN_TOP_HASH,
                    false => tag & CTRL_EMPTY == 0,
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
                    // A small map has one group and no directory.
                    return Some(vec![(first, false)]);
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

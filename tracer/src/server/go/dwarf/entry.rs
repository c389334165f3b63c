//! Debugging information entries.

use std::{borrow::Cow, collections::HashMap};

use gimli::{
    Attribute, AttributeValue, DebugAddrBase, DebugInfoOffset, DebugLocListsBase, DwTag,
    EntriesRaw, Expression,
};

use super::DwarfSlice;

/// Where a type is described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TypeOffset(pub(super) DebugInfoOffset);

/// A member of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StructMember {
    /// Bytes.
    pub(crate) offset: u32,
    pub(crate) of: Option<TypeOffset>,
}

/// By their names.
pub(crate) type Members = HashMap<String, StructMember>;

/// Reads the members of the structure at this depth, whose first one comes next.
pub(super) fn members(
    entries: &mut EntriesRaw<'_, DwarfSlice<'_>>,
    depth: isize,
) -> gimli::Result<Members> {
    let mut members = Members::new();
    while !entries.is_empty() && entries.next_depth() > depth {
        let Some(entry) = DebugEntry::read(entries)? else {
            continue;
        };
        if let Some((name, offset)) = entry.name.zip(entry.member) {
            let name = name.to_string_lossy().into_owned();
            members.insert(
                name,
                StructMember {
                    offset,
                    of: entry.of,
                },
            );
        }
    }
    Ok(members)
}

/// The attributes that are needed.
#[derive(Default)]
pub(super) struct DebugEntry<'a> {
    pub(super) tag: Option<DwTag>,
    pub(super) name: Option<DwarfSlice<'a>>,
    pub(super) of: Option<TypeOffset>,
    /// Of a member: its offset, bytes.
    pub(super) member: Option<u32>,
    pub(super) low: Option<AttributeValue<DwarfSlice<'a>>>,
    pub(super) high: Option<AttributeValue<DwarfSlice<'a>>>,
    pub(super) location: Option<AttributeValue<DwarfSlice<'a>>>,
    pub(super) frame: Option<Expression<DwarfSlice<'a>>>,
    pub(super) addresses: Option<DebugAddrBase<usize>>,
    pub(super) lists: Option<DebugLocListsBase<usize>>,
}

impl<'a> DebugEntry<'a> {
    /// `None` for the mark behind the last entry of several siblings.
    pub(super) fn read(
        entries: &mut EntriesRaw<'_, DwarfSlice<'a>>,
    ) -> gimli::Result<Option<Self>> {
        let Some(abbreviation) = entries.read_abbreviation()? else {
            return Ok(None);
        };
        let mut entry = DebugEntry {
            tag: Some(abbreviation.tag()),
            ..DebugEntry::default()
        };
        for attribute in abbreviation.attributes() {
            entry.take(&entries.read_attribute(*attribute)?);
        }
        Ok(Some(entry))
    }

    fn take(&mut self, attribute: &Attribute<DwarfSlice<'a>>) {
        let value = attribute.value();
        match (attribute.name(), value) {
            (gimli::DW_AT_name, AttributeValue::String(name)) => self.name = Some(name),
            (gimli::DW_AT_type, AttributeValue::DebugInfoRef(at)) => self.of = Some(TypeOffset(at)),
            (gimli::DW_AT_data_member_location, value) => {
                self.member = value.udata_value().and_then(|at| at.try_into().ok());
            }
            (gimli::DW_AT_low_pc, value) => self.low = Some(value),
            (gimli::DW_AT_high_pc, value) => self.high = Some(value),
            (gimli::DW_AT_location, value) => self.location = Some(value),
            (gimli::DW_AT_frame_base, value) => self.frame = value.exprloc_value(),
            (gimli::DW_AT_addr_base, AttributeValue::DebugAddrBase(base)) => {
                self.addresses = Some(base);
            }
            (gimli::DW_AT_loclists_base, AttributeValue::DebugLocListsBase(base)) => {
                self.lists = Some(base);
            }
            _ => {}
        }
    }

    pub(super) fn name(&self) -> Cow<'a, str> {
        self.name
            .map_or(Cow::Borrowed(""), |name| name.to_string_lossy())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.is_some_and(|own| own.slice() == name.as_bytes())
    }

    pub(super) fn is_local(&self) -> bool {
        let locals = [gimli::DW_TAG_formal_parameter, gimli::DW_TAG_variable];
        self.tag.is_some_and(|tag| locals.contains(&tag))
    }

    /// Whether its frame base is the canonical frame address, as in all functions of Go.
    pub(super) fn is_framed(&self) -> bool {
        let frame = self.frame.map(|frame| frame.0.slice());
        frame == Some(&[gimli::DW_OP_call_frame_cfa.0])
    }
}

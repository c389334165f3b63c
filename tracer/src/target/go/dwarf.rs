//! The layout of `runtime.g` from the executable's own debugging information.

use std::borrow::Cow;

use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, LittleEndian};
use object::{Object, ObjectSection, ReadRef};

use super::GoLayout;

type Slice<'a> = EndianSlice<'a, LittleEndian>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
type Unit<'a> = gimli::Unit<Slice<'a>>;

/// `None` where the executable was stripped of it, or it says nothing of `runtime.g`.
pub fn layout<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> Option<GoLayout> {
    let sections = gimli::DwarfSections::load(|id| section(file, id.name())).ok()?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    in_units(&dwarf)
}

/// What names and shapes of types need; line tables and locations are most of the rest.
fn section<'a, R: ReadRef<'a>>(
    file: &object::File<'a, R>,
    name: &str,
) -> Result<Cow<'a, [u8]>, gimli::Error> {
    const NEEDED: [&str; 5] = [
        ".debug_info",
        ".debug_abbrev",
        ".debug_str",
        ".debug_line_str",
        ".debug_str_offsets",
    ];
    if !NEEDED.contains(&name) {
        return Ok(Cow::Borrowed(&[]));
    }
    let section = file.section_by_name(name);
    let data = section.and_then(|section| section.uncompressed_data().ok());
    Ok(data.unwrap_or_default())
}

fn in_units(dwarf: &Dwarf<'_>) -> Option<GoLayout> {
    let mut headers = dwarf.units();
    while let Ok(Some(header)) = headers.next() {
        let Ok(unit) = dwarf.unit(header) else {
            continue;
        };
        if name_is(dwarf, &unit, unit_name(&unit), "runtime")
            && let Some(layout) = in_unit(dwarf, &unit)
        {
            return Some(layout);
        }
    }
    None
}

fn unit_name<'a>(unit: &Unit<'a>) -> Option<AttributeValue<Slice<'a>>> {
    let mut entries = unit.entries();
    let root = entries.next_dfs().ok()??;
    root.attr_value(gimli::DW_AT_name)
}

fn name_is(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    name: Option<AttributeValue<Slice<'_>>>,
    wanted: &str,
) -> bool {
    name.and_then(|name| dwarf.attr_string(unit, name).ok())
        .is_some_and(|name| name.slice() == wanted.as_bytes())
}

fn in_unit(dwarf: &Dwarf<'_>, unit: &Unit<'_>) -> Option<GoLayout> {
    let mut entries = unit.entries();
    while let Ok(Some(entry)) = entries.next_dfs() {
        let is_g = entry.tag() == gimli::DW_TAG_structure_type
            && name_is(
                dwarf,
                unit,
                entry.attr_value(gimli::DW_AT_name),
                "runtime.g",
            );
        if is_g {
            let offset = entry.offset();
            return members(dwarf, unit, offset);
        }
    }
    None
}

fn members(dwarf: &Dwarf<'_>, unit: &Unit<'_>, structure: gimli::UnitOffset) -> Option<GoLayout> {
    let mut tree = unit.entries_tree(Some(structure)).ok()?;
    let mut children = tree.root().ok()?.children();
    let (mut goid, mut parent_goid) = (None, None);
    while let Ok(Some(child)) = children.next() {
        let member = child.entry();
        let name = || member.attr_value(gimli::DW_AT_name);
        if name_is(dwarf, unit, name(), "goid") {
            goid = location(member);
        } else if name_is(dwarf, unit, name(), "parentGoid") {
            parent_goid = location(member);
        }
    }
    Some(GoLayout {
        goid: goid?,
        parent_goid,
    })
}

fn location(member: &DebuggingInformationEntry<Slice<'_>>) -> Option<u32> {
    let location = member.attr_value(gimli::DW_AT_data_member_location)?;
    u32::try_from(location.udata_value()?).ok()
}

//! On expressions as the compiler writes them, and on an excerpt of a program, whole and damaged.

use proptest::prelude::*;

use super::{super::units::UnitBytes, *};

const LEN: Option<u64> = Some(8);

fn word(pieces: &[(Option<i64>, Option<u64>)], word: usize, of: usize) -> Option<i64> {
    let pieces = pieces
        .iter()
        .map(|(at, len)| LocationPiece { at: *at, len: *len });
    let mut local = Local::in_frame(0x100..0x200, 0);
    local.locations[0].pieces = pieces.collect();
    local.word(0x150, word, of)
}

#[test]
fn a_word_lies_in_its_piece() {
    assert_eq!(word(&[(Some(24), None)], 0, 1), Some(24));
    assert_eq!(word(&[(Some(24), None)], 1, 2), Some(32));
    let two = [(Some(-96), LEN), (Some(16), LEN)];
    assert_eq!((word(&two, 0, 2), word(&two, 1, 2)), (Some(-96), Some(16)));
}

#[test]
fn each_word_may_be_described_twice() {
    let twice = [
        (Some(-144), LEN),
        (Some(-144), LEN),
        (Some(16), LEN),
        (Some(16), LEN),
    ];
    assert_eq!(
        (word(&twice, 0, 2), word(&twice, 1, 2)),
        (Some(-144), Some(16))
    );
}

#[test]
fn an_inconsistent_location_is_none() {
    let at = (Some(8), LEN);
    for pieces in [
        &[][..],
        &[(None, None)],
        &[(None, LEN), (None, LEN)],
        &[at],
        &[at, at, at],
        &[at, (Some(16), LEN), (Some(24), LEN), (Some(32), LEN)],
        &[(Some(8), Some(4)), (Some(12), Some(12))],
    ] {
        assert_eq!(word(pieces, 1, 2), None, "{pieces:?}");
    }
    assert_eq!(Local::in_frame(0x100..0x200, 0).word(0x201, 0, 1), None);
}

#[test]
fn a_word_that_a_call_destroys_lies_where_it_is_after_it() {
    let mut local = Local::in_frame(0x100..0x200, 24);
    let mut before = local.locations[0].clone();
    local.locations[0].code = 0x150..0x200;
    before.code = 0x100..0x150;
    before.pieces[0].at = None;
    local.locations.insert(0, before);
    assert_eq!(local.word(0x150, 0, 1), Some(24));
    assert_eq!(local.word(0x14f, 0, 1), None);
}

#[test]
fn a_program_may_be_loaded_elsewhere() {
    let moved = Local::in_frame(0x100..0x200, 24).moved(0x1000);
    assert_eq!(moved.code, 0x1100..0x1200);
    assert_eq!(
        (moved.word(0x1150, 0, 1), moved.word(0x150, 0, 1)),
        (Some(24), None)
    );
}

fn pieces_of(expression: &[u8]) -> Option<Vec<LocationPiece>> {
    let encoding = Encoding {
        address_size: 8,
        format: gimli::Format::Dwarf32,
        version: 5,
    };
    pieces(
        Expression(DwarfSlice::new(expression, LittleEndian)),
        encoding,
    )
}

#[test]
fn reads_the_expressions_that_the_compiler_writes() {
    let whole = |at| Some(vec![LocationPiece { at, len: None }]);
    assert_eq!(pieces_of(&[0x9c]), whole(Some(0))); // DW_OP_call_frame_cfa
    assert_eq!(pieces_of(&[0x91, 24]), whole(Some(24))); // DW_OP_fbreg
    assert_eq!(pieces_of(&[0x55]), whole(None)); // DW_OP_reg5
    let piece = |at| LocationPiece { at, len: LEN };
    let two = pieces_of(&[0x53, 0x93, 8, 0x91, 16, 0x93, 8]); // DW_OP_piece
    assert_eq!(two, Some(vec![piece(None), piece(Some(16))]));
    // Half of it is nowhere.
    let half = pieces_of(&[0x91, 8, 0x93, 8, 0x93, 8]);
    assert_eq!(half, Some(vec![piece(Some(8)), piece(None)]));
    assert_eq!(pieces_of(&[0x91, 8, 0x06]), None); // DW_OP_deref
    assert_eq!(pieces_of(&[0x91]), None);
}

fn uncompressed(name: &str) -> Vec<u8> {
    let bytes = &include_bytes!("../../../testdata/go1.27.3-amd64-parameters.elf")[..];
    let executable = Executable::of(&bytes).expect("an ELF file");
    let section = executable.section(name).expect("readable");
    section.expect("in the sample")
}

/// Reads the sample, damaged or not.
fn found(info: &[u8], abbrev: &[u8], lists: &[u8]) -> Option<(Vec<Local>, Option<Structure>)> {
    let sections = Sections {
        units: UnitBytes::read_wanted(info, info.len() as u64, abbrev, |_| true).ok()?,
        abbrev: abbrev.into(),
    };
    let addresses = uncompressed(".debug_addr");
    let addresses = DebugAddr::from(DwarfSlice::new(&addresses, LittleEndian));
    let wanted = |name: &str| name.ends_with("LogRequest").then_some("in");
    let found = sections.in_packages(&addresses, |name| name.ends_with("/audit"), wanted);
    let mut found = found.ok()?;
    let mut in_order: Vec<_> = found.iter_mut().collect();
    in_order.sort_by_key(|found| found.list);
    lists::read(lists, &mut in_order, &addresses).ok()?;
    let found: Vec<_> = found.into_iter().map(|found| found.local).collect();
    let of = found.first().and_then(Local::of);
    let structure = of.and_then(|of| sections.structure(of));
    Some((found, structure))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_survived(which in 0..3_usize, part in 0.0..1.0_f64, byte in any::<u8>()) {
        let names = [".debug_info", ".debug_abbrev", ".debug_loclists"];
        let mut all = names.map(uncompressed);
        // Most of it is zero.
        let used = all[which].iter().enumerate().filter(|(_, byte)| **byte != 0);
        let used: Vec<_> = used.map(|(at, _)| at).collect();
        let at = used[(part * used.len() as f64) as usize];
        let [info, abbrev, lists] = &all;
        let whole = found(info, abbrev, lists).expect("readable");
        prop_assert!(whole.1.is_some_and(|of| of.members.contains_key("Request")));
        all[which][at] = byte;
        let [info, abbrev, lists] = &all;
        let _ = found(info, abbrev, lists);
        let _ = found(&info[..at.min(info.len())], abbrev, lists);
    }
}

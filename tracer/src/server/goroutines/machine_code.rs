//! The address of a variable in a stripped program, from the machine code of a function that uses it.

use std::collections::BTreeSet;

use object::Architecture;

/// Where the slice lies that this function appends to: it alone is used with all three of its words,
/// pointer, length and capacity. `at`: the address of the code. `None` unless there is exactly one.
pub(super) fn slice(machine: Architecture, code: &[u8], at: u64) -> Option<u64> {
    let used: BTreeSet<u64> = match machine {
        Architecture::X86_64 => amd64(code, at).collect(),
        Architecture::Aarch64 => arm64(code, at),
        _ => return None,
    };
    let is_slice =
        |at: &&u64| used.contains(&at.wrapping_add(8)) && used.contains(&at.wrapping_add(16));
    let mut slices = used.iter().filter(is_slice);
    slices.next().filter(|_| slices.next().is_none()).copied()
}

/// Words that are loaded or stored relative to the instruction pointer: `mov` with REX.W, whose
/// displacement counts from its end. Tried at each byte: where instructions begin is not known, and
/// what is no instruction makes no three words in a row.
fn amd64(code: &[u8], at: u64) -> impl Iterator<Item = u64> {
    const LEN: usize = 7;
    let code = code.windows(LEN).enumerate();
    code.filter_map(move |(i, instruction)| {
        let [rex, opcode, modrm, displacement @ ..] = instruction else {
            return None;
        };
        let is_move = rex & 0xf8 == 0x48 && matches!(opcode, 0x89 | 0x8b) && modrm & 0xc7 == 5;
        let displacement = i32::from_le_bytes(*displacement.first_chunk()?);
        let end = at.wrapping_add((i + LEN) as u64);
        is_move.then(|| end.wrapping_add_signed(displacement.into()))
    })
}

/// Words that are loaded or stored at an offset from a page, which an `adrp` before put into a
/// register.
fn arm64(code: &[u8], at: u64) -> BTreeSet<u64> {
    let (mut pages, mut used) = ([None; 32], BTreeSet::new());
    let (instructions, _) = code.as_chunks::<4>();
    for (i, instruction) in instructions.iter().enumerate() {
        let instruction = u32::from_le_bytes(*instruction);
        let register = |shift: u32| (instruction >> shift & 31) as usize;
        if instruction & 0x9f00_0000 == 0x9000_0000 {
            pages[register(0)] = Some(adrp(instruction, at.wrapping_add(4 * i as u64)));
        } else if instruction & 0xff80_0000 == 0xf900_0000 {
            let offset = u64::from(instruction >> 10 & 0xfff) * 8;
            used.extend(pages[register(5)].map(|page: u64| page.wrapping_add(offset)));
        }
    }
    used
}

/// The page that an `adrp` at this address means.
fn adrp(instruction: u32, at: u64) -> u64 {
    let pages = (instruction >> 5 & 0x7_ffff) << 2 | instruction >> 29 & 3;
    // 21 bits, the highest of which is the sign.
    let pages = (pages << 11).cast_signed() >> 11;
    (at & !0xfff).wrapping_add_signed(i64::from(pages) << 12)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `mov` between rcx and the word at this distance from the instruction's end.
    fn mov(opcode: u8, displacement: i32) -> Vec<u8> {
        let mut code = vec![0x48, opcode, 0x0d];
        code.extend(displacement.to_le_bytes());
        code
    }

    #[test]
    fn finds_the_slice_in_amd64_code() {
        let code = [
            mov(0x8b, 0x110),
            mov(0x8b, 0x101),
            mov(0x89, 0xf2),
            mov(0x8b, 0x500),
        ];
        let found = |code: &[Vec<u8>]| slice(Architecture::X86_64, &code.concat(), 0x1000);
        assert_eq!(found(&code), Some(0x1000 + 21 + 0xf2));
        assert_eq!(found(&code[..2]), None);
        let other = [mov(0x8b, 0x800), mov(0x8b, 0x801), mov(0x8b, 0x802)];
        assert_eq!(found(&[&code[..], &other].concat()), None, "which of them?");
    }

    /// What objdump says of `runtime.allgadd` of Go 1.27.3 for arm64, in part: its `runtime.allgs` is at
    /// 0x21bba0.
    #[test]
    fn finds_the_slice_in_arm64_code() {
        let adrp = |at: u64, page: u64| {
            let pages = ((page >> 12).wrapping_sub(at >> 12)) as u32;
            0x9000_0000 | ((pages & 3) << 29) | (((pages >> 2) & 0x7_ffff) << 5) | 0x1b
        };
        let ldr = |offset: u32| 0xf940_0000 | ((offset / 8) << 10) | (0x1b << 5);
        let str = |offset: u32| 0xf900_0000 | ((offset / 8) << 10) | (0x1b << 5);
        for (at, page) in [(0x5_0000, 0x21_b000), (0x21_b000, 0x5_0000)] {
            let code = [
                adrp(at, page),
                ldr(0xba0),
                ldr(0xba8),
                str(0xbb0),
                ldr(0x10),
            ];
            let code = code.map(u32::to_le_bytes).concat();
            assert_eq!(slice(Architecture::Aarch64, &code, at), Some(page + 0xba0));
        }
    }

    proptest! {
        #[test]
        fn any_code_is_survived(code in prop::collection::vec(any::<u8>(), 0..99), at in any::<u64>()) {
            for machine in [Architecture::X86_64, Architecture::Aarch64, Architecture::Riscv64] {
                let _ = slice(machine, &code, at);
            }
        }
    }
}

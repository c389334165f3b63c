//! Where the server's goroutines wait in the code of audit devices. A goroutine that waits for the
//! device's lock or for a name makes no system call that would show it; its stack does. It is read
//! from outside, without a probe and without stopping the server, so any of it may be torn: a
//! goroutine that makes no sense is passed over.

mod memory;
mod symbols;

use std::{fs::File, io};

use anyhow::{Context, Result};
use object::{Architecture, Object, ReadCache, ReadRef};

use self::{
    memory::{Memory, ProcessMemory, word},
    symbols::{Role, Symbols},
};
use super::go::dwarf;
use crate::core::parked::{Parked, Place};

/// `_Gwaiting` (`runtime/runtime2.go`); the garbage collector sets `_Gscan` beside it.
const WAITING: u32 = 4;
const SCAN: u32 = 0x1000;

/// Goroutines looked at. A server that has more is left alone.
const GOROUTINES: usize = 100_000;

/// Frames followed of one stack.
const FRAMES: usize = 100;

/// Bytes read of one stack, from its top. A handler of Vault has some 12 kB.
const STACK: usize = 64 << 10;

/// Reads goroutines of one process.
#[derive(Debug)]
pub struct Stacks {
    pid: i32,
    symbols: Symbols,
    layout: Layout,
}

/// Byte offsets in `runtime.g` and `runtime.gobuf`.
#[derive(Clone, Copy, Debug)]
struct Layout {
    goid: usize,
    status: usize,
    sp: usize,
    bp: usize,
    pc: usize,
}

/// `g.stack.hi`: the first field of a `g` is its stack, and its offset is part of Go's own ABI.
const STACK_HI: usize = 8;

impl Stacks {
    /// From the executable of this process; fails if it does not say enough about itself.
    pub fn of(pid: i32) -> Result<Self> {
        let file =
            File::open(format!("/proc/{pid}/exe")).context("its executable is unreadable")?;
        let cache = ReadCache::new(&file);
        let elf = object::File::parse(&cache).context("its executable is no ELF file")?;
        anyhow::ensure!(
            elf.architecture() == Architecture::X86_64,
            "stacks are only read on x86-64 so far"
        );
        Ok(Self {
            pid,
            symbols: Symbols::read(&elf, pid)?,
            layout: Layout::read(&elf)?,
        })
    }

    /// Goroutines that wait in the code of an audit device.
    pub fn parked(&self) -> io::Result<Vec<Parked>> {
        self.parked_in(&ProcessMemory(self.pid))
    }

    fn parked_in(&self, memory: &impl Memory) -> io::Result<Vec<Parked>> {
        let header = memory.read(self.symbols.all_goroutines, 16)?;
        let (array, len) = (word(&header, 0), word(&header, 8));
        let len = usize::try_from(len.unwrap_or(0)).unwrap_or(usize::MAX);
        if len > GOROUTINES {
            return Err(io::Error::other(format!("{len} goroutines are too many")));
        }
        let pointers = memory.read(array.unwrap_or(0), len * 8)?;
        let addresses = (0..len).filter_map(|index| word(&pointers, index * 8));
        Ok(addresses.filter_map(|g| self.look(memory, g)).collect())
    }

    fn look(&self, memory: &impl Memory, address: u64) -> Option<Parked> {
        let layout = &self.layout;
        let g = memory.read(address, layout.size()).ok()?;
        let status = word(&g, layout.status)? as u32 & !SCAN;
        if status != WAITING {
            return None;
        }
        let (sp, hi) = (word(&g, layout.sp)?, word(&g, STACK_HI)?);
        let size = usize::try_from(hi.checked_sub(sp)?).ok()?.min(STACK);
        let stack = Stack {
            bytes: memory.read(sp, size).ok()?,
            base: sp,
        };
        let roles = stack
            .returns(word(&g, layout.bp)?)
            .filter_map(|pc| self.symbols.role(pc));
        Some(Parked {
            goid: word(&g, layout.goid)?,
            place: place(roles)?,
        })
    }
}

/// What is waited for, from the innermost frame outwards; `None` if no audit device is behind it.
fn place(roles: impl Iterator<Item = Role>) -> Option<Place> {
    let mut waits_for = None;
    for role in roles {
        match role {
            Role::AuditDevice => return Some(waits_for.unwrap_or(Place::Other)),
            Role::Waits(place) => {
                waits_for.get_or_insert(place);
            }
        }
    }
    None
}

/// The part of a stack that is in use.
struct Stack {
    bytes: Vec<u8>,
    base: u64,
}

impl Stack {
    /// Return addresses along the frame pointers (`cmd/compile/abi-internal.md`): at `bp` lies the
    /// caller's `bp`, above it the return address. Callers lie above, so this comes to an end.
    fn returns(&self, bp: u64) -> impl Iterator<Item = u64> {
        let mut next = Some(bp);
        let frames = std::iter::from_fn(move || {
            let bp = next?;
            let at = usize::try_from(bp.checked_sub(self.base)?).ok()?;
            let caller = word(&self.bytes, at)?;
            next = (caller > bp).then_some(caller);
            word(&self.bytes, at.checked_add(8)?)
        });
        frames.take(FRAMES)
    }
}

impl Layout {
    fn read<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>) -> Result<Self> {
        let g = fields(elf, "runtime.g", &["goid", "atomicstatus", "sched"])?;
        let gobuf = fields(elf, "runtime.gobuf", &["sp", "pc", "bp"])?;
        Ok(Self {
            goid: g[0],
            status: g[1],
            sp: g[2] + gobuf[0],
            pc: g[2] + gobuf[1],
            bp: g[2] + gobuf[2],
        })
    }

    /// How much of a `g` is needed, bytes.
    fn size(&self) -> usize {
        let last = [self.goid, self.status, self.sp, self.bp, self.pc];
        last.into_iter().max().unwrap_or(0) + 8
    }
}

fn fields<'a, R: ReadRef<'a>>(
    elf: &object::File<'a, R>,
    structure: &str,
    members: &[&str],
) -> Result<Vec<usize>> {
    let offsets = dwarf::fields(elf, structure, members)?;
    let offsets = offsets.context("it was stripped of its debugging information")?;
    offsets
        .into_iter()
        .zip(members)
        .map(|(offset, member)| {
            let offset = offset.with_context(|| format!("{structure} has no {member}"))?;
            Ok(offset as usize)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Made(HashMap<u64, Vec<u8>>);

    impl Memory for Made {
        fn read(&self, address: u64, len: usize) -> io::Result<Vec<u8>> {
            let bytes = self.0.get(&address).ok_or(io::ErrorKind::NotFound)?;
            bytes
                .get(..len)
                .map(<[u8]>::to_vec)
                .ok_or(io::ErrorKind::UnexpectedEof.into())
        }
    }

    const LAYOUT: Layout = Layout {
        goid: 40,
        status: 32,
        sp: 16,
        bp: 24,
        pc: 48,
    };

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn stacks() -> Stacks {
        let waits = |place| Role::Waits(place);
        Stacks {
            pid: 0,
            layout: LAYOUT,
            symbols: Symbols::made(
                1000,
                vec![
                    (0x100, 0x10, waits(Place::Lock)),
                    (0x200, 0x10, waits(Place::Resolve)),
                    (0x300, 0x10, Role::AuditDevice),
                ],
            ),
        }
    }

    /// One goroutine whose frames return to these addresses.
    fn memory(status: u64, returns: &[u64]) -> Made {
        let sp = 0x5000;
        let mut stack = Vec::new();
        for (frame, pc) in (1..).zip(returns) {
            stack.extend([sp + frame * 16, *pc]);
        }
        let hi = sp + stack.len() as u64 * 8;
        let mut made = Made::default();
        made.0.insert(1000, words(&[2000, 1, 1]));
        made.0.insert(2000, words(&[3000]));
        made.0.insert(3000, words(&[0, hi, sp, sp, status, 77, 0]));
        made.0.insert(sp, words(&stack));
        made
    }

    fn found(status: u64, returns: &[u64]) -> Vec<Parked> {
        stacks()
            .parked_in(&memory(status, returns))
            .expect("readable")
    }

    #[test]
    fn tells_what_a_goroutine_waits_for_in_an_audit_device() {
        let parked = |place| [Parked { goid: 77, place }];
        assert_eq!(found(4, &[0x900, 0x104, 0x305, 0x900]), parked(Place::Lock));
        assert_eq!(found(0x1004, &[0x20f, 0x30f]), parked(Place::Resolve));
        assert_eq!(found(4, &[0x900, 0x300]), parked(Place::Other));
    }

    #[test]
    fn others_are_passed_over() {
        assert!(found(4, &[0x104, 0x900]).is_empty(), "another lock");
        assert!(found(2, &[0x104, 0x305]).is_empty(), "running");
        assert!(found(4, &[]).is_empty(), "no stack");
    }

    proptest! {
        #[test]
        fn torn_memory_is_survived(bytes in proptest::collection::vec(any::<u64>(), 0..24)) {
            let mut made = memory(4, &[0x104, 0x305]);
            made.0.insert(0x5000, words(&bytes));
            let _ = stacks().parked_in(&made);
            made.0.insert(3000, words(&bytes));
            let _ = stacks().parked_in(&made);
        }
    }
}

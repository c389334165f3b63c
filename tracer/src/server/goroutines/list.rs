//! All goroutines: their addresses, and which started which.

use std::{cell::OnceCell, collections::HashMap, io, iter};

use super::{
    goroutine::Goroutine,
    memory::{Memory, word},
};

/// Most goroutines that are read. Go never shortens the list.
const MAX_GOROUTINES: u64 = 100_000;
/// Most ancestors of one goroutine that are reported: a sink's request is two up, its connection three.
pub(super) const MAX_ANCESTORS: usize = 6;

/// Their addresses, in order: `runtime.allgs`, a slice of pointers. Go only ever adds to it
/// (`runtime/proc.go`, `allgadd`), so it need not be read again while it is as long as it was.
#[derive(Debug, Default)]
pub(super) struct GoroutineList {
    /// The slice's pointer and length, if they were the same before and after it was read.
    of: Option<(u64, u64)>,
    addresses: Vec<u64>,
}

impl GoroutineList {
    /// `at`: the address of the slice.
    pub(super) fn read(&mut self, memory: &impl Memory, at: u64) -> io::Result<&[u64]> {
        let slice = slice(memory, at)?;
        if self.of != Some(slice) {
            self.of = None;
            let (pointers, len) = slice;
            let mut bytes = vec![0; len.min(MAX_GOROUTINES) as usize * 8];
            memory.read(pointers, &mut bytes)?;
            self.addresses = bytes.chunks_exact(8).map(word).collect();
            self.addresses.sort_unstable();
            self.addresses.dedup();
            self.of = (self::slice(memory, at)? == slice).then_some(slice);
        }
        Ok(&self.addresses)
    }
}

fn slice(memory: &impl Memory, at: u64) -> io::Result<(u64, u64)> {
    let mut header = [0; 16];
    memory.read(at, &mut header)?;
    Ok((word(&header), word(&header[8..])))
}

/// Which goroutine started each that is alive. Made when it is first used: while no goroutine is in a device's code
/// none is looked up.
pub(super) struct Parents<'a> {
    all: &'a [Goroutine],
    by_id: OnceCell<HashMap<u64, Option<u64>>>,
}

impl<'a> Parents<'a> {
    pub(super) fn new(all: &'a [Goroutine]) -> Self {
        let by_id = OnceCell::new();
        Self { all, by_id }
    }

    fn by_id(&self) -> &HashMap<u64, Option<u64>> {
        let ids = || self.all.iter().map(|g| (g.goid, g.parent)).collect();
        self.by_id.get_or_init(ids)
    }

    pub(super) fn is_alive(&self, goid: u64) -> bool {
        self.by_id().contains_key(&goid)
    }

    /// `None` if it has ended, or what started it is unknown.
    pub(super) fn of(&self, goid: u64) -> Option<u64> {
        *self.by_id().get(&goid)?
    }

    /// A goroutine, the one that started it and so on, as far as they are alive. What is read may be torn: it is
    /// bounded even where it leads back.
    pub(super) fn lineage(&self, from: Option<u64>) -> impl Iterator<Item = u64> {
        let lineage = iter::successors(from, |goid| self.of(*goid));
        lineage.take_while(|goid| *goid != 0).take(MAX_ANCESTORS)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const LIST: u64 = 0x100;
    const POINTERS: u64 = 0x200;

    /// Words by address, and the addresses that were read.
    #[derive(Default)]
    struct Words(HashMap<u64, u64>, RefCell<Vec<u64>>);

    impl Words {
        fn of(pointers: &[u64]) -> Self {
            let mut words = Self::default();
            words
                .0
                .extend([(LIST, POINTERS), (LIST + 8, pointers.len() as u64)]);
            let pointers = pointers.iter().enumerate();
            words
                .0
                .extend(pointers.map(|(i, to)| (POINTERS + 8 * i as u64, *to)));
            words
        }

        fn was_read(&self) -> bool {
            self.1.take().contains(&POINTERS)
        }
    }

    impl Memory for Words {
        fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
            self.1.borrow_mut().push(address);
            for (i, bytes) in into.chunks_exact_mut(8).enumerate() {
                let word = self.0.get(&(address + 8 * i as u64));
                let word = word.ok_or(io::ErrorKind::InvalidData)?;
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            Ok(())
        }
    }

    #[test]
    fn the_list_is_read_again_when_it_has_grown() {
        let mut list = GoroutineList::default();
        let words = Words::of(&[0x3000, 0x1000, 0x1000]);
        assert_eq!(list.read(&words, LIST).expect("a list"), [0x1000, 0x3000]);
        assert!(words.was_read());
        assert_eq!(list.read(&words, LIST).expect("a list"), [0x1000, 0x3000]);
        assert!(!words.was_read(), "it has not changed");
        let words = Words::of(&[0x3000, 0x1000, 0x1000, 0x2000]);
        assert_eq!(list.read(&words, LIST).expect("a list").len(), 3);
        assert!(words.was_read());
        list.read(&Words::default(), LIST).expect_err("gone");
    }

    #[test]
    fn a_list_that_could_not_be_read_is_not_kept() {
        let mut list = GoroutineList::default();
        let mut words = Words::of(&[0x3000]);
        words.0.remove(&POINTERS);
        list.read(&words, LIST).expect_err("unreadable");
        words.0.insert(POINTERS, 0x3000);
        assert_eq!(list.read(&words, LIST).expect("a list"), [0x3000]);
    }
}

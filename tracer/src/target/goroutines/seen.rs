//! Goroutines that were found to be of no interest, so that they need not be looked at again until
//! they have moved: most of a server's, which wait for their clients.

use std::collections::HashMap;

use super::goroutine::Goroutine;

/// By the address of the goroutine. As many as there were goroutines at the last look.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<u64, Mark>);

/// What changes when it moves. `stops` counts how often it has: without, one that came back to the
/// same place would be taken for one that has never left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    goid: u64,
    stops: u8,
    sp: u64,
    pc: u64,
}

impl Mark {
    fn of(goroutine: &Goroutine) -> Option<Self> {
        let stops = goroutine.stops.filter(|_| goroutine.is_parked())?;
        Some(Self {
            goid: goroutine.goid,
            stops,
            sp: goroutine.sp,
            pc: goroutine.pc,
        })
    }
}

impl Seen {
    /// Whether this one is of no interest, and stands where it stood then.
    pub(super) fn is_dull(&self, goroutine: &Goroutine) -> bool {
        let mark = Mark::of(goroutine);
        mark.is_some() && self.0.get(&goroutine.address) == mark.as_ref()
    }

    /// It is of no interest.
    pub(super) fn dull(&mut self, goroutine: &Goroutine) {
        let mark = Mark::of(goroutine).map(|mark| (goroutine.address, mark));
        self.0.extend(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goroutine() -> Goroutine {
        Goroutine {
            address: 0x1000,
            goid: 7,
            parent: None,
            status: 4,
            stack: 0..0,
            sp: 8,
            pc: 9,
            bp: 10,
            syscall: None,
            stops: Some(255),
        }
    }

    #[test]
    fn who_has_not_moved_is_known_again() {
        let mut seen = Seen::default();
        assert!(!seen.is_dull(&goroutine()));
        seen.dull(&goroutine());
        assert!(seen.is_dull(&goroutine()));
    }

    #[test]
    fn who_has_moved_is_looked_at_again() {
        let mut seen = Seen::default();
        seen.dull(&goroutine());
        let moved: [fn(&mut Goroutine); 6] = [
            |g| g.stops = Some(0),
            |g| g.goid = 8,
            |g| g.sp = 0,
            |g| g.pc = 0,
            |g| g.address = 0x2000,
            |g| g.status = 3,
        ];
        for change in moved {
            let mut other = goroutine();
            change(&mut other);
            assert!(!seen.is_dull(&other), "{other:?}");
        }
    }

    #[test]
    fn where_go_does_not_count_nobody_is_known_again() {
        let mut seen = Seen::default();
        let uncounted = Goroutine {
            stops: None,
            ..goroutine()
        };
        seen.dull(&uncounted);
        assert!(!seen.is_dull(&uncounted));
    }
}

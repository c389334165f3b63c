//! What goroutines were found to be, so that they need not be looked at again until they have moved:
//! most of a server's are of no interest and wait for their clients.

use std::collections::HashMap;

use super::{goroutine::Goroutine, requests::Said};

/// By the address of the goroutine. As many as there were goroutines at the last look.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<u64, (Mark, Sight)>);

/// What was found of one.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// Whether it is of no interest itself.
    pub(super) dull: bool,
    /// What its stack says of a request.
    pub(super) said: Option<Said>,
}

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
        self.sight(goroutine).is_some_and(|sight| sight.dull)
    }

    /// What was found of this one, if it stands where it stood then.
    pub(super) fn sight(&self, goroutine: &Goroutine) -> Option<&Sight> {
        let mark = Mark::of(goroutine)?;
        let (of, sight) = self.0.get(&goroutine.address)?;
        (*of == mark).then_some(sight)
    }

    pub(super) fn add(&mut self, goroutine: &Goroutine, sight: Sight) {
        let mark = Mark::of(goroutine).map(|mark| (goroutine.address, (mark, sight)));
        self.0.extend(mark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DULL: Sight = Sight {
        dull: true,
        said: None,
    };

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
        seen.add(&goroutine(), DULL);
        assert!(seen.is_dull(&goroutine()));
    }

    #[test]
    fn who_waits_is_known_again_but_of_interest() {
        let mut seen = Seen::default();
        let said = Some(Said::Context(1));
        let sight = Sight { dull: false, said };
        seen.add(&goroutine(), sight);
        assert!(!seen.is_dull(&goroutine()));
        let sight = seen.sight(&goroutine()).expect("known");
        assert_eq!(sight.said, Some(Said::Context(1)));
    }

    #[test]
    fn who_has_moved_is_looked_at_again() {
        let mut seen = Seen::default();
        seen.add(&goroutine(), DULL);
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
        seen.add(&uncounted, DULL);
        assert!(!seen.is_dull(&uncounted));
    }
}

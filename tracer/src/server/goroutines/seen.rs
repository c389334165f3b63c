//! What goroutines were found to be, so that they need not be looked at again until they have moved:
//! most of a server's are of no interest and wait for their clients.

use super::{goroutine::Goroutine, requests::Said};
use tracer_model::Phase;

/// In the order of their addresses. As many as there were goroutines at the last look.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<Sighting>);

/// A goroutine that was seen, and where it stood.
#[derive(Debug)]
pub(super) struct Sighting {
    address: u64,
    mark: Mark,
    sight: Sight,
}

/// What was found of one.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// Whether it is of no interest itself.
    pub(super) dull: bool,
    /// For which entry it is inside the audit broker.
    pub(super) handler: Option<Phase>,
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

impl Sighting {
    /// `None` of one that would not be known again.
    pub(super) fn of(goroutine: &Goroutine, sight: Sight) -> Option<Self> {
        Some(Self {
            address: goroutine.address,
            mark: Mark::of(goroutine)?,
            sight,
        })
    }
}

impl Seen {
    pub(super) fn of(mut all: Vec<Sighting>) -> Self {
        // Not the unstable way: it is a few runs that are in order, one behind the other.
        all.sort_by_key(|sighting| sighting.address);
        Self(all)
    }

    /// For goroutines that are asked about in the order of their addresses.
    pub(super) fn in_order(&self) -> InOrder<'_> {
        InOrder(&self.0)
    }
}

/// Those that have not been passed.
pub(super) struct InOrder<'a>(&'a [Sighting]);

impl<'a> InOrder<'a> {
    /// What was found of this one, if it stands where it stood then.
    pub(super) fn of(&mut self, goroutine: &Goroutine) -> Option<&'a Sight> {
        let last = self.at(goroutine.address)?;
        (Some(last.mark) == Mark::of(goroutine)).then_some(&last.sight)
    }

    /// What was found of this one, which runs for the first time since.
    pub(super) fn before_this_run(&mut self, goroutine: &Goroutine) -> Option<&'a Sight> {
        let last = self.at(goroutine.address)?;
        let (goid, stops) = (last.mark.goid, Some(last.mark.stops));
        ((goid, stops) == (goroutine.goid, goroutine.stops)).then_some(&last.sight)
    }

    fn at(&mut self, address: u64) -> Option<&'a Sighting> {
        let is_passed = |sighting: &Sighting| sighting.address < address;
        while let Some((_, rest)) = self.0.split_first().filter(|(first, _)| is_passed(first)) {
            self.0 = rest;
        }
        self.0.first().filter(|first| first.address == address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DULL: Sight = Sight {
        dull: true,
        handler: None,
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

    fn seen(goroutine: &Goroutine, sight: Sight) -> Seen {
        Seen::of(Sighting::of(goroutine, sight).into_iter().collect())
    }

    fn is_known(seen: &Seen, goroutine: &Goroutine) -> bool {
        seen.in_order().of(goroutine).is_some()
    }

    #[test]
    fn who_has_not_moved_is_known_again() {
        assert!(!is_known(&Seen::default(), &goroutine()));
        let said = Some(Said::Context(1));
        let sight = Sight {
            dull: false,
            handler: None,
            said,
        };
        let seen = seen(&goroutine(), sight);
        let sight = seen.in_order().of(&goroutine()).expect("known");
        assert_eq!((sight.dull, &sight.said), (false, &Some(Said::Context(1))));
    }

    #[test]
    fn who_has_moved_is_looked_at_again() {
        let seen = seen(&goroutine(), DULL);
        assert!(is_known(&seen, &goroutine()));
        let moved: [fn(&mut Goroutine); 7] = [
            |g| g.stops = Some(0),
            |g| g.goid = 8,
            |g| g.sp = 0,
            |g| g.pc = 0,
            |g| g.address = 0x2000,
            |g| g.address = 0x800,
            |g| g.status = 3,
        ];
        for change in moved {
            let mut other = goroutine();
            change(&mut other);
            assert!(!is_known(&seen, &other), "{other:?}");
        }
    }

    #[test]
    fn many_are_known_again_in_the_order_of_their_addresses() {
        let at = |address| Goroutine {
            address,
            ..goroutine()
        };
        let addresses = [0x5000, 0x1000, 0x3000];
        let all = addresses.map(|address| Sighting::of(&at(address), DULL));
        let seen = Seen::of(all.into_iter().flatten().collect());
        let mut sights = seen.in_order();
        let known = [0x800, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
        let known = known.map(|address| sights.of(&at(address)).is_some());
        assert_eq!(known, [false, true, false, true, false, true, false]);
    }

    #[test]
    fn where_go_does_not_count_nobody_is_known_again() {
        let uncounted = Goroutine {
            stops: None,
            ..goroutine()
        };
        assert!(!is_known(&seen(&uncounted, DULL), &uncounted));
    }
}

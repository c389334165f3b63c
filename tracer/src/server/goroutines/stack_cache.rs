//! What stacks showed, so that they need not be read again until their goroutines have moved: most of a server's
//! goroutines wait for their clients.

use super::{goroutine::Goroutine, list::Parents, requests::StackRequest, roles::DeviceCode};
use tracer_model::{GoroutineSample, Phase};

/// By the goroutines' addresses, in order. As many as there were at the last sample.
#[derive(Debug, Default)]
pub(super) struct StackCache(Vec<CachedStack>);

/// One stack, and where its goroutine was.
#[derive(Debug)]
pub(super) struct CachedStack {
    address: u64,
    position: Position,
    facts: StackFacts,
}

/// What one stack showed.
#[derive(Clone, Debug, Default)]
pub(super) struct StackFacts {
    /// What it waits for in the code of a device.
    pub(super) wait: Option<Box<StackWait>>,
    /// For which entry it is inside the audit broker.
    pub(super) handler: Option<Phase>,
    /// Whether it waits for the active node of the cluster.
    pub(super) is_forwarded: bool,
    /// What it says about a request.
    pub(super) request: Option<StackRequest>,
}

/// A wait in the code of a device, as the stack alone shows it.
#[derive(Clone, Debug)]
pub(super) struct StackWait {
    pub(super) code: DeviceCode,
    /// Without those that started it, which may end meanwhile, and its request.
    pub(super) sample: GoroutineSample,
}

impl StackWait {
    pub(super) fn sample(&self, goroutine: &Goroutine, parents: &Parents<'_>) -> GoroutineSample {
        GoroutineSample {
            ancestors: parents.lineage(goroutine.parent).collect(),
            request: self.code.request(goroutine, parents),
            ..self.sample.clone()
        }
    }
}

impl StackFacts {
    pub(super) fn is_empty(&self) -> bool {
        self.wait.is_none()
            && self.handler.is_none()
            && !self.is_forwarded
            && self.request.is_none()
    }
}

/// What changes when a goroutine moves. `stops` counts how often it has stopped: without it, one that came back to
/// the same place would be taken for one that has never left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    goid: u64,
    stops: u8,
    sp: u64,
    pc: u64,
}

impl Position {
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

impl CachedStack {
    /// `None` if it could not be recognized again.
    pub(super) fn new(goroutine: &Goroutine, facts: StackFacts) -> Option<Self> {
        Some(Self {
            address: goroutine.address,
            position: Position::of(goroutine)?,
            facts,
        })
    }
}

impl StackCache {
    pub(super) fn new(mut all: Vec<CachedStack>) -> Self {
        // The stable sort is faster here: the input is a few sorted runs, one after the other.
        all.sort_by_key(|stack| stack.address);
        Self(all)
    }

    /// For goroutines in the order of their addresses.
    pub(super) fn cursor(&self) -> Cursor<'_> {
        Cursor(&self.0)
    }
}

/// Those from some address on.
pub(super) struct Cursor<'a>(&'a [CachedStack]);

impl<'a> Cursor<'a> {
    /// What this goroutine's stack showed, if it has not moved since.
    pub(super) fn unmoved(&mut self, goroutine: &Goroutine) -> Option<&'a StackFacts> {
        let last = self.at(goroutine.address)?;
        (Some(last.position) == Position::of(goroutine)).then_some(&last.facts)
    }

    /// What its stack showed before it began to run, if it has not stopped since, nor made a system call: such a handler may have
    /// answered. Since Go 1.26 system calls are no stops (`runtime/proc.go`, `reentersyscall`), but they save where they are
    /// made, and running begins with clearing that (`runtime/asm_amd64.s`, `gogo`).
    pub(super) fn before_this_run(&mut self, goroutine: &Goroutine) -> Option<&'a StackFacts> {
        let CachedStack {
            position, facts, ..
        } = self.at(goroutine.address)?;
        let is_counted = (position.goid, Some(position.stops)) == (goroutine.goid, goroutine.stops);
        let is_at_once =
            goroutine.sp == 0 || (position.sp, position.pc) == (goroutine.sp, goroutine.pc);
        (is_counted && is_at_once).then_some(facts)
    }

    fn at(&mut self, address: u64) -> Option<&'a CachedStack> {
        let is_passed = |stack: &CachedStack| stack.address < address;
        while let Some((_, rest)) = self.0.split_first().filter(|(first, _)| is_passed(first)) {
            self.0 = rest;
        }
        self.0.first().filter(|first| first.address == address)
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

    fn cache(goroutine: &Goroutine, facts: StackFacts) -> StackCache {
        StackCache::new(CachedStack::new(goroutine, facts).into_iter().collect())
    }

    fn is_known(cache: &StackCache, goroutine: &Goroutine) -> bool {
        cache.cursor().unmoved(goroutine).is_some()
    }

    #[test]
    fn a_goroutine_that_has_not_moved_is_recognized() {
        assert!(!is_known(&StackCache::default(), &goroutine()));
        let request = Some(StackRequest::Context(1));
        let facts = StackFacts {
            request,
            ..StackFacts::default()
        };
        let cache = cache(&goroutine(), facts);
        let facts = cache.cursor().unmoved(&goroutine()).expect("known");
        assert_eq!(facts.request, Some(StackRequest::Context(1)));
    }

    #[test]
    fn a_goroutine_that_has_moved_is_not_recognized() {
        let cache = cache(&goroutine(), StackFacts::default());
        assert!(is_known(&cache, &goroutine()));
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
            assert!(!is_known(&cache, &other), "{other:?}");
        }
    }

    #[test]
    fn many_are_recognized_in_the_order_of_their_addresses() {
        let at = |address| Goroutine {
            address,
            ..goroutine()
        };
        let addresses = [0x5000, 0x1000, 0x3000];
        let all = addresses.map(|address| CachedStack::new(&at(address), StackFacts::default()));
        let cache = StackCache::new(all.into_iter().flatten().collect());
        let mut cursor = cache.cursor();
        let known = [0x800, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000];
        let known = known.map(|address| cursor.unmoved(&at(address)).is_some());
        assert_eq!(known, [false, true, false, true, false, true, false]);
    }

    #[test]
    fn without_the_count_of_go_none_is_recognized() {
        let uncounted = Goroutine {
            stops: None,
            ..goroutine()
        };
        assert!(!is_known(
            &cache(&uncounted, StackFacts::default()),
            &uncounted
        ));
    }
}

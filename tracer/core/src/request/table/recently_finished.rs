//! What goroutines do between the beginning of a look at them and the moment in which it is told.

use rustc_hash::FxHashMap;

use tracer_model::Nanos;

/// While a look is under way: goroutines whose requests have ended since it was asked for, and when they acted last.
#[derive(Debug, Default)]
pub(crate) struct RecentlyFinished(Option<FxHashMap<u64, Nanos>>);

impl RecentlyFinished {
    /// A look at the goroutines has been asked for.
    pub(crate) fn begin(&mut self) {
        self.0 = Some(FxHashMap::default());
    }

    /// It has been taken.
    pub(crate) fn end(&mut self) {
        self.0 = None;
    }

    /// The request that this goroutine worked on is over.
    pub(super) fn add(&mut self, goid: u64, acted: Nanos) {
        if let Some(leavers) = &mut self.0 {
            leavers.insert(goid, acted);
        }
    }

    /// Whether a look that began then found this goroutine at a request that has ended since.
    pub(crate) fn has(&self, goid: u64, at: Nanos) -> bool {
        let leavers = self.0.as_ref();
        let acted = leavers.and_then(|leavers| leavers.get(&goid));
        acted.is_some_and(|acted| at <= *acted)
    }
}

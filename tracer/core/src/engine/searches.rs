//! Requests of which only the server's audit files can say whether they were audited.

use tracer_model::{Device, EntryQuery, Nanos};

use crate::track::dues::AuditedRequest;

/// Requests that are searched for at once.
const MOST: usize = 4;

/// Between two searches, ns.
const INTERVAL: Nanos = 250_000_000;

/// Those that are searched for.
#[derive(Debug, Default)]
pub(super) struct Searches {
    asked: Nanos,
    open: Vec<Search>,
}

#[derive(Debug)]
struct Search {
    query: EntryQuery,
    request: AuditedRequest,
    /// Of which nothing was seen in this request.
    devices: Vec<Device>,
}

impl Searches {
    /// Whether to search for this request, which is over; not for each one.
    pub(super) fn begin(
        &mut self,
        query: &EntryQuery,
        request: AuditedRequest,
        devices: Vec<Device>,
    ) -> bool {
        let is_due = request.end.saturating_sub(self.asked) >= INTERVAL;
        if devices.is_empty() || !is_due || self.open.len() >= MOST {
            return false;
        }
        self.asked = request.end;
        self.open.push(Search {
            query: query.clone(),
            request,
            devices,
        });
        true
    }

    /// The requests that this answer is about, with their devices.
    pub(super) fn answered(&mut self, asked: &EntryQuery) -> Vec<(AuditedRequest, Vec<Device>)> {
        let is_answered = |search: &mut Search| search.query.is_answered_by(asked);
        let answered = self.open.extract_if(.., is_answered);
        answered
            .map(|search| (search.request, search.devices))
            .collect()
    }
}

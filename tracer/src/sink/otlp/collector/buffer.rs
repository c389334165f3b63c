//! Spans that wait for the collector: bounded, and taken out in batches.

use std::{
    collections::VecDeque,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message;
use tokio::sync::Notify;

use super::super::messages::{ExportTraceServiceRequest, ResourceSpans};

/// Limit of the bytes that wait: some thousand hangs.
const MAX_BYTES: usize = 16 << 20;

/// Spans in one request, as in OpenTelemetry's own exporters.
const BATCH_SPANS: u64 = 512;

/// Bytes of one request; the default limit of gRPC servers is 4 MiB.
const BATCH_BYTES: usize = 1 << 20;

/// Between the thread that makes spans and the one that sends them.
pub(super) struct Buffer {
    queue: Mutex<Queue>,
    pushed: Notify,
    max_bytes: usize,
}

#[derive(Default)]
struct Queue {
    findings: VecDeque<Encoded>,
    bytes: usize,
    spans: u64,
    /// Spans for which there was no room.
    dropped: u64,
}

/// The spans of one finding as an encoded request: decoded they take several times the memory.
struct Encoded {
    request: Box<[u8]>,
    spans: u64,
}

/// The content of one request.
#[derive(Default)]
pub(super) struct Batch {
    /// Encoded requests, concatenated: in protobuf that is one request with the lists of all.
    requests: Vec<u8>,
    spans: u64,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self::with_limit(MAX_BYTES)
    }

    fn with_limit(max_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            pushed: Notify::new(),
            max_bytes,
        }
    }

    /// Adds the spans of a finding, all or none; `false` if there is no room for them.
    pub(super) fn push(&self, request: &ExportTraceServiceRequest) -> bool {
        let scopes = request.resource_spans.iter().flat_map(|r| &r.scope_spans);
        let spans = scopes.map(|scope| scope.spans.len() as u64).sum();
        let request = request.encode_to_vec().into_boxed_slice();
        let mut queue = self.lock();
        if queue.bytes + request.len() > self.max_bytes {
            queue.dropped += spans;
            return false;
        }
        queue.bytes += request.len();
        queue.spans += spans;
        queue.findings.push_back(Encoded { request, spans });
        drop(queue);
        self.pushed.notify_one();
        true
    }

    /// Waits until there are spans.
    pub(super) async fn wait(&self) {
        while self.len() == 0 {
            self.pushed.notified().await;
        }
    }

    /// Spans that wait.
    pub(super) fn len(&self) -> u64 {
        self.lock().spans
    }

    /// Spans for which there was no room.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Moves as many findings into the batch as fit. One that is larger than a batch is a batch of its own.
    pub(super) fn fill(&self, batch: &mut Batch) {
        let mut queue = self.lock();
        while let Some(next) = queue.findings.pop_front_if(|next| batch.has_room_for(next)) {
            queue.bytes -= next.request.len();
            queue.spans -= next.spans;
            batch.requests.extend(next.request);
            batch.spans += next.spans;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batch {
    fn has_room_for(&self, finding: &Encoded) -> bool {
        let spans = self.spans + finding.spans;
        let bytes = self.requests.len() + finding.request.len();
        self.is_empty() || (spans <= BATCH_SPANS && bytes <= BATCH_BYTES)
    }

    pub(super) fn len(&self) -> u64 {
        self.spans
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans == 0
    }

    /// Empties it. Returns how many spans there were.
    pub(super) fn clear(&mut self) -> u64 {
        mem::take(self).spans
    }

    /// One request of all. Successive findings of one server share its resource; the scope is always the agent.
    pub(super) fn request(&self) -> ExportTraceServiceRequest {
        // It was encoded here, so decoding does not fail.
        let request = ExportTraceServiceRequest::decode(&*self.requests).unwrap_or_default();
        let mut merged: Vec<ResourceSpans> = Vec::new();
        for mut next in request.resource_spans {
            match merged.last_mut().zip(next.scope_spans.first_mut()) {
                Some((last, scope)) if last.resource == next.resource => {
                    last.scope_spans[0].spans.append(&mut scope.spans);
                }
                _ => merged.push(next),
            }
        }
        ExportTraceServiceRequest {
            resource_spans: merged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::messages::{Resource, ScopeSpans, Span},
        *,
    };

    fn request(server: &str, spans: &[&str]) -> ExportTraceServiceRequest {
        let span = |name: &&str| Span {
            name: (*name).to_owned(),
            ..Span::default()
        };
        let resource = Resource {
            dropped_attributes_count: server.len() as u32,
            ..Resource::default()
        };
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource),
                scope_spans: vec![ScopeSpans {
                    spans: spans.iter().map(span).collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        }
    }

    fn names(request: &ExportTraceServiceRequest) -> Vec<Vec<&str>> {
        let resources = request.resource_spans.iter();
        let names = |resource: &'_ ResourceSpans| -> usize { resource.scope_spans.len() };
        resources
            .inspect(|resource| assert_eq!(names(resource), 1))
            .map(|resource| {
                let spans = resource.scope_spans[0].spans.iter();
                spans.map(|span| span.name.as_str()).collect()
            })
            .collect()
    }

    #[test]
    fn findings_of_one_server_share_a_request_in_their_order() {
        let buffer = Buffer::new();
        assert!(buffer.push(&request("a", &["1", "2"])));
        assert!(buffer.push(&request("a", &["3"])));
        assert!(buffer.push(&request("bb", &["4"])));
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        let request = batch.request();
        assert_eq!(names(&request), [vec!["1", "2", "3"], vec!["4"]]);
        assert_eq!(batch.clear(), 4);
        assert!(buffer.len() == 0 && batch.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes() {
        let buffer = Buffer::new();
        for _ in 0..=BATCH_SPANS {
            assert!(buffer.push(&request("a", &["x"])));
        }
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        assert_eq!((batch.len(), buffer.len()), (BATCH_SPANS, 1));

        let buffer = Buffer::new();
        let large = "x".repeat(BATCH_BYTES);
        for name in ["small", &large, "small", &large] {
            assert!(buffer.push(&request("a", &[name])));
        }
        for expected in [1, 1, 1, 1] {
            let mut batch = Batch::default();
            buffer.fill(&mut batch);
            assert_eq!(batch.len(), expected);
        }
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn findings_beyond_the_limit_are_dropped_whole_and_counted() {
        let one = request("a", &["1", "2"]);
        let buffer = Buffer::with_limit(one.encoded_len() * 2);
        assert!(buffer.push(&one));
        assert!(buffer.push(&one));
        assert!(!buffer.push(&one));
        assert_eq!((buffer.len(), buffer.dropped()), (4, 2));
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        assert!(buffer.push(&one), "there is room again");
    }
}

//! Spans that wait for the collector: bounded, and taken out in batches.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::InstrumentationScope,
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use tokio::sync::Notify;

/// Bytes of spans that wait: some thousand hangs.
const LIMIT: usize = 16 << 20;

/// Spans in one request, as OpenTelemetry's own exporters have it.
const BATCH_SPANS: usize = 512;

/// Bytes of one request; servers of gRPC take 4 MiB unless told otherwise.
const BATCH_BYTES: usize = 1 << 20;

/// What is between the thread that makes spans and the one that sends them.
pub(super) struct Buffer {
    waiting: Mutex<Waiting>,
    filled: Notify,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    spans: VecDeque<Queued>,
    bytes: usize,
    left_out: u64,
}

/// A span, and whose it is. As it is sent: decoded it takes several times the memory.
struct Queued {
    of: Arc<Origin>,
    span: Box<[u8]>,
}

/// What spans of one server have in common.
#[derive(PartialEq)]
struct Origin {
    resource: Option<Resource>,
    scope: Option<InstrumentationScope>,
}

/// What is sent in one request.
#[derive(Default)]
pub(super) struct Batch {
    spans: Vec<Queued>,
    bytes: usize,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self::with_limit(LIMIT)
    }

    fn with_limit(limit: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            filled: Notify::new(),
            limit,
        }
    }

    /// Takes the spans of a finding, all or none; `false` if there is no room for them.
    pub(super) fn push(&self, request: ExportTraceServiceRequest) -> bool {
        let (count, bytes) = size(&request);
        let mut waiting = self.lock();
        if waiting.bytes + bytes > self.limit {
            waiting.left_out += count;
            return false;
        }
        for mut of_resource in request.resource_spans {
            for scope_spans in of_resource.scope_spans {
                let of = waiting.origin(Origin {
                    resource: of_resource.resource.take(),
                    scope: scope_spans.scope,
                });
                for span in scope_spans.spans {
                    let span = span.encode_to_vec().into_boxed_slice();
                    let of = Arc::clone(&of);
                    waiting.bytes += span.len();
                    waiting.spans.push_back(Queued { of, span });
                }
            }
        }
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Waits until there is something.
    pub(super) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().spans.is_empty()
    }

    /// Spans that wait.
    pub(super) fn len(&self) -> u64 {
        self.lock().spans.len() as u64
    }

    /// Spans that there was no room for.
    pub(super) fn left_out(&self) -> u64 {
        self.lock().left_out
    }

    /// Moves what fits into the batch.
    pub(super) fn fill(&self, batch: &mut Batch) {
        let mut waiting = self.lock();
        while let Some(next) = waiting.spans.front() {
            let fits =
                batch.spans.len() < BATCH_SPANS && batch.bytes + next.span.len() <= BATCH_BYTES;
            // One that is larger than a batch goes alone.
            if !fits && !batch.spans.is_empty() {
                break;
            }
            let Some(next) = waiting.spans.pop_front() else {
                break;
            };
            waiting.bytes -= next.span.len();
            batch.bytes += next.span.len();
            batch.spans.push(next);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// The same as that of the last span where it is the same.
    fn origin(&self, origin: Origin) -> Arc<Origin> {
        let last = self.spans.back().map(|last| &last.of);
        let same = last.filter(|last| ***last == origin);
        same.map_or_else(|| Arc::new(origin), Arc::clone)
    }
}

impl Batch {
    pub(super) fn len(&self) -> u64 {
        self.spans.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Empties it; how many there were.
    pub(super) fn clear(&mut self) -> u64 {
        mem::take(self).len()
    }

    /// One request of all, with each server told of once where its spans follow each other.
    pub(super) fn request(&self) -> ExportTraceServiceRequest {
        let of_one = self.spans.chunk_by(|a, b| a.of == b.of);
        let resource_spans = of_one.map(|queued| ResourceSpans {
            resource: queued[0].of.resource.clone(),
            scope_spans: vec![ScopeSpans {
                scope: queued[0].of.scope.clone(),
                // Encoded here, so none is left out.
                spans: queued
                    .iter()
                    .filter_map(|queued| Span::decode(&*queued.span).ok())
                    .collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        });
        ExportTraceServiceRequest {
            resource_spans: resource_spans.collect(),
        }
    }
}

/// Spans of a request, and their bytes.
fn size(request: &ExportTraceServiceRequest) -> (u64, usize) {
    let resources = request.resource_spans.iter();
    let scopes = resources.flat_map(|resource| &resource.scope_spans);
    scopes
        .flat_map(|scope| &scope.spans)
        .fold((0, 0), |(count, bytes), span| {
            (count + 1, bytes + span.encoded_len())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(buffer.push(request("a", &["1", "2"])));
        assert!(buffer.push(request("a", &["3"])));
        assert!(buffer.push(request("bb", &["4"])));
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        let request = batch.request();
        assert_eq!(names(&request), [vec!["1", "2", "3"], vec!["4"]]);
        assert_eq!(batch.clear(), 4);
        assert!(buffer.is_empty() && batch.is_empty());
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_bytes() {
        let buffer = Buffer::new();
        let many = vec!["x"; BATCH_SPANS + 1];
        assert!(buffer.push(request("a", &many)));
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        assert_eq!((batch.len(), buffer.len()), (BATCH_SPANS as u64, 1));

        let buffer = Buffer::new();
        let large = "x".repeat(BATCH_BYTES);
        for _ in 0..2 {
            assert!(buffer.push(request("a", &["small", &large])));
        }
        for expected in [1, 1, 1, 1] {
            let mut batch = Batch::default();
            buffer.fill(&mut batch);
            assert_eq!(batch.len(), expected);
        }
        assert!(buffer.is_empty());
    }

    #[test]
    fn what_there_is_no_room_for_is_left_out_whole_and_counted() {
        let one = request("a", &["1", "2"]);
        let buffer = Buffer::with_limit(size(&one).1 * 2);
        assert!(buffer.push(one.clone()));
        assert!(buffer.push(one.clone()));
        assert!(!buffer.push(one.clone()));
        assert_eq!((buffer.len(), buffer.left_out()), (4, 2));
        let mut batch = Batch::default();
        buffer.fill(&mut batch);
        assert!(buffer.push(one), "there is room again");
    }
}

//! Ids of traces and spans, derived from their content: a recording always replays to the same ids, and two nodes that
//! trace the same request share its trace.

use sha2::{Digest, Sha256};

use tracer_model::{Nanos, RequestInfo, Session};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TraceId(pub(super) [u8; 16]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanId(pub(super) [u8; 8]);

/// Identifies the session of one process on one host: the spans of two nodes in a shared trace differ by it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin(String);

impl Origin {
    pub(super) fn of(session: &Session) -> Self {
        let wall = i128::from(session.wall_offset) + i128::from(session.began);
        let host = session.host.as_deref().unwrap_or_default();
        Self(format!("{host}/{}/{wall}", session.pid))
    }

    /// Of something that belongs to no request; `kind` and `key` identify it.
    pub(super) fn trace(&self, kind: &str, key: &str) -> TraceId {
        TraceId(digest(&[&self.0, kind, key]))
    }

    /// Of a request. The 16 bytes of its id if that is a UUID, as Vault's are: the id without dashes finds the trace.
    pub(super) fn request(&self, request: &RequestInfo) -> TraceId {
        match &request.id {
            Some(id) => of_request_id(id),
            None => self.trace("request", &unnamed(request.client, request.start)),
        }
    }

    pub(super) fn span(&self, trace: TraceId, kind: &str, key: &str) -> SpanId {
        let trace = u128::from_be_bytes(trace.0).to_string();
        SpanId(digest(&[&self.0, &trace, kind, key]))
    }

    /// Of the span of a whole request.
    pub(super) fn request_span(&self, trace: TraceId) -> SpanId {
        self.span(trace, "request", "")
    }
}

pub(super) fn of_request_id(id: &str) -> TraceId {
    // A trace id of zeros is invalid.
    let own = uuid(id).filter(|bytes| *bytes != [0; 16]);
    TraceId(own.unwrap_or_else(|| digest(&["request id", id])))
}

fn unnamed(client: Option<std::net::SocketAddr>, start: Nanos) -> String {
    let client = client.map(|client| client.to_string());
    format!("{}/{start}", client.unwrap_or_default())
}

/// The bytes of `71073279-56e7-1b76-63fa-3a2470d66bb4`.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let groups: Vec<_> = text.split('-').collect();
    if !groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) {
        return None;
    }
    let digits = groups.concat();
    // `from_str_radix` accepts a sign.
    let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = all_hex.then(|| u128::from_str_radix(&digits, 16).ok())??;
    Some(number.to_be_bytes())
}

/// The first bytes of a hash over the parts and their lengths: `a`, `bc` differs from `ab`, `c`.
fn digest<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let mut id = [0; N];
    id.copy_from_slice(&hash.finalize()[..N]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_the_trace_id() {
        let id = of_request_id("71073279-56e7-1b76-63fa-3a2470d66bb4");
        assert_eq!(
            u128::from_be_bytes(id.0),
            0x7107_3279_56e7_1b76_63fa_3a24_70d6_6bb4
        );
    }

    #[test]
    fn an_id_that_is_no_uuid_has_a_trace_id() {
        let ids = [
            "",
            "x",
            "00000000-0000-0000-0000-000000000000",
            "+1073279-56e7-1b76-63fa-3a2470d66bb4",
        ]
        .map(of_request_id);
        for (place, id) in ids.iter().enumerate() {
            assert_ne!(id.0, [0; 16]);
            assert!(!ids[..place].contains(id));
        }
    }

    #[test]
    fn two_nodes_share_the_trace_and_not_its_spans() {
        let (one, other) = (Origin("a/1/0".into()), Origin("b/1/0".into()));
        let request = RequestInfo {
            id: Some("71073279-56e7-1b76-63fa-3a2470d66bb4".into()),
            ..RequestInfo::default()
        };
        let trace = one.request(&request);
        assert_eq!(trace, other.request(&request));
        assert_ne!(one.request_span(trace), other.request_span(trace));
        assert_eq!(one.request_span(trace), one.request_span(trace));
    }
}

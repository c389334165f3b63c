//! Any answer of a collector, for `crate::fuzz`.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use tokio::runtime;

use super::{grpc, http_protobuf, outcome::Outcome, retry::Backoff};

/// As both protocols read it: with these headers, which are trailers too.
pub(crate) fn read(status: u16, headers: &[(&[u8], &[u8])], body: &[u8]) {
    let parsed = headers.iter().filter_map(|(name, value)| {
        let name = HeaderName::from_bytes(name).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    });
    let headers: HeaderMap = parsed.collect();
    let Ok(mut answer) = Response::builder().status(status).body(()) else {
        return;
    };
    *answer.headers_mut() = headers.clone();
    let body = Bytes::copy_from_slice(body);
    retry(&http_protobuf::outcome(
        &answer.clone().map(|()| body.clone()),
        Timestamp::UNIX_EPOCH,
    ));
    let runtime = runtime::Builder::new_current_thread().build();
    let collected = runtime.expect("a runtime").block_on(async {
        let trailers = async { Some(Ok(headers)) };
        let body = Full::new(body).with_trailers(trailers).collect().await;
        body.expect("it cannot fail")
    });
    retry(&grpc::outcome(answer.map(|()| collected)));
}

fn retry(outcome: &Outcome) {
    if let Outcome::Retryable { retry_after, .. } = outcome {
        Backoff::default().wait(*retry_after);
    }
}

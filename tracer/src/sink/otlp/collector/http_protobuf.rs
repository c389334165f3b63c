//! OTLP over HTTP, in protobuf.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri,
    header::{self, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{Collected, Full};
use jiff::{Timestamp, fmt::rfc2822};
use prost::Message;

use super::{
    super::messages::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    connections::{Connections, USER_AGENT},
    outcome::{Outcome, one_line},
    rpc,
};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

pub(super) async fn export(
    connections: Connections,
    uri: Uri,
    headers: HeaderMap,
    spans: ExportTraceServiceRequest,
) -> Outcome {
    let spans = Bytes::from(spans.encode_to_vec());
    let mut request = Request::post(uri);
    if let Some(own) = request.headers_mut() {
        *own = headers;
        own.insert(CONTENT_TYPE, PROTOBUF);
        // Not every server supports chunked bodies.
        own.insert(CONTENT_LENGTH, spans.len().into());
        own.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    let Ok(request) = request.body(Full::new(spans)) else {
        return Outcome::Refused("no request can be made of this URL".to_owned());
    };
    match connections.send(request).await {
        Ok(answer) => outcome(&answer.map(Collected::to_bytes), Timestamp::now()),
        Err(reason) => Outcome::failed(reason),
    }
}

/// The protocol defines which statuses are retryable.
pub(super) fn outcome(answer: &Response<Bytes>, now: Timestamp) -> Outcome {
    let status = answer.status();
    if status.is_success() {
        let body = ExportTraceServiceResponse::decode(answer.body().clone());
        // Some collectors answer 200 with another body.
        return Outcome::accepted(body.unwrap_or_default());
    }
    let reason = match message(answer) {
        Some(message) => format!("{status}: {message}"),
        None => status.to_string(),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Outcome::Retryable {
            reason,
            retry_after: retry_after(answer.headers(), now),
        },
        _ => Outcome::Refused(reason),
    }
}

/// The protocol reports errors as a protobuf status.
fn message(answer: &Response<Bytes>) -> Option<String> {
    if answer.headers().get(CONTENT_TYPE) != Some(&PROTOBUF) {
        return None;
    }
    let status = rpc::RpcStatus::decode(answer.body().clone()).ok()?;
    Some(one_line(&status.message)).filter(|message| !message.is_empty())
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(until.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{
        super::{super::messages::ExportTracePartialSuccess, outcome::PartialSuccess},
        *,
    };

    fn answer(status: u16, header: (&str, &str), body: Vec<u8>) -> Response<Bytes> {
        let answer = Response::builder().status(status);
        let answer = answer.header(header.0, header.1);
        answer.body(body.into()).expect("an answer")
    }

    fn plain(status: u16) -> Outcome {
        let answer = answer(status, ("x-nothing", ""), Vec::new());
        outcome(&answer, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn statuses_are_retryable_as_the_protocol_defines() {
        for status in [429, 502, 503, 504] {
            let outcome = plain(status);
            assert!(
                matches!(
                    outcome,
                    Outcome::Retryable {
                        retry_after: None,
                        ..
                    }
                ),
                "{status}"
            );
        }
        for status in [301, 400, 401, 403, 404, 405, 408, 413, 415, 500, 501] {
            assert!(matches!(plain(status), Outcome::Refused(_)), "{status}");
        }
        assert_eq!(plain(200), Outcome::Accepted(PartialSuccess::default()));
        assert_eq!(plain(404), Outcome::Refused("404 Not Found".to_owned()));
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let after = |text: &str| {
            let now = "2026-11-28T10:00:00Z".parse().expect("a time");
            match outcome(&answer(503, ("retry-after", text), Vec::new()), now) {
                Outcome::Retryable { retry_after, .. } => retry_after,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        let date = "Sat, 28 Nov 2026 10:00:05 GMT";
        assert_eq!(after(date), Some(Duration::from_secs(5)));
        let past = "Sat, 28 Nov 2026 09:00:00 GMT";
        assert_eq!(after(past), Some(Duration::ZERO));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn messages_are_read_from_protobuf() {
        let partial = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too\nold".to_owned(),
            }),
        };
        let taken = answer(
            200,
            ("content-type", "application/x-protobuf"),
            partial.encode_to_vec(),
        );
        let Outcome::Accepted(partly) = outcome(&taken, Timestamp::UNIX_EPOCH) else {
            panic!("not taken");
        };
        assert_eq!((partly.rejected, &*partly.message), (3, "too old"));

        let status = rpc::RpcStatus {
            message: "no such tenant".to_owned(),
            ..rpc::RpcStatus::default()
        };
        let refused = answer(
            403,
            ("content-type", "application/x-protobuf"),
            status.encode_to_vec(),
        );
        let reason = "403 Forbidden: no such tenant".to_owned();
        assert_eq!(
            outcome(&refused, Timestamp::UNIX_EPOCH),
            Outcome::Refused(reason)
        );
    }
}

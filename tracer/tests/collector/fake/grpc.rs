//! OTLP over gRPC, as a server sees it: its own frames and status codes, so that the agent is not tested against itself.

use std::convert::Infallible;

use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Either, Full, combinators::WithTrailers};
use hyper::body::Incoming;
use prost::{Message, bytes::Bytes};
use tracer::sink::otlp::messages::{ExportTraceServiceRequest, ExportTraceServiceResponse};

use super::{Answer, Book, partly};

/// Numbers of gRPC's status codes.
const INVALID_ARGUMENT: u8 = 3;
const RESOURCE_EXHAUSTED: u8 = 8;
const UNAVAILABLE: u8 = 14;
const UNAUTHENTICATED: u8 = 16;

type Trailers = std::future::Ready<Option<Result<HeaderMap, Infallible>>>;
type Body = Either<WithTrailers<Full<Bytes>, Trailers>, Full<Bytes>>;

pub(super) async fn answer(
    book: Book,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (headers, message) = match read(request).await {
        Ok(read) => read,
        Err(error) => return Ok(failed(INVALID_ARGUMENT, &format!("{error:#}"))),
    };
    Ok(match book.on(headers, message) {
        Answer::Take => took(&ExportTraceServiceResponse::default()),
        Answer::Partly(rejected) => took(&partly(rejected)),
        Answer::Busy(None) => failed(UNAVAILABLE, "busy"),
        Answer::Busy(Some(delay)) => {
            let mut answer = failed(RESOURCE_EXHAUSTED, "busy");
            let details = STANDARD_NO_PAD.encode(retry_info(delay.as_secs()));
            let details = HeaderValue::try_from(details).expect("a value");
            let headers = answer.headers_mut();
            headers.insert("grpc-status-details-bin", details);
            answer
        }
        Answer::Refuse => failed(UNAUTHENTICATED, "who are you%3F"),
        Answer::Silence => std::future::pending().await,
    })
}

async fn read(request: Request<Incoming>) -> Result<(HeaderMap, ExportTraceServiceRequest)> {
    let (parts, body) = request.into_parts();
    let service = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    ensure!(parts.uri.path() == service, "{}", parts.uri);
    ensure!(parts.method == "POST", "{}", parts.method);
    for (name, expected) in [("content-type", "application/grpc"), ("te", "trailers")] {
        let value = parts.headers.get(name);
        ensure!(
            value.is_some_and(|value| value == expected),
            "{name}: {value:?}"
        );
    }
    let body = body.collect().await?.to_bytes();
    let (prefix, message) = body.split_at_checked(5).unwrap_or_default();
    let length = (message.len() as u32).to_be_bytes();
    ensure!(prefix == [&[0], &length[..]].concat(), "{prefix:?}");
    Ok((parts.headers, ExportTraceServiceRequest::decode(message)?))
}

/// With a message and trailers.
fn took(message: &ExportTraceServiceResponse) -> Response<Body> {
    let message = message.encode_to_vec();
    let mut frame = vec![0];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(0));
    let trailers = std::future::ready(Some(Ok(trailers)));
    let body = Full::from(frame).with_trailers(trailers);
    respond(Either::Left(body))
}

/// With headers alone.
fn failed(code: u8, message: &str) -> Response<Body> {
    let mut answer = respond(Either::Right(Full::default()));
    let headers = answer.headers_mut();
    headers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    let message = HeaderValue::from_str(message).expect("a value");
    headers.insert("grpc-message", message);
    answer
}

fn respond(body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let grpc = HeaderValue::from_static("application/grpc");
    answer.headers_mut().insert("content-type", grpc);
    answer
}

/// A `google.rpc.Status` with a `RetryInfo` of so many seconds, byte by byte.
fn retry_info(seconds: u64) -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        // Lengths below 128 are one byte.
        [&[number << 3 | 2, content.len() as u8], content].concat()
    };
    let mut number = vec![1 << 3];
    prost::encoding::encode_varint(seconds, &mut number);
    let info = field(1, &number);
    let kind = field(1, b"type.googleapis.com/google.rpc.RetryInfo");
    let detail = [kind, field(2, &info)].concat();
    [&[1 << 3, RESOURCE_EXHAUSTED], &*field(3, &detail)].concat()
}

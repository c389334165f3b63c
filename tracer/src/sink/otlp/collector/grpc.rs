//! OTLP over gRPC: one unary call a request, over HTTP/2 (`doc/PROTOCOL-HTTP2.md` in gRPC's repository).

mod code;

use std::time::Duration;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Request, Response, Uri,
    header::{self, CONTENT_TYPE},
    uri::PathAndQuery,
};
use http_body_util::{Collected, Full};
use percent_encoding::percent_decode;
use prost::Message;

use self::code::Code;
use super::{
    super::messages::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    connections::{Connections, USER_AGENT},
    outcome::{Outcome, one_line},
    rpc,
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Before each message: whether it is compressed, 1 byte, and its length, 4 bytes.
const PREFIX_BYTES: usize = 5;

/// Padding of base64 is optional in binary headers.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The result of a call that failed.
#[derive(Debug, PartialEq, Eq)]
struct CallFailure {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

pub(super) async fn export(
    connections: Connections,
    origin: Uri,
    headers: HeaderMap,
    spans: ExportTraceServiceRequest,
) -> Outcome {
    let Ok(request) = request(origin, headers, &spans) else {
        return Outcome::Refused("no request can be made of this URL".to_owned());
    };
    match connections.send(request).await {
        Ok(answer) => outcome(answer),
        Err(reason) => Outcome::failed(reason),
    }
}

fn request(
    origin: Uri,
    headers: HeaderMap,
    spans: &ExportTraceServiceRequest,
) -> http::Result<Request<Full<Bytes>>> {
    let mut uri = origin.into_parts();
    uri.path_and_query = Some(PathAndQuery::from_static(EXPORT));
    let mut request = Request::post(Uri::from_parts(uri)?);
    if let Some(own) = request.headers_mut() {
        *own = headers;
        own.insert(CONTENT_TYPE, GRPC);
        own.insert(header::TE, HeaderValue::from_static("trailers"));
        own.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    }
    request.body(Full::new(frame(spans)))
}

fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(length as u32);
    frame.put(&*message.encode_to_vec());
    frame.freeze()
}

pub(super) fn outcome(answer: Response<Collected<Bytes>>) -> Outcome {
    read(answer).map_or_else(CallFailure::outcome, Outcome::accepted)
}

/// The message of a whole answer, or why there is none.
fn read(answer: Response<Collected<Bytes>>) -> Result<ExportTraceServiceResponse, CallFailure> {
    let (parts, body) = answer.into_parts();
    // An answer without a message has its status in the headers.
    let trailers = body.trailers().unwrap_or(&parts.headers);
    match trailers.get("grpc-status").map(Code::of_header) {
        Some(Code::Ok) => message(body.to_bytes())
            .ok_or_else(|| CallFailure::new(Code::Internal, "the answer has no message of OTLP")),
        Some(code) => Err(CallFailure::of_trailers(code, trailers)),
        // Not of a gRPC server, but for example of a proxy.
        None => Err(CallFailure::new(
            Code::of_http(parts.status),
            &parts.status.to_string(),
        )),
    }
}

fn message(mut body: Bytes) -> Option<ExportTraceServiceResponse> {
    let is_plain = body.try_get_u8().ok()? == 0;
    let length = body.try_get_u32().ok()? as usize;
    if !is_plain || length != body.len() {
        return None;
    }
    ExportTraceServiceResponse::decode(body).ok()
}

impl CallFailure {
    fn new(code: Code, message: &str) -> Self {
        Self {
            code,
            message: message.to_owned(),
            retry_after: None,
        }
    }

    fn of_trailers(code: Code, trailers: &HeaderMap) -> Self {
        let bytes = |name| trailers.get(name).map(HeaderValue::as_bytes);
        let message = bytes("grpc-message").unwrap_or_default();
        let details = bytes("grpc-status-details-bin")
            .and_then(|text| BASE64.decode(text).ok())
            .and_then(|status| rpc::RpcStatus::decode(&*status).ok());
        Self {
            code,
            message: percent_decode(message).decode_utf8_lossy().into_owned(),
            retry_after: details.and_then(|status| status.retry_delay()),
        }
    }

    /// The protocol defines which codes are retryable.
    fn outcome(self) -> Outcome {
        let Self {
            code, retry_after, ..
        } = self;
        let message = one_line(&self.message);
        let is_retryable = match code {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            // Retryable only if the server says when.
            Code::ResourceExhausted => retry_after.is_some(),
            _ => false,
        };
        let reason = match (message.is_empty(), is_retryable) {
            (true, _) => format!("{code:?}"),
            (false, true) => message,
            (false, false) => format!("{code:?}: {message}"),
        };
        if is_retryable {
            Outcome::Retryable {
                reason,
                retry_after,
            }
        } else {
            Outcome::Refused(reason)
        }
    }
}

#[cfg(test)]
mod tests;

//! OTLP over gRPC.

use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Code, Request, Status, client::Grpc, metadata::MetadataMap};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::{
    client::{Connections, USER_AGENT},
    outcome::{Outcome, one_line},
};

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

pub(super) async fn export(
    connections: Connections,
    origin: Uri,
    mut headers: HeaderMap,
    spans: ExportTraceServiceRequest,
) -> Outcome {
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    let mut request = Request::new(spans);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let codec: ProstCodec<_, ExportTraceServiceResponse> = ProstCodec::default();
    let path = PathAndQuery::from_static(EXPORT);
    match Grpc::with_origin(connections, origin)
        .unary(request, path, codec)
        .await
    {
        Ok(answer) => Outcome::accepted(answer.into_inner()),
        Err(status) => outcome(&status),
    }
}

/// The protocol defines which codes are retryable.
fn outcome(status: &Status) -> Outcome {
    let retry_after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let reason = match status.message() {
        "" => status.code().description().to_owned(),
        message => one_line(message),
    };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Outcome::Retryable {
            reason,
            retry_after,
        },
        // Retryable only if the server says when.
        Code::ResourceExhausted if retry_after.is_some() => Outcome::Retryable {
            reason,
            retry_after,
        },
        code => Outcome::Refused(format!("{code:?}: {reason}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn codes_are_retryable_as_the_protocol_defines() {
        use Code::{
            Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition,
            Internal, InvalidArgument, NotFound, OutOfRange, PermissionDenied, ResourceExhausted,
            Unauthenticated, Unavailable, Unimplemented, Unknown,
        };
        for (code, again) in [
            (Cancelled, true),
            (Unknown, false),
            (InvalidArgument, false),
            (DeadlineExceeded, true),
            (NotFound, false),
            (AlreadyExists, false),
            (PermissionDenied, false),
            (ResourceExhausted, false),
            (FailedPrecondition, false),
            (Aborted, true),
            (OutOfRange, true),
            (Unimplemented, false),
            (Internal, false),
            (Unavailable, true),
            (DataLoss, true),
            (Unauthenticated, false),
        ] {
            let outcome = outcome(&Status::new(code, "why"));
            assert_eq!(
                matches!(outcome, Outcome::Retryable { .. }),
                again,
                "{code:?}"
            );
        }
    }

    #[test]
    fn an_exhausted_server_may_ask_for_a_retry() {
        let delay = Some(Duration::from_millis(2500));
        let details = ErrorDetails::with_retry_info(delay);
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let expected = Outcome::Retryable {
            reason: "full".to_owned(),
            retry_after: delay,
        };
        assert_eq!(outcome(&status), expected);
    }
}

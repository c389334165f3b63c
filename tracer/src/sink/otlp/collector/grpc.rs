//! OTLP over gRPC.

use http::{HeaderMap, HeaderValue, Uri, header::USER_AGENT, uri::PathAndQuery};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::{Code, Request, Status, client::Grpc, metadata::MetadataMap};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use super::{
    attempt::{Attempt, one_line},
    client::{self, Client},
};

/// The protocol's name of what is asked for.
const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends a request.
pub(super) async fn export(
    client: Client,
    origin: Uri,
    mut headers: HeaderMap,
    spans: ExportTraceServiceRequest,
) -> Attempt {
    headers.insert(USER_AGENT, HeaderValue::from_static(client::USER_AGENT));
    let mut request = Request::new(spans);
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    let codec: ProstCodec<_, ExportTraceServiceResponse> = ProstCodec::default();
    let path = PathAndQuery::from_static(EXPORT);
    match Grpc::with_origin(client, origin)
        .unary(request, path, codec)
        .await
    {
        Ok(answer) => Attempt::taken(answer.into_inner()),
        Err(status) => judge(&status),
    }
}

/// Which codes may be tried again is the protocol's to say.
fn judge(status: &Status) -> Attempt {
    let after = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let why = match status.message() {
        "" => status.code().description().to_owned(),
        message => one_line(message),
    };
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Attempt::Failed { why, after },
        // Only a server that says when has any hope to have room again.
        Code::ResourceExhausted if after.is_some() => Attempt::Failed { why, after },
        code => Attempt::Refused(format!("{code:?}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn codes_are_tried_again_as_the_protocol_says() {
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
            let attempt = judge(&Status::new(code, "why"));
            assert_eq!(matches!(attempt, Attempt::Failed { .. }), again, "{code:?}");
        }
    }

    #[test]
    fn a_server_says_when_it_has_room_again() {
        let delay = Some(Duration::from_millis(2500));
        let details = ErrorDetails::with_retry_info(delay);
        let status = Status::with_error_details(Code::ResourceExhausted, "full", details);
        let why = "full".to_owned();
        assert_eq!(judge(&status), Attempt::Failed { why, after: delay });
    }
}

use http_body_util::BodyExt;

use super::{
    super::{
        super::messages::ExportTracePartialSuccess,
        outcome::PartialSuccess,
        rpc::{Any, ProtoDuration, RETRY_INFO, RetryInfo},
    },
    *,
};

/// An answer with these trailers; without a body they are its headers.
async fn answer(body: Option<Bytes>, trailers: &[(&'static str, String)]) -> Outcome {
    let mut map = HeaderMap::new();
    for (name, value) in trailers {
        map.insert(*name, value.parse().expect("a value"));
    }
    let mut answer = Response::new(());
    let body = if let Some(body) = body {
        let trailers = async { Some(Ok(map)) };
        Full::new(body).with_trailers(trailers).collect().await
    } else {
        *answer.headers_mut() = map;
        Full::default().collect().await
    };
    let body = body.expect("it cannot fail");
    outcome(answer.map(|()| body))
}

fn status(code: Code, message: &str) -> [(&'static str, String); 2] {
    let number = Code::ALL.iter().position(|of| *of == code);
    let number = number.expect("a number").to_string();
    [
        ("grpc-status", number),
        ("grpc-message", message.to_owned()),
    ]
}

#[tokio::test]
async fn codes_are_retryable_as_the_protocol_defines() {
    use Code::{
        Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition,
        Internal, InvalidArgument, NotFound, OutOfRange, PermissionDenied, ResourceExhausted,
        Unauthenticated, Unavailable, Unimplemented, Unknown,
    };
    // In the order of their numbers, which begin with 1.
    let codes = [
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
    ];
    for (number, (code, again)) in (1..).zip(codes) {
        let trailers = [
            ("grpc-status", i32::to_string(&number)),
            ("grpc-message", "why%3f%0Anot".to_owned()),
        ];
        let expected = if again {
            Outcome::failed("why? not")
        } else {
            Outcome::Refused(format!("{code:?}: why? not"))
        };
        assert_eq!(answer(None, &trailers).await, expected);
        assert_eq!(answer(Some(Bytes::new()), &trailers).await, expected);
    }
    let unknown = answer(None, &[("grpc-status", "17".to_owned())]).await;
    assert_eq!(unknown, Outcome::Refused("Unknown".to_owned()));
}

#[tokio::test]
async fn an_exhausted_server_may_ask_for_a_retry() {
    let info = RetryInfo {
        retry_delay: Some(ProtoDuration {
            seconds: 2,
            nanos: 500_000_000,
        }),
    };
    let details = rpc::RpcStatus {
        details: vec![Any {
            type_url: format!("type.googleapis.com/{RETRY_INFO}"),
            value: info.encode_to_vec(),
        }],
        ..rpc::RpcStatus::default()
    };
    let encoded = BASE64.encode(details.encode_to_vec());
    for encoded in [encoded.as_str(), encoded.trim_end_matches('=')] {
        let mut trailers = status(Code::ResourceExhausted, "full").to_vec();
        trailers.push(("grpc-status-details-bin", encoded.to_owned()));
        let expected = Outcome::Retryable {
            reason: "full".to_owned(),
            retry_after: Some(Duration::from_millis(2500)),
        };
        assert_eq!(answer(None, &trailers).await, expected);
    }
}

#[tokio::test]
async fn a_message_is_read_from_its_frame() {
    let partial = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: 3,
            error_message: "too old".to_owned(),
        }),
    };
    let whole = frame(&partial);
    let accepted = answer(Some(whole.clone()), &status(Code::Ok, "")).await;
    let expected = PartialSuccess {
        rejected: 3,
        message: "too old".to_owned(),
    };
    assert_eq!(accepted, Outcome::Accepted(expected));
    let mut compressed = BytesMut::from(&whole[..]);
    compressed[0] = 1;
    for bad in [whole.slice(..3), whole.slice(..8), compressed.freeze()] {
        let refused = answer(Some(bad), &status(Code::Ok, "")).await;
        assert!(matches!(refused, Outcome::Refused(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_of_grpc_has_its_http_status() {
    for (number, again) in [(200, false), (401, false), (404, false), (503, true)] {
        let body = Full::<Bytes>::default().collect().await;
        let mut answer = Response::new(body.expect("it cannot fail"));
        *answer.status_mut() = number.try_into().expect("a status");
        let failure = read(answer).expect_err("no status of gRPC");
        assert!(failure.message.starts_with(&number.to_string()));
        let outcome = failure.outcome();
        let is_retryable = matches!(outcome, Outcome::Retryable { .. });
        assert_eq!(is_retryable, again, "{outcome:?}");
    }
}

#[test]
fn a_request_is_a_frame_for_the_service() {
    let origin = Uri::from_static("http://c:4317/");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert("x-team", HeaderValue::from_static("vault"));
    let request = request(origin, headers, &ExportTraceServiceRequest::default());
    let request = request.expect("a request");
    assert_eq!(request.uri(), &*format!("http://c:4317{EXPORT}"));
    for (name, value) in [
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("x-team", "vault"),
    ] {
        assert_eq!(request.headers()[name], value);
    }
    assert_eq!(frame(&ExportTraceServiceRequest::default()), &[0; 5][..]);
}

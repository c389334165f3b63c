use super::*;

/// Of a standby: a client's span in its request, and no error, which the active node's agent has.
#[test]
fn a_forwarded_request_is_a_span_of_its_request() {
    let forwarded = Forwarded {
        request: RequestInfo {
            client: Some(([127, 0, 0, 1], 50_000).into()),
            start: 1_000,
            duration: 9_000,
            ..RequestInfo::default()
        },
        to: Some("10.0.0.1:8201".to_owned()),
        start: 2_000,
        duration: 7_000,
        uncertainty: 0,
    };
    let request = Spans::default().on(&Finding::Forwarded(Box::new(forwarded)));
    let spans = &request.expect("a request").resource_spans[0].scope_spans[0].spans;
    let [request, forwarded] = spans.as_slice() else {
        panic!("{spans:?}");
    };
    assert_eq!((&*request.name, &*forwarded.name), ("request", "forwarded"));
    assert_eq!(forwarded.parent_span_id, request.span_id);
    assert_eq!(forwarded.kind, i32::from(SpanKind::Client));
    assert_eq!(forwarded.status, Some(Status::default()));
    let duration = forwarded.end_time_unix_nano - forwarded.start_time_unix_nano;
    assert_eq!(duration, 7_000);
    let keys: Vec<_> = forwarded
        .attributes
        .iter()
        .map(|a| a.key.as_str())
        .collect();
    assert!(keys.contains(&"network.peer.address"), "{keys:?}");
    assert!(!keys.contains(&"error.type"), "{keys:?}");
}

use super::*;
use tracer_model::{Cause, Device, Transport, UntakenEntries};

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

/// With `--process` the trace goes on with the next server, of which the outage is no part.
#[test]
fn an_incident_without_an_end_ends_with_its_server() {
    let session = |pid| Session {
        pid,
        ..Session::default()
    };
    let mut spans = Spans::default();
    let mut export = |finding| spans.on(&finding).map(|request| request.resource_spans);
    assert!(export(Finding::Session(session(1))).is_none());
    let incident = Incident {
        device: Device::configured(Transport::Tcp, "10.0.0.2:1515"),
        start: 2,
        end: None,
        cause: Cause::NoAck,
        hangs: 0,
        refusals: 0,
        requests: 1,
        blocked: 0,
        longest: 0,
        lost: None,
        untaken: UntakenEntries::default(),
    };
    assert!(export(Finding::Incident(incident)).is_none());
    let ended = Ended {
        at: 9,
        under_way: 0,
    };
    let of_server = export(Finding::Ended(ended)).expect("spans").remove(0);
    assert_eq!(of_server.resource, Some(describe::resource(&session(1))));
    let [incident, ended] = of_server.scope_spans[0].spans.as_slice() else {
        panic!("{of_server:?}");
    };
    assert_eq!(
        (&*incident.name, &*ended.name),
        ("audit incident", "server ended")
    );
    assert_eq!(incident.end_time_unix_nano, ended.end_time_unix_nano);
    let lasted = incident.end_time_unix_nano - incident.start_time_unix_nano;
    assert_eq!(lasted, 7);
    let mut attributes = incident.attributes.iter();
    assert!(
        attributes.any(|a| a.key == "vault.incident.open"),
        "{incident:?}"
    );

    assert!(export(Finding::Attached(session(2))).is_none());
    let of_trace = export(Finding::Summary(Summary::default()))
        .expect("a span")
        .remove(0);
    let names = of_trace.scope_spans[0].spans.iter().map(|span| &*span.name);
    assert_eq!(names.collect::<Vec<_>>(), ["session"]);
}

use super::*;
use crate::sink::perfetto::proto::{Data, EventType};
use tracer_model::{Cause, Ended, Transport, UntakenEntries};

/// Writes a finding. When its events are, and what, in the order in which they are written.
fn written(packets: &mut Packets, finding: &Finding) -> Vec<(u64, TrackEvent)> {
    let written = packets.on(finding).expect("packets").into_iter();
    let events = written.filter_map(|packet| match packet.data {
        Some(Data::TrackEvent(event)) => Some((packet.timestamp?, event)),
        _ => None,
    });
    events.collect()
}

/// In the slice of its request: four events, nested.
#[test]
fn a_forwarded_request_is_a_slice_of_its_connection() {
    let mut packets = Packets::default();
    written(&mut packets, &Finding::Session(Session::default()));
    let forwarded = Forwarded {
        request: RequestInfo {
            start: 1,
            duration: 9,
            ..RequestInfo::default()
        },
        to: None,
        start: 2,
        duration: 7,
        uncertainty: 0,
    };
    let events = written(&mut packets, &Finding::Forwarded(Box::new(forwarded)));
    let events = events
        .iter()
        .map(|(at, event)| (*at, event.name.as_deref()));
    let expected = [
        (1, Some("request")),
        (2, Some("forwarded")),
        (9, None),
        (10, None),
    ];
    assert_eq!(events.collect::<Vec<_>>(), expected);
}

/// With `--process` the trace goes on with the next server, of which the outage is no part: nor do requests wait for the device.
#[test]
fn an_incident_without_an_end_ends_with_its_server() {
    let device = || Device::configured(Transport::Tcp, "10.0.0.2:1515");
    let mut packets = Packets::default();
    written(&mut packets, &Finding::Session(Session::default()));
    let stalled = Stalled {
        hang: 1,
        device: device(),
        start: 2,
        at: 3,
        op: Op::Write,
        cause: Cause::NoAck,
        request: RequestInfo::default(),
        waiting: 4,
        estimated: false,
        blocked: 1,
    };
    let stalled = written(&mut packets, &Finding::Stalled(Box::new(stalled)));
    let counters = stalled
        .iter()
        .filter(|(_, event)| event.counter_value == Some(4));
    let counters: Vec<_> = counters.map(|(_, event)| event.track_uuid).collect();
    let incident = Incident {
        device: device(),
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
    let begun = written(&mut packets, &Finding::Incident(incident));
    let (begun, waiting) = (begun[0].1.track_uuid, counters[0]);
    let ended = Ended {
        at: 9,
        under_way: 0,
    };
    let ends = written(&mut packets, &Finding::Ended(ended));
    let [(9, slice), (9, counter), (9, server)] = ends.as_slice() else {
        panic!("{ends:?}");
    };
    assert_eq!(slice.r#type, Some(EventType::SliceEnd.into()));
    assert_eq!(slice.track_uuid, begun);
    assert_eq!(
        (counter.track_uuid, counter.counter_value),
        (waiting, Some(0))
    );
    assert_eq!(server.name.as_deref(), Some("server ended"));

    written(&mut packets, &Finding::Attached(Session::default()));
    let ends = written(&mut packets, &Finding::Summary(Summary::default()));
    let names = ends.iter().map(|(_, event)| event.name.as_deref());
    assert_eq!(names.collect::<Vec<_>>(), [Some("trace ends")]);
}

//! Which tracks there are. Slices of one track lie within or behind one another, so whatever may
//! overlap has lanes: tracks of one name, which are shown as one.
//!
//! ```text
//! bao 1234                         process
//!     audit devices
//!         tcp 10.0.0.2:1515        stalls; instants
//!             incidents
//!             requests waiting     counter
//!             send queue           counter, bytes
//!             send buffer          counter, bytes: the limit of the former
//!     blocked requests
//!         client 10.0.0.9:50222    requests, in them hangs, in them stalls
//!             at the same time     what does not lie within its request, or overlaps
//! ```

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    path::Path,
};

use super::{
    batch::{Batch, Says, Span},
    proto::{ChildOrdering, CounterDescriptor, ProcessDescriptor, TrackDescriptor, Unit},
};
use crate::sink::recent::Recent;
use tracer_model::{Device, Nanos, RequestInfo, Session};

/// Slices that a lane is known to hold one by one. Of older ones the times between are taken too.
const KNOWN: usize = 64;

/// Requests of a connection that further hangs may belong to.
const REQUESTS: usize = 64;

/// Numbers of tracks and flows. They begin at the time of the trace, so that those of traces put
/// behind one another differ, and a recording always replays to the same.
#[derive(Debug)]
pub(super) struct Ids(u64);

impl Ids {
    pub(super) fn from(first: u64) -> Self {
        Self(first)
    }

    pub(super) fn next(&mut self) -> u64 {
        let id = self.0;
        self.0 = self.0.wrapping_add(1);
        id
    }
}

/// A new track.
fn track(
    (ids, batch): (&mut Ids, &mut Batch),
    parent: u64,
    name: &str,
    rest: TrackDescriptor,
) -> u64 {
    let uuid = ids.next();
    batch.track(TrackDescriptor {
        uuid: Some(uuid),
        parent_uuid: Some(parent),
        name: Some(name.to_owned()),
        ..rest
    });
    uuid
}

/// Those of one server.
#[derive(Debug)]
pub(super) struct Tracks {
    /// The server itself.
    pub(super) process: u64,
    devices_parent: u64,
    connections_parent: u64,
    devices: HashMap<Device, DeviceTracks>,
    connections: Recent<Option<SocketAddr>, Connection>,
}

impl Tracks {
    pub(super) fn of(session: &Session, ids: &mut Ids, batch: &mut Batch) -> Self {
        let process = ids.next();
        let exe = Path::new(&session.exe).file_name();
        let name = exe.map(|name| name.to_string_lossy().into_owned());
        batch.track(TrackDescriptor {
            uuid: Some(process),
            process: Some(ProcessDescriptor {
                pid: Some(session.pid),
                process_name: name,
            }),
            ..TrackDescriptor::default()
        });
        let mut group = |name, ordering: ChildOrdering| {
            let rest = TrackDescriptor {
                child_ordering: Some(ordering.into()),
                ..TrackDescriptor::default()
            };
            track((&mut *ids, &mut *batch), process, name, rest)
        };
        Self {
            process,
            devices_parent: group("audit devices", ChildOrdering::Lexicographic),
            connections_parent: group("blocked requests", ChildOrdering::Chronological),
            devices: HashMap::new(),
            connections: Recent::default(),
        }
    }

    pub(super) fn device(
        &mut self,
        device: &Device,
        ids: &mut Ids,
        batch: &mut Batch,
    ) -> &mut DeviceTracks {
        let parent = self.devices_parent;
        self.devices
            .entry(device.clone())
            .or_insert_with(|| DeviceTracks::new(device, parent, ids, batch))
    }

    pub(super) fn connection(
        &mut self,
        client: Option<SocketAddr>,
        ids: &mut Ids,
        batch: &mut Batch,
    ) -> &mut Connection {
        let parent = self.connections_parent;
        self.connections
            .entry(&client, || Connection::new(client, parent, ids, batch))
    }
}

/// Those of one audit device.
#[derive(Debug)]
pub(super) struct DeviceTracks {
    /// The device's own: stalls.
    pub(super) stalls: Lanes,
    pub(super) incidents: Lanes,
    /// Bytes.
    pub(super) queue: Counter,
    /// Bytes.
    pub(super) buffer: Counter,
    pub(super) waiting: Counter,
}

impl DeviceTracks {
    fn new(device: &Device, parent: u64, ids: &mut Ids, batch: &mut Batch) -> Self {
        let stalls = Lanes::new(&device.to_string(), parent, ids, batch);
        let own = stalls.first;
        Self {
            stalls,
            incidents: Lanes::new("incidents", own, ids, batch),
            queue: Counter::new("send queue", own, Unit::SizeBytes),
            buffer: Counter::new("send buffer", own, Unit::SizeBytes),
            waiting: Counter::new("requests waiting", own, Unit::Count),
        }
    }

    /// Where instants go.
    pub(super) fn own(&self) -> u64 {
        self.stalls.first
    }
}

/// A counter, whose track is made for its first value.
#[derive(Debug)]
pub(super) struct Counter {
    name: &'static str,
    parent: u64,
    unit: Unit,
    track: Option<u64>,
}

impl Counter {
    fn new(name: &'static str, parent: u64, unit: Unit) -> Self {
        Self {
            name,
            parent,
            unit,
            track: None,
        }
    }

    pub(super) fn set(&mut self, at: Nanos, value: u64, ids: &mut Ids, batch: &mut Batch) {
        let track = *self.track.get_or_insert_with(|| {
            // How full a buffer is can be seen if it is drawn to the scale of its limit.
            let scale = (self.unit == Unit::SizeBytes).then(|| "send buffer".to_owned());
            let counter = CounterDescriptor {
                unit: Some(self.unit.into()),
                y_axis_share_key: scale,
            };
            let rest = TrackDescriptor {
                counter: Some(counter),
                ..TrackDescriptor::default()
            };
            track((ids, &mut *batch), self.parent, self.name, rest)
        });
        batch.counter(at, track, value);
    }

    /// Back to nothing, if it ever was more.
    pub(super) fn clear(&self, at: Nanos, batch: &mut Batch) {
        if let Some(track) = self.track {
            batch.counter(at, track, 0);
        }
    }
}

/// Those of one client's connection, or of all requests of which no client is known.
#[derive(Debug)]
pub(super) struct Connection {
    requests: Lanes,
    beside: Option<Lanes>,
    told: VecDeque<Told>,
}

/// A request whose slice is written.
#[derive(Debug)]
struct Told {
    id: Option<String>,
    span: Span,
    track: u64,
    /// Hangs in it.
    within: Vec<Span>,
}

impl Connection {
    fn new(client: Option<SocketAddr>, parent: u64, ids: &mut Ids, batch: &mut Batch) -> Self {
        let name = match client {
            Some(client) => format!("client {client}"),
            None => "client unknown".to_owned(),
        };
        Self {
            requests: Lanes::new(&name, parent, ids, batch),
            beside: None,
            told: VecDeque::new(),
        }
    }

    /// Where a hang of this request goes. The slice of the request is begun if it was not written yet:
    /// its end is then returned too, to be written behind the hang.
    pub(super) fn hang(
        &mut self,
        (request, span): (&RequestInfo, Span),
        says: impl FnOnce() -> Says,
        ids: &mut Ids,
        batch: &mut Batch,
    ) -> (u64, Option<(Nanos, u64)>) {
        let known = |told: &&mut Told| told.id == request.id && told.span.start == request.start;
        if let Some(told) = self.told.iter_mut().find(known) {
            let free = !told.within.iter().any(|other| span.conflicts(*other));
            if free && told.span.contains(span) {
                told.within.push(span);
                return (told.track, None);
            }
            return (self.beside(span, ids, batch), None);
        }
        let whole = Span {
            start: request.start,
            end: request.start.saturating_add(request.duration),
        };
        let track = self.requests.place(whole, ids, batch);
        batch.begin(whole.start, track, says());
        let fits = whole.contains(span);
        if self.told.len() == REQUESTS {
            self.told.pop_front();
        }
        self.told.push_back(Told {
            id: request.id.clone(),
            span: whole,
            track,
            within: fits.then_some(span).into_iter().collect(),
        });
        if fits {
            return (track, Some((whole.end, track)));
        }
        batch.end(whole.end, track);
        (self.beside(span, ids, batch), None)
    }

    /// A track for what has no room in its own.
    pub(super) fn beside(&mut self, span: Span, ids: &mut Ids, batch: &mut Batch) -> u64 {
        let parent = self.requests.first;
        let beside = self
            .beside
            .get_or_insert_with(|| Lanes::new("at the same time", parent, ids, batch));
        beside.place(span, ids, batch)
    }
}

/// Tracks of one name, of which each slice gets one where it overlaps with none.
#[derive(Debug)]
pub(super) struct Lanes {
    name: String,
    parent: u64,
    /// The one that is always there.
    pub(super) first: u64,
    all: Vec<Lane>,
}

#[derive(Debug)]
struct Lane {
    track: u64,
    /// By their beginning.
    taken: Vec<Span>,
}

impl Lane {
    fn new(track: u64) -> Self {
        Self {
            track,
            taken: Vec::new(),
        }
    }

    fn take(&mut self, span: Span) {
        let place = self.taken.partition_point(|other| other.start < span.start);
        self.taken.insert(place, span);
        if self.taken.len() > KNOWN {
            let oldest = self.taken.remove(0);
            self.taken[0] = Span {
                start: oldest.start,
                end: oldest.end.max(self.taken[0].end),
            };
        }
    }
}

impl Lanes {
    fn new(name: &str, parent: u64, ids: &mut Ids, batch: &mut Batch) -> Self {
        let first = track((ids, batch), parent, name, TrackDescriptor::default());
        Self {
            name: name.to_owned(),
            parent,
            first,
            all: vec![Lane::new(first)],
        }
    }

    /// The track for a slice of this time.
    pub(super) fn place(&mut self, span: Span, ids: &mut Ids, batch: &mut Batch) -> u64 {
        let free = |lane: &&mut Lane| !lane.taken.iter().any(|other| span.conflicts(*other));
        if let Some(lane) = self.all.iter_mut().find(free) {
            lane.take(span);
            return lane.track;
        }
        let rest = TrackDescriptor::default();
        let mut lane = Lane::new(track((ids, batch), self.parent, &self.name, rest));
        lane.take(span);
        let track = lane.track;
        self.all.push(lane);
        track
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes() -> (Lanes, Ids, Batch) {
        let (mut ids, mut batch) = (Ids::from(7), Batch::default());
        (Lanes::new("lanes", 1, &mut ids, &mut batch), ids, batch)
    }

    #[test]
    fn what_overlaps_is_put_apart_in_whatever_order_it_comes() {
        let (mut lanes, mut ids, mut batch) = lanes();
        let mut place = |start, end| lanes.place(Span { start, end }, &mut ids, &mut batch);
        assert_eq!(place(10, 20), 7);
        assert_eq!(place(20, 30), 7, "behind");
        assert_eq!(place(15, 25), 8, "across");
        assert_eq!(place(1, 9), 7, "before");
        assert_eq!(place(30, 30), 7, "of no length");
        assert_eq!(place(9, 10), 8, "would begin where it ends");
    }

    #[test]
    fn a_lane_does_not_grow_and_is_never_taken_twice() {
        let (mut lanes, mut ids, mut batch) = lanes();
        for start in (0..1000).map(|n| n * 10) {
            let span = Span {
                start,
                end: start + 5,
            };
            assert_eq!(lanes.place(span, &mut ids, &mut batch), 7);
        }
        assert_eq!(lanes.all[0].taken.len(), KNOWN);
        let early = Span { start: 6, end: 8 };
        assert_eq!(lanes.place(early, &mut ids, &mut batch), 8);
    }
}

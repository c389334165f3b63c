//! The tracks of a trace. Slices of one track nest or follow one another, so slices that may overlap get lanes: tracks of
//! one name, which are shown as one.
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

use std::{collections::HashMap, net::SocketAddr, path::Path};

use super::{
    proto::{
        ChildOrdering, CounterDescriptor, ProcessDescriptor, TrackDescriptor, TrackEvent, Unit,
    },
    writer::{Interval, Writer},
};
use crate::bounded::BoundedMap;
use tracer_model::{Device, Nanos, RequestInfo, Session};

/// Slices of a lane that are known one by one. Gaps between older ones count as used.
const MAX_SLICES: usize = 64;

/// Connections whose tracks are used again.
const MAX_CONNECTIONS: usize = 1024;

/// Requests of a connection that further hangs may belong to.
const MAX_REQUESTS: usize = 64;

fn named(name: &str, parent: u64) -> TrackDescriptor {
    TrackDescriptor {
        parent_uuid: Some(parent),
        name: Some(name.to_owned()),
        ..TrackDescriptor::default()
    }
}

/// The tracks of one server.
#[derive(Debug)]
pub(super) struct Tracks {
    pub(super) process: u64,
    devices_parent: u64,
    connections_parent: u64,
    devices: HashMap<Device, DeviceTracks>,
    connections: BoundedMap<Option<SocketAddr>, ConnectionTracks, MAX_CONNECTIONS>,
}

impl Tracks {
    pub(super) fn new(session: &Session, writer: &mut Writer) -> Self {
        let exe = Path::new(&session.exe).file_name();
        let process = ProcessDescriptor {
            pid: Some(session.pid),
            process_name: exe.map(|name| name.to_string_lossy().into_owned()),
        };
        let process = writer.track(TrackDescriptor {
            process: Some(process),
            ..TrackDescriptor::default()
        });
        let mut group = |name, ordering: ChildOrdering| {
            writer.track(TrackDescriptor {
                child_ordering: Some(ordering.into()),
                ..named(name, process)
            })
        };
        Self {
            process,
            devices_parent: group("audit devices", ChildOrdering::Lexicographic),
            connections_parent: group("blocked requests", ChildOrdering::Chronological),
            devices: HashMap::new(),
            connections: BoundedMap::default(),
        }
    }

    pub(super) fn device(&mut self, device: &Device, writer: &mut Writer) -> &mut DeviceTracks {
        let parent = self.devices_parent;
        self.devices
            .entry(device.clone())
            .or_insert_with(|| DeviceTracks::new(device, parent, writer))
    }

    /// The tracks of a client's connection; `None` is for all requests whose client is unknown.
    pub(super) fn connection(
        &mut self,
        client: Option<SocketAddr>,
        writer: &mut Writer,
    ) -> &mut ConnectionTracks {
        let parent = self.connections_parent;
        self.connections.entry(&client, || {
            let name = client.map_or("client unknown".to_owned(), |client| {
                format!("client {client}")
            });
            ConnectionTracks {
                requests: Lanes::new(&name, parent, writer),
                aside: None,
                written: BoundedMap::default(),
            }
        })
    }
}

/// The tracks of one audit device.
#[derive(Debug)]
pub(super) struct DeviceTracks {
    pub(super) stalls: Lanes,
    pub(super) incidents: Lanes,
    pub(super) send_queue: Counter,
    pub(super) send_buffer: Counter,
    pub(super) waiting: Counter,
}

impl DeviceTracks {
    fn new(device: &Device, parent: u64, writer: &mut Writer) -> Self {
        let stalls = Lanes::new(&device.to_string(), parent, writer);
        let parent = stalls.first;
        Self {
            stalls,
            incidents: Lanes::new("incidents", parent, writer),
            send_queue: Counter::new("send queue", parent, Unit::SizeBytes),
            send_buffer: Counter::new("send buffer", parent, Unit::SizeBytes),
            waiting: Counter::new("requests waiting", parent, Unit::Count),
        }
    }

    /// The track of the device itself, for instants.
    pub(super) fn track(&self) -> u64 {
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

    pub(super) fn set(&mut self, at: Nanos, value: u64, writer: &mut Writer) {
        let track = *self.track.get_or_insert_with(|| {
            // The queue is drawn to the scale of its limit.
            let scale = (self.unit == Unit::SizeBytes).then(|| "send buffer".to_owned());
            writer.track(TrackDescriptor {
                counter: Some(CounterDescriptor {
                    unit: Some(self.unit.into()),
                    y_axis_share_key: scale,
                }),
                ..named(self.name, self.parent)
            })
        });
        writer.counter(at, track, value);
    }

    /// Back to 0, if it was ever set.
    pub(super) fn clear(&self, at: Nanos, writer: &mut Writer) {
        if let Some(track) = self.track {
            writer.counter(at, track, 0);
        }
    }
}

#[derive(Debug)]
pub(super) struct ConnectionTracks {
    requests: Lanes,
    aside: Option<Lanes>,
    /// By id and start.
    written: BoundedMap<(Option<String>, Nanos), WrittenRequest, MAX_REQUESTS>,
}

/// A request whose slice is written.
#[derive(Debug)]
struct WrittenRequest {
    time: Interval,
    track: u64,
    /// Hangs in it.
    hangs: Vec<Interval>,
}

impl WrittenRequest {
    fn has_room_for(&self, hang: Interval) -> bool {
        self.time.contains(hang) && !self.hangs.iter().any(|other| hang.conflicts(*other))
    }
}

impl ConnectionTracks {
    /// The track for a hang of this request. Begins the request's slice if it was not written yet: its end is returned
    /// too, to be written behind the hang.
    pub(super) fn place_hang(
        &mut self,
        request: &RequestInfo,
        hang: Interval,
        event: impl FnOnce() -> TrackEvent,
        writer: &mut Writer,
    ) -> (u64, Option<(Nanos, u64)>) {
        let time = Interval {
            start: request.start,
            end: request.start.saturating_add(request.duration),
        };
        let mut end = None;
        let key = (request.id.clone(), request.start);
        let written = self.written.entry(&key, || {
            let track = self.requests.place(time, writer);
            writer.begin(time.start, track, event());
            end = Some((time.end, track));
            WrittenRequest {
                time,
                track,
                hangs: Vec::new(),
            }
        });
        if written.has_room_for(hang) {
            written.hangs.push(hang);
            return (written.track, end);
        }
        if let Some((at, track)) = end {
            writer.end(at, track);
        }
        (self.place_aside(hang, writer), None)
    }

    /// A track for a slice that does not fit into its parent.
    pub(super) fn place_aside(&mut self, time: Interval, writer: &mut Writer) -> u64 {
        let parent = self.requests.first;
        let aside = self
            .aside
            .get_or_insert_with(|| Lanes::new("at the same time", parent, writer));
        aside.place(time, writer)
    }
}

/// Tracks of one name; a slice gets the first in which it overlaps with none.
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
    /// Sorted by start.
    slices: Vec<Interval>,
}

impl Lane {
    fn new(track: u64) -> Self {
        Self {
            track,
            slices: Vec::new(),
        }
    }

    fn is_free(&self, time: Interval) -> bool {
        !self.slices.iter().any(|other| time.conflicts(*other))
    }

    fn add(&mut self, time: Interval) {
        let index = self
            .slices
            .partition_point(|other| other.start < time.start);
        self.slices.insert(index, time);
        if self.slices.len() > MAX_SLICES {
            let oldest = self.slices.remove(0);
            self.slices[0] = Interval {
                start: oldest.start,
                end: oldest.end.max(self.slices[0].end),
            };
        }
    }
}

impl Lanes {
    fn new(name: &str, parent: u64, writer: &mut Writer) -> Self {
        let first = writer.track(named(name, parent));
        Self {
            name: name.to_owned(),
            parent,
            first,
            all: vec![Lane::new(first)],
        }
    }

    /// The track for a slice of this time.
    pub(super) fn place(&mut self, time: Interval, writer: &mut Writer) -> u64 {
        let free = self.all.iter().position(|lane| lane.is_free(time));
        let index = free.unwrap_or_else(|| {
            let track = writer.track(named(&self.name, self.parent));
            self.all.push(Lane::new(track));
            self.all.len() - 1
        });
        self.all[index].add(time);
        self.all[index].track
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of which the first is track 0.
    fn lanes() -> (Lanes, Writer) {
        let mut writer = Writer::default();
        (Lanes::new("lanes", 1, &mut writer), writer)
    }

    #[test]
    fn overlapping_slices_get_lanes_of_their_own_in_any_order() {
        let (mut lanes, mut writer) = lanes();
        let mut place = |start, end| lanes.place(Interval { start, end }, &mut writer);
        assert_eq!(place(10, 20), 0);
        assert_eq!(place(20, 30), 0, "behind");
        assert_eq!(place(15, 25), 1, "across");
        assert_eq!(place(1, 9), 0, "before");
        assert_eq!(place(30, 30), 0, "of no length");
        assert_eq!(place(9, 10), 1, "would begin where it ends");
    }

    #[test]
    fn a_lane_does_not_grow_and_is_never_used_twice() {
        let (mut lanes, mut writer) = lanes();
        for start in (0..1000).map(|n| n * 10) {
            let time = Interval {
                start,
                end: start + 5,
            };
            assert_eq!(lanes.place(time, &mut writer), 0);
        }
        assert_eq!(lanes.all[0].slices.len(), MAX_SLICES);
        let early = Interval { start: 6, end: 8 };
        assert_eq!(lanes.place(early, &mut writer), 1);
    }
}

//! An HTTP log server that ends each connection with its answer: each entry has a connection of its own. While that goes well the
//! core gets nothing of it; when it does not, what the core says is what it says when all is streamed.

use anyhow::{Result, ensure};
use serde_json::Value;
use test_events::{
    BEGAN, EAGAIN, MS, S, THRESHOLD, WHOLE, actor, changed, client_address, client_socket, device,
    device_address, received, sent, socket,
};
use test_support::simulation::Capture;
use tracer_core::{Core, replay};
use tracer_model::{
    EntryHead, EntryKind, Event, EventKind, Finding, GoroutineSample, Nanos, Session, Socket, Tcp,
    TcpState, WaitReason,
};

use crate::{recordings::records, simulated::SimulatedCapture};

/// Requests before the fault.
const HEALTHY: u64 = 300;

/// In TLS 1.3, bytes.
const CLOSE_NOTIFY: i64 = 24;

/// What happens to the last request's last entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Nothing,
    /// The answer comes after a second.
    AnsweredLate,
    /// An answer of 503.
    Rejected,
    /// The SYN is answered after a second.
    DialledLate,
    /// The SYN is answered by a RST.
    Refused,
    /// The connection is reset when the entry has been sent.
    Reset,
    /// The send buffer takes a part of the entry, and the rest after a second.
    Short,
    /// No part of it is acknowledged for a second, and then the connection ends.
    Unacknowledged,
}

struct Story {
    /// Whether entries are within TLS.
    tls: bool,
    events: Vec<Event>,
    now: Nanos,
}

impl Story {
    fn new(tls: bool) -> Self {
        let session = Session {
            began: BEGAN,
            threshold: THRESHOLD,
            stacks: true,
            declared: vec![device(0)],
            ..Session::default()
        };
        let mut story = Self {
            tls,
            events: Vec::new(),
            now: BEGAN,
        };
        story.happens(EventKind::Session(session));
        story
    }

    fn happens(&mut self, what: EventKind) {
        let at = self.now;
        self.events.push(Event { at, what });
    }

    /// The agent's clock ticks, and it samples the server's goroutines.
    fn pass(&mut self, time: Nanos, sample: Option<&GoroutineSample>) {
        for step in 1..=time / (10 * MS) {
            self.now += 10 * MS;
            self.happens(EventKind::Tick);
            if let Some(sample) = sample
                && step % 10 == 0
            {
                let goroutines = vec![sample.clone()];
                self.happens(EventKind::GoroutinesSampled {
                    goroutines,
                    handlers: None,
                });
            }
        }
    }

    fn state(&mut self, socket: &Socket, change: (TcpState, TcpState), rest: (i32, u32)) {
        let mut what = changed(socket.clone(), actor(socket.id.born, HANDLER), change);
        if let EventKind::State { errno, tcp, .. } = &mut what {
            *errno = rest.0;
            *tcp = Some(Tcp {
                nxt: rest.1,
                end: rest.1,
                ..Tcp::default()
            });
        }
        self.happens(what);
        self.now += MS / 10;
    }

    fn writes(&mut self, socket: &Socket, result: i64, head: Option<EntryHead>) {
        let head = head.filter(|_| !self.tls);
        let mut what = sent(socket.clone(), actor(socket.id.born + 1, 0), result, head);
        if let EventKind::Send { tcp, .. } = &mut what {
            *tcp = Some(Tcp {
                end: u32::try_from(result).unwrap_or_default(),
                ..Tcp::default()
            });
        }
        self.happens(what);
        self.now += MS / 10;
    }

    fn closes_tls(&mut self, socket: &Socket) {
        self.writes(socket, CLOSE_NOTIFY, None);
        let last = self.events.last_mut().map(|event| &mut event.what);
        if let Some(EventKind::Send { requested, .. }) = last {
            *requested = Some(CLOSE_NOTIFY as u64);
        }
    }

    fn entry(&mut self, head: &EntryHead, fault: Fault) {
        use TcpState::{Close, CloseWait, Established, LastAck, SynSent};
        let to = socket(self.now, false, device_address(0));
        let waits = |place| GoroutineSample {
            goid: HANDLER,
            ancestors: Vec::new(),
            request: None,
            place,
            since: None,
            phase: None,
            device: Some(device(0)),
            frames: Vec::new(),
            entry: Some(head.clone()),
        };
        self.state(&to, (Close, SynSent), (0, 0));
        if fault == Fault::DialledLate {
            self.pass(S, Some(&waits(WaitReason::Connect)));
        }
        if fault == Fault::Refused {
            return self.state(&to, (SynSent, Close), (111, 1));
        }
        self.state(&to, (SynSent, Established), (0, 0));
        if fault == Fault::Short {
            self.writes(&to, 300, Some(head.clone()));
            self.writes(&to, EAGAIN, None);
            self.pass(S, Some(&waits(WaitReason::Write)));
            self.writes(&to, WHOLE, None);
        } else {
            self.writes(&to, WHOLE, Some(head.clone()));
        }
        match fault {
            Fault::AnsweredLate => self.pass(S, Some(&waits(WaitReason::Answer))),
            Fault::Unacknowledged => {
                self.pass(S, Some(&waits(WaitReason::Answer)));
                return self.state(&to, (Established, Close), (110, WHOLE as u32));
            }
            Fault::Reset => return self.state(&to, (Established, Close), (104, 0)),
            Fault::Rejected if !self.tls => self.happens(EventKind::Rejected {
                socket: to.clone(),
                status: 503,
            }),
            _ => {}
        }
        self.state(&to, (Established, CloseWait), (0, 0));
        if !self.tls {
            self.state(&to, (CloseWait, LastAck), (0, 0));
            return self.state(&to, (LastAck, Close), (0, 1));
        }
        self.closes_tls(&to);
        let owed = CLOSE_NOTIFY as u32;
        let reset = EventKind::Reset { socket: to.clone() };
        // The peer's RST may come before the server closes its end, or after.
        if (to.id.born / (MS / 10)).is_multiple_of(2) {
            self.happens(reset);
            self.state(&to, (CloseWait, Close), (32, owed));
            self.happens(EventKind::SocketError {
                socket: to,
                errno: 32,
                soft: 0,
            });
        } else {
            self.state(&to, (CloseWait, LastAck), (0, owed));
            self.happens(reset);
            self.state(&to, (LastAck, Close), (104, owed + 1));
        }
    }

    fn request(&mut self, number: u64, fault: Fault) {
        let client = client_socket(client_address(0));
        let handler = actor(HANDLER, 1);
        self.happens(received(client.clone(), handler, 200));
        for kind in [EntryKind::Request, EntryKind::Response] {
            let head = EntryHead {
                kind: Some(kind),
                id: Some(format!("id-{number}")),
                path: Some(format!("secret/{number}")),
                over_http: true,
                request_hash: Some(7),
                ..EntryHead::default()
            };
            let is_last = kind == EntryKind::Response;
            self.entry(&head, if is_last { fault } else { Fault::Nothing });
        }
        self.happens(sent(client, handler, WHOLE, None));
        self.pass(20 * MS, None);
    }
}

/// The goroutine that serves the client.
const HANDLER: u64 = 5;

fn story(fault: Fault, tls: bool) -> Vec<Event> {
    let mut story = Story::new(tls);
    for number in 0..HEALTHY {
        story.request(number, Fault::Nothing);
    }
    story.request(HEALTHY, fault);
    for number in 1..4 {
        story.request(HEALTHY + number, Fault::Nothing);
    }
    story.pass(S, None);
    story.happens(EventKind::End);
    story.events
}

/// What the core reports through this.
fn findings(events: &[Event], mut capture: SimulatedCapture) -> Vec<Finding> {
    let mut core = Core::new();
    let mut findings = Vec::new();
    for event in events {
        for event in capture.pass(event.clone(), &core) {
            findings.extend(core.on(&event).findings);
        }
    }
    findings
}

#[test]
fn a_hang_on_a_connection_of_its_own_is_reported_as_if_all_were_streamed() -> Result<()> {
    each_fault(false, |events| {
        let streamed = replay(events).collect();
        (findings(events, SimulatedCapture::new(BEGAN)), streamed)
    })
}

/// No entry can be seen, and no status.
#[test]
fn a_hang_within_tls_is_reported_as_if_each_write_were_sent() -> Result<()> {
    each_fault(true, |events| {
        let capture = |has_tls| SimulatedCapture::new(BEGAN).with_devices(vec![device(0)], has_tls);
        let [recognized, sent] = [true, false].map(|has_tls| findings(events, capture(has_tls)));
        (recognized, sent)
    })
}

/// `both`: what is reported, and what is expected.
fn each_fault(tls: bool, both: impl Fn(&[Event]) -> (Vec<Finding>, Vec<Finding>)) -> Result<()> {
    use Fault::{
        AnsweredLate, DialledLate, Nothing, Refused, Rejected, Reset, Short, Unacknowledged,
    };
    for (fault, is_reported) in [
        (Nothing, false),
        (AnsweredLate, true),
        (Rejected, !tls),
        (DialledLate, true),
        (Refused, true),
        // Nobody waited, and the server has not said yet that an entry failed.
        (Reset, false),
        (Short, true),
        (Unacknowledged, true),
    ] {
        let events = story(fault, tls);
        let (reported, expected) = both(&events);
        if let Some(Finding::Summary(summary)) = reported.last()
            && fault == Nothing
        {
            ensure!(summary.events < 10, "{} events", summary.events);
            let entries = if tls { 0 } else { 2 * (HEALTHY + 4) };
            ensure!(summary.audit_writes == entries, "{summary:?}");
        }
        let reported = records(&reported, &events[0])?;
        let expected = records(&expected, &events[0])?;
        let same = reported.iter().zip(&expected).all(|(a, b)| are_same(a, b));
        ensure!(
            same && reported.len() == expected.len(),
            "{fault:?}: {reported:#?}\n{expected:#?}"
        );
        ensure!(
            reported.is_empty() != is_reported,
            "{fault:?}: {reported:?}"
        );
    }
    Ok(())
}

/// Beside their times, which depend on how far back the core knows what the request did before: a millisecond at most.
fn are_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, value)| match name.as_str() {
                    "start" | "end" => b.contains_key(name),
                    _ => b.get(name).is_some_and(|other| are_same(value, other)),
                })
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_same(a, b))
        }
        (Value::Number(a), Value::Number(b)) => {
            let [a, b] = [a, b].map(|number| number.as_u64().unwrap_or_default());
            a == b || (a > MS && a.abs_diff(b) <= MS)
        }
        _ => a == b,
    }
}

/// What the programs sent of these, and whether they buffer afterwards. Of the core's part nothing is in the way.
fn streamed(capture: &mut SimulatedCapture, events: Vec<Event>) -> (u64, bool) {
    let idle = Core::new();
    let before = capture.activity().totals.streamed;
    for event in events {
        capture.pass(event, &idle);
    }
    let sent = capture.activity().totals.streamed.saturating_sub(before);
    (sent, capture.is_buffering())
}

/// A connection that was in use before the device was known.
#[test]
fn a_connection_within_tls_is_recognized_once_its_device_is_known() {
    let to = socket(BEGAN, false, device_address(0));
    let writes = |count| {
        let mut story = Story::new(true);
        for _ in 0..count {
            story.writes(&to, WHOLE, None);
            story.pass(20 * MS, None);
        }
        story.events.split_off(1)
    };
    let mut capture = SimulatedCapture::new(BEGAN).with_devices(Vec::new(), true);
    streamed(&mut capture, writes(20));
    capture = capture.with_devices(vec![device(0)], true);
    assert_eq!(streamed(&mut capture, writes(100)), (0, true));
}

/// What came while all was sent counts for what follows.
#[test]
fn a_write_that_fell_short_ends_the_buffering_once() {
    let to = socket(BEGAN, false, device_address(0));
    let entry = || Some(EntryHead::default());
    let mut story = Story::new(false);
    for _ in 0..20 {
        story.writes(&to, WHOLE, entry());
        story.pass(20 * MS, None);
    }
    story.writes(&to, WHOLE / 2, entry());
    story.pass(100 * MS, None);
    let mut capture = SimulatedCapture::new(BEGAN).with_devices(vec![device(0)], false);
    assert!(!streamed(&mut capture, story.events.split_off(0)).1);
    story.writes(&to, WHOLE / 2, None);
    let rest = story.events.last_mut().map(|last| &mut last.what);
    if let Some(EventKind::Send { requested, .. }) = rest {
        *requested = Some(WHOLE as u64 / 2);
    }
    story.pass(5 * S, None);
    assert!(streamed(&mut capture, story.events.split_off(0)).1);
    story.writes(&to, WHOLE, entry());
    assert_eq!(streamed(&mut capture, story.events), (0, true));
}

//! The controller's transitions, with a kernel side that only remembers its mode.

use tracer_model::{Actor, EntryHead, Socket, TcpState, Transport};

use super::{blocked::PATIENCE, pending::CAPACITY as PENDING, *};

const MS: Nanos = 1_000_000;
const S: Nanos = 1_000 * MS;

#[derive(Default)]
struct FakeKernel {
    mode: Mode,
    destinations: Vec<(SocketAddr, Role)>,
    entries: Vec<Event>,
    totals: BufferedTotals,
}

impl KernelSide for FakeKernel {
    fn mode(&self) -> Result<Mode> {
        Ok(self.mode)
    }
    fn set_mode(&mut self, mode: Mode) -> Result<()> {
        self.mode = mode;
        Ok(())
    }
    fn set_role(&mut self, _: SocketId, _: Role) {}
    fn set_destination(&mut self, to: (Transport, SocketAddr), role: Role) {
        self.destinations.push((to.1, role));
    }
    fn set_entry_request(&mut self, _: SocketAddr, _: u64) {}
    fn take_totals(&mut self) -> Result<BufferedTotals> {
        Ok(mem::take(&mut self.totals))
    }
    fn totals(&self) -> Result<BufferedTotals> {
        Ok(self.totals.clone())
    }
    fn take_entries(&mut self) -> Result<Vec<Event>> {
        Ok(mem::take(&mut self.entries))
    }
    fn newest_entries(&self) -> Result<Vec<Event>> {
        Ok(self.entries.clone())
    }
    fn connections(&self) -> Vec<BufferedConnection> {
        Vec::new()
    }
    fn counts_streams(&self) -> bool {
        false
    }
    fn is_reader(&self, _: u64) -> bool {
        false
    }
    fn receives(&self) -> Result<u64> {
        Ok(0)
    }
    fn sockets(&self) -> Result<(u64, u64)> {
        Ok((0, 1))
    }
}

fn controller(buffers: bool) -> CaptureController<FakeKernel> {
    let mode = if buffers { Mode::Buffer } else { Mode::Stream };
    let kernel = FakeKernel {
        mode,
        ..FakeKernel::default()
    };
    CaptureController::new(kernel, buffers, 200 * MS, 0)
}

fn socket() -> Socket {
    Socket {
        id: SocketId { born: 1, slot: 1 },
        fd: None,
        accepted: false,
        transport: Transport::Tcp,
        local: None,
        remote: None,
        path: None,
    }
}

fn send(at: Nanos, result: i64, has_entry: bool) -> Event {
    let what = EventKind::Send {
        socket: socket(),
        by: Actor::default(),
        result,
        requested: Some(100),
        entry: has_entry.then(EntryHead::default),
        tcp: None,
        status: None,
    };
    Event { at, what }
}

fn closes(at: Nanos) -> Event {
    let what = EventKind::State {
        socket: socket(),
        by: None,
        old: TcpState::Established,
        new: TcpState::FinWait1,
        errno: 0,
        tcp: None,
    };
    Event { at, what }
}

#[test]
fn a_recording_streams_for_ever() {
    let mut capture = controller(false);
    let event = closes(S);
    assert_eq!(capture.observe(event.clone(), S), Observed::Forward(event));
    assert!(!capture.is_buffering() && !capture.is_quiet(100 * S));
    assert_eq!(capture.stop_buffering(S).expect("a fake"), None);
    assert_eq!(capture.finish(S).expect("a fake"), None);
}

#[test]
fn a_failure_ends_buffering_and_what_follows_is_kept_for_the_core() -> Result<()> {
    let mut capture = controller(true);
    assert_eq!(capture.observe(send(S, 100, true), S), Observed::Absorbed);
    assert!(!capture.is_frozen()?);
    // As the programs do.
    capture.kernel().mode = Mode::Frozen;
    assert!(capture.is_frozen()?);
    assert_eq!(
        capture.observe(closes(2 * S), 2 * S),
        Observed::StopBuffering
    );
    let after = send(2 * S + 1, 100, true);
    assert_eq!(capture.observe(after, 2 * S + 1), Observed::StopBuffering);
    let since = capture.stop_buffering(3 * S)?.expect("it was buffering");
    assert_eq!((since, capture.kernel().mode), (0, Mode::Frozen));
    let restored = capture.restore(vec![send(3 * S, 100, true)], (since, 3 * S))?;
    assert_eq!(capture.kernel().mode, Mode::Stream);
    let times: Vec<_> = restored.iter().map(|event| event.at).collect();
    assert_eq!(times, [3 * S, S, 2 * S, 2 * S + 1, 3 * S]);
    assert!(matches!(restored[0].what, EventKind::BufferingEnded(_)));
    Ok(())
}

/// While the buffers are frozen, nobody counts but the core.
#[test]
fn what_comes_while_the_buffers_are_frozen_is_kept_whatever_it_says() -> Result<()> {
    let mut capture = controller(true);
    let answer = || {
        let mut answer = send(S, 100, false);
        if let EventKind::Send { socket, .. } = &mut answer.what {
            socket.accepted = true;
        }
        answer
    };
    assert_eq!(capture.observe(answer(), S), Observed::Absorbed);
    assert_eq!(capture.activity()?.totals.streamed, 0);
    capture.kernel().mode = Mode::Frozen;
    // Of what froze them nothing has come yet.
    assert!(capture.is_frozen()?);
    assert_eq!(capture.observe(answer(), S), Observed::StopBuffering);
    assert_eq!(capture.activity()?.totals.streamed, 1);
    Ok(())
}

#[test]
fn where_connections_lead_is_set_once_and_taken_back() {
    let remote: SocketAddr = ([10, 0, 0, 9], 636).into();
    let mut capture = controller(true);
    for number in 1..=20 {
        let mut asks = send(number * MS, 100, false);
        if let EventKind::Send { socket, .. } = &mut asks.what {
            socket.remote = Some(remote);
            socket.id.born = number;
        }
        capture.observe(asks, number * MS);
    }
    assert_eq!(capture.kernel().destinations, [(remote, Role::Other)]);
    // An audit device is configured there.
    capture.audit([Device::tcp(remote)]);
    let last = capture.kernel().destinations.last().copied();
    assert_eq!(last, Some((remote, Role::Device)));
}

/// Of an HTTP device the connections come and go.
#[test]
fn a_connection_that_comes_and_goes_leaves_nothing_but_its_entries() -> Result<()> {
    use TcpState::{Close, Established, FinWait1, FinWait2, SynSent};
    let state = |born, at, (old, new)| {
        let mut event = closes(at);
        if let EventKind::State {
            socket,
            old: before,
            new: after,
            tcp,
            ..
        } = &mut event.what
        {
            socket.id.born = born;
            (*before, *after) = (old, new);
            *tcp = Some(tracer_model::Tcp::default());
        }
        event
    };
    let mut capture = controller(true);
    let lives = |capture: &mut CaptureController<FakeKernel>, born, took: Nanos| {
        let mut observed = Vec::new();
        for (at, change) in [
            (0, (Close, SynSent)),
            (took, (SynSent, Established)),
            (took + MS, (Established, FinWait1)),
            (took + 2 * MS, (FinWait1, FinWait2)),
            (took + 3 * MS, (FinWait2, Close)),
        ] {
            let at = 2 * S + born + at;
            observed.push(capture.observe(state(born, at, change), at));
        }
        observed
    };
    for born in 10..2 * PENDING as u64 {
        let observed = lives(&mut capture, born, MS);
        assert!(observed.iter().all(|o| *o == Observed::Absorbed));
    }
    assert_eq!(capture.activity()?.totals.streamed, 0);
    // The core learns that one has ended only if it learns that there was one.
    let mut entry = send(3 * S, 100, true);
    if let EventKind::Send { socket, .. } = &mut entry.what {
        socket.id.born = 8000;
    }
    capture.kernel().entries = vec![entry];
    let restored = capture.restore(Vec::new(), (0, 4 * S))?;
    assert_eq!(restored.len(), 1 + 1 + 3);
    // The negative twin: this dial took long, and nobody noticed it in time.
    let slow = lives(&mut capture, 9, PATIENCE);
    assert_eq!(slow[1], Observed::StopBuffering);
    Ok(())
}

#[test]
fn a_socket_may_be_blocked_for_thirty_milliseconds() {
    let mut capture = controller(true);
    assert_eq!(capture.observe(send(S, 40, true), S), Observed::Absorbed);
    assert!(!capture.is_overdue(S + PATIENCE - 1));
    assert!(capture.is_overdue(S + PATIENCE));
    // The rest of the entry is written: it counts once.
    capture.observe(send(S + MS, 100, false), S + MS);
    assert!(!capture.is_overdue(10 * S));
    let activity = capture.activity().expect("a fake");
    assert_eq!(activity.totals.audit_writes, 1);
    assert_eq!(activity.totals.streamed, 2);
}

#[test]
fn patience_is_a_quarter_of_a_low_threshold() {
    let mut capture = CaptureController::new(FakeKernel::default(), true, 20 * MS, 0);
    capture.observe(send(S, 40, true), S);
    assert!(!capture.is_overdue(S + 5 * MS - 1) && capture.is_overdue(S + 5 * MS));
}

#[test]
fn buffering_begins_two_seconds_after_the_last_anomaly() -> Result<()> {
    let mut capture = controller(true);
    capture.stop_buffering(S)?;
    assert!(!capture.is_quiet(S + QUIET - 1) && capture.is_quiet(S + QUIET));
    let retransmit = Event {
        at: 2 * S,
        what: EventKind::Retransmit { socket: socket() },
    };
    let forwarded = capture.observe(retransmit.clone(), 2 * S);
    assert_eq!(forwarded, Observed::Forward(retransmit));
    assert!(!capture.is_quiet(2 * S + QUIET - 1) && capture.is_quiet(2 * S + QUIET));
    capture.prepare_buffering()?;
    assert_eq!(capture.kernel().mode, Mode::Buffer);
    let before = send(4 * S, 100, true);
    let forwarded = capture.observe(before.clone(), 4 * S);
    assert_eq!(
        forwarded,
        Observed::Forward(before),
        "sent before the mode changed"
    );
    capture.start_buffering(4 * S);
    assert!(capture.is_buffering());
    Ok(())
}

/// A Unix socket has no states: of one that the server closed while it was blocked nothing comes any more.
#[test]
fn a_blocked_socket_that_is_gone_does_not_keep_the_trace_streaming() -> Result<()> {
    let mut capture = controller(true);
    capture.stop_buffering(S)?;
    capture.observe(send(2 * S, -11, true), 2 * S);
    assert!(capture.is_quiet(10 * S));
    Ok(())
}

/// A dial is under way while others show that it leads to nobody who is an audit device.
#[test]
fn a_dial_that_turns_out_to_lead_elsewhere_ends_no_buffering() {
    let remote: SocketAddr = ([10, 0, 0, 9], 636).into();
    let dial = |born, change| {
        let mut event = closes(S + born);
        if let EventKind::State {
            socket, old, new, ..
        } = &mut event.what
        {
            (socket.id.born, socket.remote) = (born, Some(remote));
            (*old, *new) = change;
        }
        event
    };
    let mut capture = controller(true);
    let observe = |capture: &mut CaptureController<_>, event: Event| {
        let at = event.at;
        assert_eq!(capture.observe(event, at), Observed::Absorbed);
    };
    observe(&mut capture, dial(50, (TcpState::Close, TcpState::SynSent)));
    for born in 60..80 {
        let mut asks = send(S + born, 100, false);
        if let EventKind::Send { socket, .. } = &mut asks.what {
            (socket.id.born, socket.remote) = (born, Some(remote));
        }
        observe(&mut capture, asks);
    }
    observe(
        &mut capture,
        dial(50, (TcpState::SynSent, TcpState::Established)),
    );
    assert!(!capture.is_overdue(10 * S));
}

#[test]
fn totals_at_the_end_include_what_the_programs_sent() -> Result<()> {
    let mut capture = controller(true);
    capture.kernel().totals.audit_writes = 5;
    capture.observe(send(S, 100, true), S);
    let end = capture.finish(2 * S)?.expect("it is buffering");
    let EventKind::BufferingEnded(totals) = end.what else {
        panic!("{end:?}");
    };
    assert_eq!((totals.audit_writes, totals.streamed), (6, 1));
    Ok(())
}

#[test]
fn the_oldest_events_give_way_and_are_counted() {
    let mut capture = controller(true);
    for n in 0..=PENDING as u64 {
        // Alternately, so that no write is one too many.
        let result = if n % 2 == 0 { 40 } else { 100 };
        capture.observe(send(S + n, result, true), S);
    }
    let activity = capture.activity().expect("a fake");
    assert_eq!(activity.totals.streamed, PENDING as u64 + 1);
    assert_eq!(activity.totals.audit_writes, PENDING as u64 / 2);
}

/// A program that has read the mode, and is interrupted before it counts.
#[test]
fn what_is_counted_after_buffering_has_ended_is_not_lost() -> Result<()> {
    for (late, expected) in [(1, Some(1)), (0, None)] {
        let mut controller = controller(true);
        controller.stop_buffering(S)?;
        controller.restore(Vec::new(), (0, S))?;
        controller.kernel().totals.requests = late;
        let end = controller.finish(2 * S)?;
        let counted = end.map(|end| match end.what {
            EventKind::BufferingEnded(totals) => totals.requests,
            other => panic!("{other:?}"),
        });
        assert_eq!(counted, expected);
    }
    Ok(())
}

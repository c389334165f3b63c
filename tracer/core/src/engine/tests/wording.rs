//! What an operator reads: the right place to look, and no more than was seen.

use super::{queueing::queues_behind, story::*};
use tracer_format::text::explain;
use tracer_model::{
    Cause, EntryKind, EventKind, Evidence, Finding, Op, Outcome, Phase, Socket, Stall, Tcp,
    Transport,
};

const EMSGSIZE: i64 = -90;

/// Where to look is where the holder's packets went.
#[test]
fn a_request_that_queues_behind_a_local_drop_is_told_the_hook() {
    let mut story = Story::new();
    known_device(&mut story);
    story.requested(20).connects(2, 20).requested(21);
    story.happens(EventKind::Drop {
        socket: log_socket(2),
        reason: "NETFILTER_DROP".to_owned(),
        incoming: false,
        beyond: false,
    });
    queues_behind(&mut story);
    let sentence = explain::hang(story.hangs()[0]);
    assert!(sentence.contains("queued behind"), "{sentence}");
    assert!(sentence.contains("OUTPUT rules"), "{sentence}");
}

/// Who reads slowly does read.
#[test]
fn a_closed_window_that_opened_again_is_a_slow_reader() {
    let closed = Tcp {
        una: 0,
        nxt: 0,
        end: 400,
        window: Some(0),
        ..Tcp::default()
    };
    for (reads, word) in [(true, "too slowly"), (false, "does not read")] {
        let mut story = Story::new();
        story.requested(20);
        story.happens(EventKind::Send {
            socket: log_socket(1),
            by: goroutine(20),
            result: EAGAIN,
            requested: Some(900),
            entry: Some(entry(EntryKind::Request)),
            tcp: Some(closed),
            status: None,
        });
        story.after(S);
        if reads {
            story.sends(log_socket(1), 20, (900, 900), None);
        } else {
            story.gives_up_writing(1, 20);
        }
        story.answered(20);
        let sentence = explain::hang(story.hangs()[0]);
        assert!(sentence.contains(word), "{sentence}");
    }
}

/// One wait that ended well does not make a slow reader of one that stopped.
#[test]
fn a_reader_that_stopped_does_not_read_whatever_it_did_before() {
    let mut story = Story::new();
    let mut stall = Stall {
        op: Op::Write,
        phase: Phase::Request,
        start: 0,
        duration: 30 * MS,
        uncertainty: 0,
        outcome: Some(Outcome::Ok),
        errno: None,
        cause: Cause::ZeroWindow,
        evidence: Evidence::default(),
        behind: None,
        blocked_by: None,
        inferred: false,
        dropped: false,
    };
    classic(&mut story);
    let mut hang = story.hangs()[0].clone();
    hang.stalls = vec![stall.clone()];
    assert!(explain::hang(&hang).contains("for 0.03 s"));
    stall.outcome = Some(Outcome::Timeout);
    hang.stalls.push(stall);
    assert!(explain::hang(&hang).contains("does not read"));
}

#[test]
fn an_entry_too_large_for_a_datagram_is_said_to_be_that() {
    let mut story = Story::new();
    story.requested(20);
    let datagrams = Socket {
        transport: Transport::Udp,
        ..log_socket(1)
    };
    let request = Some(entry(EntryKind::Request));
    story.sends(datagrams, 20, (EMSGSIZE, 900), request);
    story.answered(20);
    let refusal = story.findings.iter().find_map(|finding| match finding {
        Finding::Refusal(refusal) => Some(refusal),
        _ => None,
    });
    let sentence = explain::refusal(refusal.expect("a refusal"));
    assert!(
        sentence.contains("datagram") && sentence.contains("EMSGSIZE"),
        "{sentence}"
    );
}

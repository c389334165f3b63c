//! What is to happen, drawn by proptest.

use proptest::{collection::vec, prelude::*, sample::select};
use test_events::{MS, S, US};
use tracer_model::Nanos;

/// From the second entry to the answer, at least.
pub(crate) const AT_ONCE: Nanos = 50 * US;

/// What an audit device is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Takes every entry at once.
    Healthy,
    /// Takes it late.
    Slow,
    /// Answers no connection attempt.
    Dead,
    /// Takes no entry of the connection that it has, and dials another one when the write has timed out.
    Stuck,
    /// A name with two addresses. The connection to the first stalls after one entry; the second one works.
    Racing,
    /// One goroutine writes all entries, late (`net/http`, `persistConn.writeLoop`).
    Writer,
}

/// How a client's requests arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Http1,
    Http2,
    /// HTTP/1.1 of which no event is seen.
    Unix,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) devices: Vec<(State, Nanos)>,
    pub(crate) listener: Listener,
    /// Whether each entry is written by a goroutine for each device, rather than by the request's own.
    pub(crate) has_sinks: bool,
    /// Whether a sink leaves the queue when the broker's context ends.
    pub(crate) queue_is_bounded: bool,
    /// How long the broker waits for the sinks of an entry.
    pub(crate) patience: Option<Nanos>,
    pub(crate) clients: usize,
    /// Requests of each client, one after another.
    pub(crate) each: usize,
    /// The longest work before the first entry, for which a storage is asked.
    pub(crate) before: Nanos,
    /// The longest work between the two entries.
    pub(crate) work: Nanos,
    /// The longest from the second entry to the answer.
    pub(crate) answering: Nanos,
    /// How long a sample takes at most, from the query to its answer.
    pub(crate) sample_takes: Nanos,
    /// Whether samples say of which request an entry is.
    pub(crate) has_names: bool,
    /// Whether stacks say which device is waited for; not so of a program that describes no structures.
    pub(crate) knows_devices: bool,
    /// Of a thousand events, how many are lost.
    pub(crate) lost: u64,
    /// Whether all events of some spans of time are lost.
    pub(crate) has_gaps: bool,
}

fn device() -> impl Strategy<Value = (State, Nanos)> {
    let state = select(vec![State::Dead, State::Stuck, State::Slow, State::Healthy]);
    (state, select(vec![S / 2, 2 * S, 8 * S]))
}

/// Sinks in goroutines of their own, as Vault has them since 1.15.
pub(crate) fn sinks(listeners: Vec<Listener>) -> impl Strategy<Value = Plan> {
    let broker = (any::<bool>(), select(vec![None, Some(5 * S), Some(10 * S)]));
    let size = (1..=6_usize, 1..=3_usize);
    let kind = (select(listeners), any::<bool>());
    (any::<u64>(), vec(device(), 1..=2), broker, size, kind).prop_map(
        |(seed, devices, (queue_is_bounded, patience), (clients, each), (listener, has_names))| {
            Plan {
                seed,
                devices,
                listener,
                has_sinks: true,
                queue_is_bounded,
                patience,
                clients,
                each,
                before: 2 * MS,
                work: 300 * MS,
                answering: AT_ONCE,
                sample_takes: 5 * MS,
                has_names,
                knows_devices: true,
                lost: 0,
                has_gaps: false,
            }
        },
    )
}

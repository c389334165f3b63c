//! The diagnosis: events in, findings out.
//!
//! No I/O, no clock, no failure. All that the core knows of time comes with the events; what it cannot see it asks for
//! ([`Query`]), and the answer is a further event. So a recording of the events replays to the same findings.
//!
//! The layers, each of which knows only those above it in this list:
//!
//! | module | what it knows |
//! |---|---|
//! | [`tracer_model`] | events, operations, findings: plain data |
//! | `track` | one thing each: a socket, a connection's acknowledgements, a device's throughput, a goroutine's wait |
//! | `diagnose` | pure functions over operations: causes, phases, overlaps, verdicts, incidents |
//! | `request` | which goroutine works for which request, and how far that is |
//! | `engine` | one event through all of them |

mod diagnose;
mod engine;
mod request;
mod track;

pub use self::engine::{BufferedActivity, Core, Query, Step, replay};

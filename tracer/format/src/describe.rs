//! Describes for people the requests of a record, and what they waited for.

use std::borrow::Cow;

use tracer_model::{Op, Outcome, Phase};

use crate::{
    Name,
    record::{Request, Stall},
    text::{clean, duration},
};

/// Of a wait without an outcome: its request, the server or the trace ended first.
pub const NOT_OVER: &str = "not over";

/// `read sys/mounts of client 127.0.0.1:50222, id 1f3a...`, as far as known.
pub fn request(request: &Request) -> String {
    let client = client(request).map(|client| format!(" of client {client}"));
    let id = request.id.as_deref();
    let id = id.map(|id| format!(", id {}", clean(id)));
    let (client, id) = (client.unwrap_or_default(), id.unwrap_or_default());
    format!("{}{client}{id}", operation_and_path(request))
}

/// `read sys/mounts`, as far as known.
pub fn operation_and_path(request: &Request) -> String {
    let words = [&request.operation, &request.path];
    let words: Vec<_> = words
        .into_iter()
        .flatten()
        .map(|word| clean(word))
        .collect();
    if words.is_empty() {
        "a request".to_owned()
    } else {
        words.join(" ")
    }
}

/// `127.0.0.1:50222`, as far as known.
pub fn client(request: &Request) -> Option<String> {
    let address = clean(request.client_address.as_deref()?);
    Some(match request.client_port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address.into_owned(),
    })
}

/// `request entry: write 2.00 s, connect 2.00 s; response entry: connect 2.00 s`
pub fn chain<T, E>(stalls: &[Stall<T, E>]) -> String {
    let of_phase = |(name, is_response)| {
        let is = |stall: &&Stall<T, E>| is_response == (stall.phase == Phase::Response);
        let links: Vec<_> = stalls.iter().filter(is).map(link).collect();
        (!links.is_empty()).then(|| format!("{name} entry: {}", links.join(", ")))
    };
    let phases = [("request", false), ("response", true)];
    let phases: Vec<_> = phases.into_iter().filter_map(of_phase).collect();
    phases.join("; ")
}

/// What is waited for, in a word: of `lock` an operator sees that the request queued.
pub fn wait(op: &Name<Op>) -> Cow<'_, str> {
    match op.known() {
        Some(op) => wait_of(op).into(),
        None => clean(op),
    }
}

/// The same of a known operation.
pub fn wait_of(op: Op) -> &'static str {
    match op {
        Op::Lock => "queued",
        _ => op.name(),
    }
}

/// `connect 2.00 s`: a time-out ended it. `write 0.30 s (ok)`, `queued 5.00 s (not over)`.
fn link<T, E>(stall: &Stall<T, E>) -> String {
    let outcome = stall.outcome.as_ref();
    let ended = match outcome.map(Name::known) {
        Some(Some(Outcome::Timeout)) => None,
        // It is always got in the end.
        Some(Some(Outcome::Ok)) if stall.op == Op::Lock => None,
        Some(_) => outcome.map(clean),
        None => Some(Cow::Borrowed(NOT_OVER)),
    };
    let ended = ended.map_or_else(String::new, |ended| format!(" ({ended})"));
    let about = stall.uncertainty_ns.map_or("", |_| "about ");
    let op = wait(&stall.op);
    format!("{op} {about}{}{ended}", duration(stall.duration_ns))
}

//! Requests, and what they waited for.

use std::borrow::Cow;

use tracer_model::{Op, Outcome, Phase};

use super::{clean, duration};
use crate::record::{Request, Stall};

/// `read sys/mounts of client 127.0.0.1:50222 (request 1f3a...)`, as far as known.
pub fn request(request: &Request) -> String {
    let client = client(request).map(|client| format!(" of client {client}"));
    let id = request.id.as_deref();
    let id = id.map(|id| format!(" (request {})", clean(id)));
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

/// `write 2.00 s, connect 2.00 s | connect 2.00 s, connect 2.00 s`: for the request's entry, and for the response's.
pub fn chain<T, E>(stalls: &[Stall<T, E>]) -> String {
    let phase = |is_response: bool| {
        let is = |stall: &&Stall<T, E>| is_response == (stall.phase == Phase::Response);
        let links: Vec<_> = stalls.iter().filter(is).map(link).collect();
        if links.is_empty() {
            "-".to_owned()
        } else {
            links.join(", ")
        }
    };
    format!("{} | {}", phase(false), phase(true))
}

fn link<T, E>(stall: &Stall<T, E>) -> String {
    let outcome = stall.outcome.as_ref();
    let ended = match outcome.map(crate::Name::known) {
        Some(Some(Outcome::Timeout)) => Cow::Borrowed(""),
        // A lock is always got in the end.
        Some(Some(Outcome::Ok)) if stall.op == Op::Lock => Cow::Borrowed(""),
        Some(_) => outcome.map_or("".into(), clean),
        None => Cow::Borrowed("and on"),
    };
    let space = if ended.is_empty() { "" } else { " " };
    let about = stall.uncertainty_ns.map_or("", |_| "about ");
    let (op, time) = (clean(&stall.op), duration(stall.duration_ns));
    format!("{op} {about}{time}{space}{ended}")
}

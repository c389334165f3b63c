//! A look-up of a device's name, from the text of Go's error (`net.DNSError`):
//! `lookup log.example on 10.0.0.53:53: no such host`.

use std::net::SocketAddr;

use tracer_model::{FailedLookup, NameAnswer};

/// Longest name (RFC 1035, 2.3.4), bytes.
const MAX_NAME: usize = 255;

/// Texts of `net/dnsclient_unix.go`, `net/net.go` and of system calls, and what they mean. Go says the same of a name that does
/// not exist and of one without addresses, and the same of SERVFAIL, REFUSED and other codes.
const ANSWERS: [(&str, NameAnswer); 15] = [
    ("no such host", NameAnswer::NoSuchHost),
    ("server misbehaving", NameAnswer::ServerFailure),
    ("lame referral", NameAnswer::Unusable),
    ("invalid DNS response", NameAnswer::Unusable),
    ("cannot unmarshal DNS message", NameAnswer::Unusable),
    ("no answer from DNS server", NameAnswer::Missing),
    ("i/o timeout", NameAnswer::Missing),
    ("context deadline exceeded", NameAnswer::Missing),
    ("connection timed out", NameAnswer::Missing),
    ("connection refused", NameAnswer::Unreachable),
    ("connection reset by peer", NameAnswer::Unreachable),
    ("network is unreachable", NameAnswer::Unreachable),
    ("no route to host", NameAnswer::Unreachable),
    ("network is down", NameAnswer::Unreachable),
    ("operation not permitted", NameAnswer::Unreachable),
];

/// `None` if the error is of no look-up.
pub(super) fn failed_lookup(line: &str) -> Option<FailedLookup> {
    let (_, rest) = match line.strip_prefix("lookup ") {
        Some(rest) => ("", rest),
        None => line.split_once(": lookup ")?,
    };
    let (asked, error) = rest.split_once(": ")?;
    let (name, server) = match asked.split_once(" on ") {
        Some((name, server)) => (name, Some(server)),
        None => (asked, None),
    };
    let is_name = !name.is_empty() && name.len() <= MAX_NAME && !name.contains(' ');
    let answer = ANSWERS.iter().find(|(text, _)| error.contains(text));
    is_name.then(|| FailedLookup {
        name: name.to_owned(),
        server: server.and_then(|server| server.parse::<SocketAddr>().ok()),
        answer: answer.map(|(_, answer)| *answer),
    })
}

//! The sentences for devices that fail immediately.

use tracer_model::{FailedLookup, NameAnswer, Op, Transport};

use super::Failure;
use crate::{errno_name, text::seconds};

pub(super) fn no_space(failure: &Failure<'_>) -> String {
    format!(
        "No space is left for {}{}: its file system is full, or a quota is used up.",
        failure.address,
        by_errno(failure)
    )
}

pub(super) fn io_error(failure: &Failure<'_>) -> String {
    let look = if failure.errno.is_some() {
        "look at its directory, its owner and its file system"
    } else {
        "the server's log does not name the first error: look at its file system (quota, disk, mount) and its permissions"
    };
    format!(
        "{} cannot be written{}: {look}.",
        failure.address,
        by_errno(failure)
    )
}

pub(super) fn too_large(failure: &Failure<'_>) -> String {
    format!(
        "An entry was too large for a datagram to {} (EMSGSIZE): this device never gets it.",
        failure.address
    )
}

pub(super) fn not_found(failure: &Failure<'_>) -> String {
    let look = match failure.transport {
        Transport::File => "the directory of the audit file is gone or not mounted",
        _ => "the process that makes the socket does not run, or makes it elsewhere",
    };
    format!(
        "{} does not exist{}: {look}.",
        failure.address,
        by_errno(failure)
    )
}

pub(super) fn rejected(failure: &Failure<'_>) -> String {
    let status = failure.status.map(|status| format!(" with HTTP {status}"));
    let look = match failure.status {
        Some(300..=399) => {
            "the server follows no redirects for audit entries: set the device's URL to where they lead"
        }
        Some(401 | 403) => "look at the device's headers and the log server's permissions",
        Some(404 | 405) => "look at the path of the device's URL",
        Some(413) => "the log server takes no entry as large as this one",
        Some(429) => "the log server limits how much it takes",
        _ => "look at the log server",
    };
    format!(
        "The log server at {} answered{} and took no entry: {look}.",
        device_name(failure),
        status.unwrap_or_default()
    )
}

pub(super) fn timeout(failure: &Failure<'_>) -> String {
    let attempt = failure.stalls.iter().find(|stall| stall.op != Op::Lock);
    let lasted = attempt.map_or(failure.duration, |attempt| attempt.duration);
    format!(
        "The server gave up on {} after {:.3} s. A working log server may need as long: the device's write_timeout is too short, or 0.",
        device_name(failure),
        seconds(lasted)
    )
}

/// ` (ENOSPC)`, where there is an errno.
pub(super) fn by_errno(failure: &Failure<'_>) -> String {
    let name = failure.errno.map(errno_name);
    name.map_or_else(String::new, |name| format!(" ({name})"))
}

/// The address, or the kind of device where there is none.
pub(super) fn device_name<'a>(failure: &Failure<'a>) -> &'a str {
    match failure.address {
        "" => failure.transport.name(),
        address => address,
    }
}

pub(super) fn failed_at_once(failure: &Failure<'_>) -> String {
    format!(
        "{} failed immediately{}.",
        device_name(failure),
        by_errno(failure)
    )
}

/// A name that could not be resolved, in no time.
pub(super) fn unresolved(failure: &Failure<'_>) -> String {
    let address = failure.address;
    let named = if address.parse::<std::net::SocketAddr>().is_ok() {
        format!("The log server's name (last address: {address})")
    } else {
        format!("The log server's name {address}")
    };
    let shown = failure.evidence.lookup.as_ref().and_then(looked_up);
    let shown = shown.unwrap_or_else(|| {
        "the name server answers that it does not exist, or with an error".to_owned()
    });
    format!(
        "{named} cannot be resolved: {shown}. Look at the device's address and at the name servers in /etc/resolv.conf."
    )
}

/// What the server's resolver was answered, as a clause. `None` if that is not known.
pub(super) fn looked_up(lookup: &FailedLookup) -> Option<String> {
    const PORT: u16 = 53;
    let name = &lookup.name;
    let server = lookup.server.map(|server| match server.port() {
        PORT => format!("the name server {}", server.ip()),
        _ => format!("the name server {server}"),
    });
    let server = server.unwrap_or_else(|| "the resolver".to_owned());
    Some(match lookup.answer? {
        NameAnswer::NoSuchHost => {
            format!("{server} answered that {name} does not exist or has no address")
        }
        NameAnswer::ServerFailure => {
            format!("{server} answered the question for {name} with an error (SERVFAIL, REFUSED)")
        }
        NameAnswer::Unusable => {
            format!("{server} answered the question for {name} with nothing that can be used")
        }
        NameAnswer::Missing => {
            format!("{server} did not answer the question for {name} in time")
        }
        NameAnswer::Unreachable => {
            format!("{server} could not be reached with the question for {name}")
        }
    })
}

#[cfg(test)]
mod tests {
    use tracer_model::Evidence;

    use super::*;

    #[test]
    fn what_to_look_at_fits_what_the_log_server_answered() {
        for (status, look) in [
            (301, "redirects"),
            (307, "redirects"),
            (400, "look at the log server"),
            (401, "headers"),
            (403, "headers"),
            (404, "path of the device's URL"),
            (405, "path of the device's URL"),
            (413, "as large"),
            (429, "limits"),
            (500, "look at the log server"),
            (503, "look at the log server"),
        ] {
            let failure = Failure {
                address: "http://log:8080",
                evidence: &Evidence::default(),
                errno: None,
                status: Some(status),
                transport: Transport::Http,
                duration: 0,
                stalls: &[],
            };
            let said = rejected(&failure);
            let expected = said.contains(look) && said.contains(&format!("HTTP {status}"));
            assert!(expected, "{said}");
        }
    }

    #[test]
    fn what_a_name_server_answered_is_said() {
        let lookup = |server: &str, answer| FailedLookup {
            name: "log.example".to_owned(),
            server: server.parse().ok(),
            answer,
        };
        for (server, answer, expected) in [
            (
                "10.77.0.2:53",
                Some(NameAnswer::NoSuchHost),
                "the name server 10.77.0.2 answered that log.example does not exist or has no address.",
            ),
            (
                "[fd00::2]:5353",
                Some(NameAnswer::ServerFailure),
                "the name server [fd00::2]:5353 answered the question for log.example with an error (SERVFAIL, REFUSED).",
            ),
            (
                "",
                Some(NameAnswer::NoSuchHost),
                "the resolver answered that log.example does not exist or has no address.",
            ),
            (
                "10.77.0.2:53",
                Some(NameAnswer::Missing),
                "the name server 10.77.0.2 did not answer the question for log.example in time.",
            ),
            (
                "10.77.0.2:53",
                Some(NameAnswer::Unreachable),
                "the name server 10.77.0.2 could not be reached with the question for log.example.",
            ),
            (
                "10.77.0.2:53",
                Some(NameAnswer::Unusable),
                "with nothing that can be used.",
            ),
            ("10.77.0.2:53", None, "does not exist, or with an error."),
        ] {
            let evidence = Evidence {
                lookup: Some(lookup(server, answer)),
                ..Evidence::default()
            };
            let failure = Failure {
                address: "log.example:1515",
                evidence: &evidence,
                errno: None,
                status: None,
                transport: Transport::Tcp,
                duration: 0,
                stalls: &[],
            };
            let said = unresolved(&failure);
            assert!(said.contains(expected), "{said}");
        }
    }
}

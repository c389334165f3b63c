//! One attempt to write an entry, from the text of Go's error: `dial unix /run/log.sock: connect: connection refused`.

use tracer_model::{Device, FailedLookup, FailureReason, Transport};

use super::lookup::failed_lookup;

/// One attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) device: Option<Device>,
    pub(super) lookup: Option<FailedLookup>,
    pub(super) reason: FailureReason,
    pub(super) dial: bool,
}

/// The texts of `syscall.Errno` (`syscall/zerrors_linux_amd64.go`, the same for all machines), and their numbers
/// (`include/uapi/asm-generic/errno*.h`).
const ERRNOS: [(&str, i32); 31] = [
    ("operation not permitted", 1),
    ("no such file or directory", 2),
    ("input/output error", 5),
    ("no such device or address", 6),
    ("resource temporarily unavailable", 11),
    ("cannot allocate memory", 12),
    ("permission denied", 13),
    ("not a directory", 20),
    ("is a directory", 21),
    ("invalid argument", 22),
    ("too many open files in system", 23),
    ("too many open files", 24),
    ("file too large", 27),
    ("no space left on device", 28),
    ("read-only file system", 30),
    ("broken pipe", 32),
    ("file name too long", 36),
    ("too many levels of symbolic links", 40),
    ("message too long", 90),
    ("protocol wrong type for socket", 91),
    ("cannot assign requested address", 99),
    ("network is down", 100),
    ("network is unreachable", 101),
    ("connection reset by peer", 104),
    ("no buffer space available", 105),
    ("connection timed out", 110),
    ("connection refused", 111),
    ("host is down", 112),
    ("no route to host", 113),
    ("stale NFS file handle", 116),
    ("disk quota exceeded", 122),
];

/// What Go says of a deadline that has passed (`os.ErrDeadlineExceeded`, `context.DeadlineExceeded`).
const DEADLINES: [&str; 2] = ["i/o timeout", "context deadline exceeded"];

/// Of `builtin/audit/http` in OpenBao.
const STATUS: &str = "status code not 2xx: ";

/// Of the standard library's `log/syslog`, where no daemon listens at any of the usual paths.
const SYSLOG: &str = "Unix syslog delivery error";

/// Errors without a class of their own that are of a device all the same.
const OTHERS: [&str; 4] = [
    "file already closed",
    "use of closed network connection",
    "unexpected EOF",
    SYSLOG,
];

impl Attempt {
    /// `None` for a line that only counts or wraps others.
    pub(super) fn parse(line: &str) -> Option<Self> {
        // As text the log spells a tab `\\t`.
        let line = line.trim().trim_start_matches("\\t").trim_start();
        let line = line.strip_prefix("* ").unwrap_or(line);
        let reason = reason(line)?;
        Some(Self {
            device: device(line),
            lookup: failed_lookup(line),
            reason,
            dial: line.contains("dial ") || line.contains("lookup "),
        })
    }
}

fn reason(line: &str) -> Option<FailureReason> {
    if let Some((_, status)) = line.rsplit_once(STATUS) {
        let digits = status.split(|c: char| !c.is_ascii_digit()).next()?;
        return Some(
            digits
                .parse()
                .map_or(FailureReason::Unknown, FailureReason::Status),
        );
    }
    if line.contains(": lookup ") || line.starts_with("lookup ") {
        return Some(FailureReason::Resolver);
    }
    let errno = ERRNOS.iter().find(|(text, _)| line.ends_with(text));
    if let Some((_, errno)) = errno {
        return Some(FailureReason::Errno(*errno));
    }
    let ends = |text: &&str| line.ends_with(*text);
    let is_deadline = DEADLINES
        .iter()
        .any(|text| ends(text) || line.contains(text));
    if is_deadline {
        return Some(FailureReason::Timeout);
    }
    OTHERS.iter().any(ends).then_some(FailureReason::Unknown)
}

/// Where the attempt led. The first words of an error of a system call are what was done, and to what.
fn device(line: &str) -> Option<Device> {
    let words = || line.split_whitespace();
    if line.contains(SYSLOG) {
        return Some(configured(Transport::Syslog, ""));
    }
    if line.contains(STATUS) {
        return Some(configured(Transport::Http, ""));
    }
    let mut urls = words().filter(|word| word.starts_with("\"http"));
    if let Some(url) = urls.next_back() {
        return Some(configured(
            Transport::Http,
            &origin(url.trim_matches(['"', ':']))?,
        ));
    }
    let network = |word: &str| Transport::of_network(word.trim_end_matches(':'));
    let mut at = words().zip(words().skip(1));
    let is_call =
        |(call, of): &(&str, &str)| matches!(*call, "dial" | "write") && network(of).is_some();
    if let Some(transport) = at.find(is_call).and_then(|(_, of)| network(of)) {
        let mut at = at.map(|(_, word)| word);
        let target = at.next()?.trim_end_matches(':');
        if target == "lookup" {
            let name = quoted(line).or_else(|| at.next())?;
            return Some(configured(transport, name));
        }
        let remote = target
            .rsplit_once("->")
            .map_or(target, |(_, remote)| remote);
        return Some(configured(transport, remote));
    }
    file(line).map(|path| configured(Transport::File, path))
}

fn configured(transport: Transport, address: &str) -> Device {
    Device::configured(transport, address)
}

/// What the error of a sink has in quotes: its device as it is configured.
fn quoted(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("address \"")?;
    let (address, _) = rest.split_once('"')?;
    (!before.is_empty()).then_some(address)
}

/// The file of a device. Of one that could not be made, its directory.
fn file(line: &str) -> Option<&str> {
    if let Some((_, rest)) = line.split_once("sink \"") {
        return rest.split_once('"').map(|(path, _)| path);
    }
    let starts = ["write ", "open ", "mkdir ", "chmod ", "stat "];
    let path = starts.iter().find_map(|start| line.strip_prefix(start))?;
    let (path, _) = path.rsplit_once(": ")?;
    path.starts_with('/').then_some(path)
}

/// `https://log:8080` of a URL: the rest may be secret.
fn origin(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#', '"']).next()?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    Some(format!("{scheme}://{host}"))
}

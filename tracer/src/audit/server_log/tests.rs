use tracer_model::{FailureReason, NameAnswer, Transport};

use super::*;

const AT: &str = "2026-11-30T04:42:06.689Z [ERROR] ";

fn report(text: &str) -> Option<LogReport> {
    parse(format!("{AT}{text}\n").as_bytes())
}

/// Phase, path, device and reason of each failure.
fn told(text: &str) -> Vec<(Option<Phase>, String, String, FailureReason)> {
    let report = report(text);
    let phase = report.as_ref().and_then(|report| report.phase);
    let failures = report.into_iter().flat_map(|report| report.failures);
    let spelled = |failure: DeviceFailure| {
        let device = failure.device.map(|device| device.to_string());
        (
            phase,
            failure.path.unwrap_or_default(),
            device.unwrap_or_default(),
            failure.reason,
        )
    };
    failures.map(spelled).collect()
}

fn one(
    path: &str,
    device: &str,
    reason: FailureReason,
) -> Vec<(Option<Phase>, String, String, FailureReason)> {
    vec![(
        Some(Phase::Request),
        path.to_owned(),
        device.to_owned(),
        reason,
    )]
}

#[test]
fn openbao_and_vault_to_1_14_say_one_device_a_line() {
    use FailureReason::{Errno, Resolver, Status, Timeout, Unknown};
    let two = |first: &str, second: &str| {
        format!("\n  error=\n  | 2 errors occurred:\n  | \\t* {first}\n  | \\t* {second}\n  | \n  ")
    };
    let quoted = |error: &str| format!(" error=\"{error}\"");
    for (error, device, reason) in [
        (
            quoted("write /var/log/audit.log: file already closed"),
            "file /var/log/audit.log",
            Unknown,
        ),
        (
            quoted("open /var/log/audit.log: permission denied"),
            "file /var/log/audit.log",
            Errno(13),
        ),
        (
            quoted("mkdir /var/log/gone: not a directory"),
            "file /var/log/gone",
            Errno(20),
        ),
        (
            quoted("failed to perform request: status code not 2xx: 503"),
            "http",
            Status(503),
        ),
        (
            quoted("write udp 10.89.0.1:40134->10.89.0.2:1517: write: message too long"),
            "udp 10.89.0.2:1517",
            Errno(90),
        ),
        (
            two(
                "write unix @->/run/log.sock: write: broken pipe",
                "dial unix /run/log.sock: connect: connection refused",
            ),
            "unix /run/log.sock",
            Errno(111),
        ),
        (
            two(
                "dial unix /run/log.sock: connect: no such file or directory",
                "dial unix /run/log.sock: connect: no such file or directory",
            ),
            "unix /run/log.sock",
            Errno(2),
        ),
        (
            two(
                "write tcp 10.89.0.1:54442->10.89.0.2:1515: write: broken pipe",
                "dial tcp: lookup log.test on 10.89.0.2:53: no such host",
            ),
            "tcp 10.89.0.2:1515",
            Resolver,
        ),
        (
            two(
                "dial tcp: lookup log.test on 10.89.0.2:53: server misbehaving",
                "dial tcp: lookup log.test on 10.89.0.2:53: server misbehaving",
            ),
            "tcp log.test",
            Resolver,
        ),
        (
            two(
                "dial tcp 10.89.0.2:1515: i/o timeout",
                "dial tcp [fd00::2]:1515: i/o timeout",
            ),
            "tcp [fd00::2]:1515",
            Timeout,
        ),
        (quoted("Unix syslog delivery error"), "syslog", Unknown),
        (
            quoted(
                "failed to perform request: Post \\\"https://u:p@log:8080/x?token=s\\\": dial tcp 10.0.0.2:8080: connect: connection refused",
            ),
            "http https://log:8080",
            Errno(111),
        ),
        (
            quoted(
                "failed to perform request: Post \\\"https://log:8080/x?token=s\\\": EOF: unexpected EOF",
            ),
            "http https://log:8080",
            Unknown,
        ),
    ] {
        let line = format!("audit: backend failed to log request: backend=s/{error}");
        assert_eq!(told(&line), one("s/", device, reason), "{line}");
    }
}

/// Each transport and family, each errno, and each answer of a name server.
#[test]
fn each_transport_and_error_is_read() {
    let sockets = [
        ("tcp", "10.89.0.1:40134->10.89.0.2:1515", "10.89.0.2:1515"),
        ("tcp", "[fd00::1]:40134->[fd00::2]:1515", "[fd00::2]:1515"),
        ("udp", "10.89.0.1:40134->10.89.0.2:1517", "10.89.0.2:1517"),
        ("udp", "[fd00::1]:40134->[fd00::2]:1517", "[fd00::2]:1517"),
        ("unix", "@->/run/log.sock", "/run/log.sock"),
        ("unixgram", "@->/dev/log", "/dev/log"),
    ];
    let of_sockets = [
        ("resource temporarily unavailable", 11),
        ("broken pipe", 32),
        ("message too long", 90),
        ("network is down", 100),
        ("network is unreachable", 101),
        ("connection reset by peer", 104),
        ("connection timed out", 110),
        ("connection refused", 111),
        ("no route to host", 113),
    ];
    for (network, ends, remote) in sockets {
        let transport = network.trim_end_matches("gram");
        let device = format!("{transport} {remote}");
        for (text, errno) in of_sockets {
            let reason = FailureReason::Errno(errno);
            for error in [
                format!("write {network} {ends}: write: {text}"),
                format!("dial {network} {remote}: connect: {text}"),
            ] {
                let line =
                    format!("audit: backend failed to log request: backend=s/ error=\"{error}\"");
                assert_eq!(told(&line), one("s/", &device, reason), "{line}");
            }
        }
    }
    for network in ["tcp", "udp"] {
        for server in ["10.89.0.2:53", "[fd00::2]:53"] {
            for answer in [
                "no such host",
                "server misbehaving",
                "no answer from DNS server",
                "i/o timeout",
            ] {
                let error = format!("dial {network}: lookup log.test on {server}: {answer}");
                let line =
                    format!("audit: backend failed to log request: backend=s/ error=\"{error}\"");
                let device = format!("{network} log.test");
                assert_eq!(
                    told(&line),
                    one("s/", &device, FailureReason::Resolver),
                    "{line}"
                );
            }
        }
    }
    for (text, errno) in [
        ("no such file or directory", 2),
        ("input/output error", 5),
        ("permission denied", 13),
        ("not a directory", 20),
        ("is a directory", 21),
        ("too many open files", 24),
        ("file too large", 27),
        ("no space left on device", 28),
        ("read-only file system", 30),
        ("stale NFS file handle", 116),
        ("disk quota exceeded", 122),
    ] {
        for call in ["write", "open", "mkdir"] {
            let line = format!(
                "audit: backend failed to log request: backend=f/ error=\"{call} /m/a.log: {text}\""
            );
            let reason = FailureReason::Errno(errno);
            assert_eq!(told(&line), one("f/", "file /m/a.log", reason), "{line}");
        }
    }
    for status in [301, 400, 401, 403, 404, 413, 429, 500, 502, 503] {
        let line = format!(
            "audit: backend failed to log request: backend=h/ error=\"failed to perform request: status code not 2xx: {status}\""
        );
        assert_eq!(
            told(&line),
            one("h/", "http", FailureReason::Status(status))
        );
    }
}

/// Each way in which a look-up fails, as Go spells it, for each kind of device and family of name server.
#[test]
fn what_a_name_server_answered_is_read() {
    use NameAnswer::{Missing, NoSuchHost, ServerFailure, Unreachable, Unusable};
    let dials = |server: &str, error: &str| {
        [
            ("udp", format!("dial udp {server}: connect: {error}")),
            (
                "udp",
                format!("read udp 10.89.0.1:40000->{server}: read: {error}"),
            ),
            ("tcp", format!("dial tcp {server}: connect: {error}")),
        ]
    };
    for server in ["10.89.0.2:53", "[fd00::2]:53"] {
        let mut rows = vec![
            // NXDOMAIN; an answer without addresses.
            ("no such host".to_owned(), Some(NoSuchHost)),
            // SERVFAIL, REFUSED, NOTIMP.
            ("server misbehaving".to_owned(), Some(ServerFailure)),
            ("lame referral".to_owned(), Some(Unusable)),
            ("cannot unmarshal DNS message".to_owned(), Some(Unusable)),
            ("invalid DNS response".to_owned(), Some(Unusable)),
            ("no answer from DNS server".to_owned(), Some(Missing)),
            ("i/o timeout".to_owned(), Some(Missing)),
            ("context deadline exceeded".to_owned(), Some(Missing)),
            (
                format!("read udp 10.89.0.1:40000->{server}: i/o timeout"),
                Some(Missing),
            ),
            ("device or resource busy".to_owned(), None),
        ];
        // ICMP, and the attempt over TCP after an answer that was truncated.
        for errno in [
            "connection refused",
            "network is unreachable",
            "no route to host",
        ] {
            let each = dials(server, errno).into_iter();
            rows.extend(each.map(|(_, text)| (text, Some(Unreachable))));
        }
        for (text, expected) in rows {
            let lookup = format!("lookup log.test on {server}: {text}");
            let post = format!(
                "failed to perform request: Post \\\"http://log.test:8080/x\\\": dial tcp: {lookup}"
            );
            for error in [
                format!("dial tcp: {lookup}"),
                format!("dial udp: {lookup}"),
                post,
            ] {
                let line =
                    format!("audit: backend failed to log request: backend=s/ error=\"{error}\"");
                let report = report(&line).unwrap_or_else(|| panic!("{line}"));
                let [failure] = &report.failures[..] else {
                    panic!("{line}")
                };
                assert_eq!(failure.reason, FailureReason::Resolver, "{line}");
                let known = failure.lookup.as_ref().expect(&line);
                assert_eq!(known.name, "log.test");
                assert_eq!(known.server, server.parse().ok());
                assert_eq!(known.answer, expected, "{line}");
            }
        }
    }
    // Only the files of the host were asked, or the C library was.
    for (text, expected) in [
        ("no such host", Some(NoSuchHost)),
        ("i/o timeout", Some(Missing)),
        ("Temporary failure in name resolution", None),
    ] {
        let line = format!(
            "audit: backend failed to log request: backend=s/ error=\"dial tcp: lookup log.test: {text}\""
        );
        let report = report(&line).expect(&line);
        let known = report.failures[0].lookup.as_ref().expect(&line);
        assert_eq!((known.server, known.answer), (None, expected), "{line}");
    }
}

#[test]
fn vault_since_1_15_says_all_devices_in_one() {
    use FailureReason::{Errno, Resolver};
    let line = "core: failed to audit request: path=sys/mounts\n  error=\n  | event not processed by enough 'sink' nodes\n  | error writing file for sink \"/m/audit.log\": unable to re-write to file for sink \"/m/audit.log\": write /m/audit.log: no space left on device\n  | error writing to socket \"log.test:1515\": 2 errors occurred:\n  | \\t* unable to write to socket: write tcp 10.89.0.1:43148->10.89.0.2:1515: write: broken pipe\n  | \\t* error connecting to \"tcp\" address \"log.test:1515\": dial tcp: lookup log.test on 10.89.0.2:53: no such host\n  | \n  ";
    let request = Some(Phase::Request);
    assert_eq!(
        told(line),
        [
            (
                request,
                String::new(),
                "file /m/audit.log".to_owned(),
                Errno(28)
            ),
            (
                request,
                String::new(),
                "tcp 10.89.0.2:1515".to_owned(),
                Resolver
            ),
        ]
    );
    let datagram = "audit: log request underlying pipeline error(s): error=\"error writing to socket \\\"10.89.0.2:1517\\\": unable to write to socket: write udp 10.89.0.1:60482->10.89.0.2:1517: write: message too long\"";
    assert_eq!(told(datagram), one("", "udp 10.89.0.2:1517", Errno(90)));
    let unnamed = "audit: log request underlying pipeline error(s):\n  error=\n  | 2 errors occurred:\n  | \\t* event not processed by enough 'sink' nodes\n  | \\t* event.(SocketSink).Process: error writing to socket: 2 errors occurred:\n  | \\t* event.(SocketSink).write: connection error: event.(SocketSink).connect: error connecting to \"unix\" address \"/u.sock\": dial unix /u.sock: connect: connection refused\n  | \n";
    assert_eq!(told(unnamed), one("", "unix /u.sock", Errno(111)));
}

#[test]
fn json_says_the_same() {
    let line = br#"{"@level":"error","@message":"backend failed to log response","@module":"audit","@timestamp":"2026-11-30T04:42:06.689000Z","backend":"f/","error":"write /m/\"a\".log: no space left on device"}"#;
    let report = parse(line).expect("of a device");
    assert_eq!(report.phase, Some(Phase::Response));
    assert_eq!(report.failures[0].path.as_deref(), Some("f/"));
    let device = report.failures[0].device.clone().expect("named");
    assert_eq!(
        (device.transport, &*device.address),
        (Transport::File, "/m/\"a\".log")
    );
    assert_eq!(report.failures[0].reason, FailureReason::Errno(28));
}

#[test]
fn other_errors_are_of_no_device() {
    for line in [
        "core: failed to audit request: path=sys/mounts\n  error=\n  | 1 error occurred:\n  | \\t* no audit backend succeeded in logging the request\n  | \n  ",
        // A client chooses the path.
        "core: failed to audit request: path=\"x error=write /m/a.log: no space left on device\" error=\"no audit backend\"",
        "core: failed to audit request: path=\n  | x\n  | error=write /m/a.log: no space left on device\n  error=\"no audit backend\"",
        "core: backend failed to log request: error=\"write /m/a.log: no space left on device\"",
        "storage.raft: failed to append: error=\"write /m/raft.db: no space left on device\"",
        "audit: new audit backend failed test: error=\"write /m/a.log: no space left on device\"",
    ] {
        assert_eq!(report(line), None, "{line}");
    }
    assert_eq!(parse(b"2026-11-30T04:42:06.689Z [INFO]  audit: backend failed to log request: backend=s/ error=\"open /a: permission denied\""), None);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), cut in 0_usize..600) {
        let _ = parse(&bytes);
        let line = format!("{AT}audit: backend failed to log request: backend=s/\n  error=\n  | 2 errors occurred:\n  | \\t* write tcp 1.2.3.4:1->5.6.7.8:2: write: broken pipe\n  | \\t* dial tcp: lookup log on 9.9.9.9:53: no such host\n");
        let _ = parse(&line.as_bytes()[..cut.min(line.len())]);
        let json = format!("{{\"@level\":\"error\",\"@message\":\"backend failed to log request\",\"@module\":\"audit\",\"error\":\"{}\"}}", String::from_utf8_lossy(&bytes));
        let _ = parse(json.as_bytes());
    }
}

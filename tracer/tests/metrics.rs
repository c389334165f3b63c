//! The endpoint of `--metrics` over real sockets: its answers, and that no client can block it.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tracer::sink::{Worker, metrics::Metrics};
use tracer_model::{Device, Finding, Session};

/// Longer than any answer takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// More than the endpoint has connections.
const MANY: usize = 200;

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn serve() -> (Worker<Finding>, SocketAddr) {
    let (metrics, address) = Metrics::serve(ANY_PORT).expect("a port");
    assert_ne!(address.port(), 0);
    (Worker::spawn(metrics), address)
}

/// Status, headers and body of the answer to these lines, which the endpoint is to close behind it.
fn ask(address: SocketAddr, lines: &[&str]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    let request = lines.join("\r\n") + "\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    let status = status.parse().expect("a number");
    (status, head.to_lowercase(), body.to_owned())
}

fn get(address: SocketAddr) -> String {
    let (status, _, body) = ask(address, &["GET /metrics HTTP/1.1"]);
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn it_answers_http_requests() {
    let (worker, address) = serve();
    let (status, head, body) = ask(address, &["GET /metrics HTTP/1.1"]);
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"));
    let build = format!(
        "vault_tracer_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(body.contains(&build), "{body}");
    assert!(!body.contains("# EOF"), "{body}");

    let (status, length, nothing) = ask(address, &["HEAD /metrics HTTP/1.1"]);
    assert_eq!((status, nothing.as_str()), (200, ""));
    let expected = format!("content-length: {}", body.len());
    assert!(length.contains(&expected), "{length}");

    let (status, _, body) = ask(address, &["GET / HTTP/1.1"]);
    assert_eq!((status, body.lines().count()), (200, 1), "{body}");
    assert!(body.contains("/metrics"), "{body}");

    assert_eq!(ask(address, &["GET /other HTTP/1.1"]).0, 404);
    let (status, head, _) = ask(address, &["POST /metrics HTTP/1.1", "Content-Length: 0"]);
    assert_eq!(status, 405);
    assert!(head.contains("allow: get, head"), "{head}");
    assert_eq!(ask(address, &["nonsense"]).0, 400);
    worker.finish().expect("it ends");
}

#[test]
fn the_accept_header_chooses_the_format() {
    let (worker, address) = serve();
    let openmetrics = "application/openmetrics-text";
    for (accept, expected) in [
        ("*/*", "text/plain"),
        ("text/html", "text/plain"),
        (openmetrics, openmetrics),
        // As Prometheus 2.42 asks.
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            openmetrics,
        ),
        (
            "application/openmetrics-text;q=0.3, text/plain;q=0.5",
            "text/plain",
        ),
        ("application/openmetrics-text;q=0", "text/plain"),
        // As Prometheus asks where native histograms are on: they need protobuf, which is not offered.
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1",
            openmetrics,
        ),
    ] {
        let accept_line = format!("Accept: {accept}");
        let (status, head, body) = ask(address, &["GET /metrics HTTP/1.1", &accept_line]);
        assert_eq!(status, 200);
        let kind = format!("content-type: {expected}");
        assert!(head.contains(&kind), "{accept}: {head}");
        assert_eq!(
            body.ends_with("# EOF\n"),
            expected == openmetrics,
            "{accept}"
        );
    }
    worker.finish().expect("it ends");
}

#[test]
fn declared_devices_are_there_from_the_start() {
    let (mut worker, address) = serve();
    let session = Session {
        declared: vec![Device::tcp("10.0.0.2:1515".parse().expect("an address"))],
        ..Session::default()
    };
    worker.send(&Arc::new(Finding::Session(session)));
    let expected =
        "vault_tracer_hangs_total{device=\"10.0.0.2:1515\",transport=\"tcp\",cause=\"no_ack\"} 0\n";
    let begun = Instant::now();
    while !get(address).contains(expected) {
        assert!(begun.elapsed() < LIMIT, "{}", get(address));
    }
    worker.finish().expect("it ends");
}

/// Clients that send nothing, that never finish a request, and that do not read the answer.
#[test]
fn stuck_clients_block_no_others() {
    let (worker, address) = serve();
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.write_all(bytes).expect("it fits");
        stream
    };
    let silent: Vec<_> = (0..MANY).map(|_| connect(b"")).collect();
    let begun = Instant::now();
    assert!(!get(address).is_empty());
    let slow: Vec<_> = (0..MANY)
        .map(|_| connect(b"GET /metrics HTTP/1.1\r\nX: "))
        .collect();
    assert!(!get(address).is_empty());
    let whole = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let deaf: Vec<_> = (0..MANY).map(|_| connect(whole)).collect();
    assert!(!get(address).is_empty());
    // Without waiting for their time-out, 10 s.
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    // The oldest connections were closed.
    let mut first = &silent[0];
    first.set_read_timeout(Some(LIMIT)).expect("a limit");
    let ended = match first.read(&mut [0]) {
        Ok(0) => true,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
        Ok(_) => false,
    };
    assert!(ended, "kept open");
    drop((silent, slow, deaf));
    worker.finish().expect("it ends");
}

#[test]
fn it_ends_with_the_trace() {
    let (worker, address) = serve();
    assert!(!get(address).is_empty());
    worker.finish().expect("it ends");
    let begun = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(begun.elapsed() < LIMIT, "it listens on");
    }
}

#[test]
fn an_address_in_use_is_one_line() {
    let taken = TcpListener::bind(ANY_PORT).expect("a port");
    let address = taken.local_addr().expect("its address");
    let error = Metrics::serve(address).err().expect("it is taken");
    let line = format!("{error:#}");
    assert!(line.contains(&format!("cannot serve metrics at {address}")));
    assert!(line.contains("in use"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
}

#[test]
fn an_invalid_address_is_a_usage_error() {
    for wrong in ["127.0.0.1", "9464x", ":port"] {
        let output = Command::new(env!("CARGO_BIN_EXE_vault-tracer"))
            .args(["trace", "--metrics", wrong])
            .output()
            .expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("--metrics"), "{said}");
    }
}

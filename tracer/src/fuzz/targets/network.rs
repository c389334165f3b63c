//! What comes over the network.

use super::{
    super::input::{Input, sized},
    Limits, MB, Target,
};
use crate::sink::{metrics, otlp::collector};

pub(super) const METRICS_REQUEST: Target = Target {
    name: "",
    reads: "a connection to the port of --metrics",
    written_by: "who can reach that port",
    run: |input| {
        let answer = metrics::fuzz::answer(input);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1."),
            "another protocol"
        );
    },
    seeds: || {
        let requests: [&[u8]; 4] = [
            b"GET /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3\r\n\r\n",
            b"HEAD / HTTP/1.0\r\n\r\n",
            b"POST /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"GET http://a/metrics?x=1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
        ];
        requests.map(<[u8]>::to_vec).into()
    },
    words: &[
        "\r\n",
        "HTTP/1.1",
        "Accept: ",
        "q=",
        "Content-Length: ",
        "Transfer-Encoding: chunked",
        "Connection: upgrade",
        "Upgrade: h2c",
        "PRI * HTTP/2.0",
        "CONNECT a:1",
        "Expect: 100-continue",
    ],
    // Both buffers of the connection that the test makes, and the runtime.
    limits: Limits {
        input: 32 << 10,
        fixed: 4 * MB,
        per_byte: 4,
    },
};

pub(super) const COLLECTOR_ANSWER: Target = Target {
    name: "",
    reads: "a collector's answer: status, headers, trailers, protobuf",
    written_by: "the collector, or who is in its place",
    run: |input| {
        let mut input = Input(input);
        let status = input.number(2) as u16;
        let count = input.byte() % 8;
        let headers: Vec<_> = (0..count).map(|_| (input.sized(), input.sized())).collect();
        collector::fuzz::read(status, &headers, input.0);
    },
    seeds: || {
        // `google.rpc.Status` with a `RetryInfo`, and a partial success.
        let status = b"\x08\x08\x12\x04busy\x1a\x2e\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x07";
        let encoded =
            "CAgSBGJ1c3kaLgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIBw";
        let partial = b"\x0a\x09\x08\x03\x12\x05short";
        let framed = [&[0, 0, 0, 0, partial.len() as u8][..], partial].concat();
        let answer = |status: u16, headers: &[(&str, &str)], body: &[u8]| {
            let mut input = status.to_le_bytes().to_vec();
            input.push(headers.len() as u8);
            for (name, value) in headers {
                input.extend(sized(name.as_bytes()));
                input.extend(sized(value.as_bytes()));
            }
            [input, body.to_vec()].concat()
        };
        let protobuf = ("content-type", "application/x-protobuf");
        vec![
            answer(200, &[protobuf], partial),
            answer(200, &[("grpc-status", "0")], &framed),
            answer(503, &[protobuf, ("retry-after", "7")], status),
            answer(
                429,
                &[("retry-after", "Sat, 28 Nov 2026 10:00:05 GMT")],
                b"",
            ),
            answer(
                200,
                &[
                    ("grpc-status", "8"),
                    ("grpc-message", "a%20b%zz"),
                    ("grpc-status-details-bin", encoded),
                ],
                b"",
            ),
        ]
    },
    words: &[
        "retry-after",
        "grpc-status",
        "grpc-message",
        "grpc-status-details-bin",
        "%",
        "GMT",
    ],
    limits: Limits {
        input: 16 << 10,
        fixed: 256 << 10,
        per_byte: 64,
    },
};

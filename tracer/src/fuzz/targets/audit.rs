//! What the server writes: entries, files of them, its log; and what the kernel side says of these.

use std::{collections::BTreeMap, io::Write};

use jiff::Timestamp;
use test_support::records;

use super::{Limits, MB, Target};
use crate::{
    audit::{
        entry::parse_head,
        file::{FileQuery, search},
        server_log,
    },
    decode::{Kernel, decode},
};

const WORDS: &[&str] = &[
    "{",
    "}",
    "\"",
    "[",
    "<",
    "</",
    "<json:object name=\"request\">",
    "</json:object>",
    "<json:string name=\"id\">",
    "</json:string>",
    "\"request\":{",
    "\"type\":\"response\"",
    "\"remote_port\":",
    "\\u0000",
    "\\ud800",
    "@cee: ",
    "&#x41;",
    "&lt;",
    "<!--",
    "<![CDATA[",
];

pub(super) const ENTRY: Target = Target {
    name: "",
    reads: "the beginning of an audit entry, JSON or JSONx",
    written_by: "clients, through the server",
    run: |input| drop(parse_head(input)),
    seeds: entries,
    words: WORDS,
    // All that is kept is part of the input, perhaps once for each of 256 places where it may begin.
    limits: Limits {
        input: 4096,
        fixed: 64 << 10,
        per_byte: 16,
    },
};

fn entries() -> Vec<Vec<u8>> {
    let whole = records::entries().into_iter().map(|(_, entry)| entry);
    let jsonx: &[u8] = br#"<json:object name="auth"><json:string name="client_token">hmac-sha256:1</json:string><json:array name="policies"><json:string>root</json:string></json:array></json:object><json:object name="request"><json:string name="id">aea6</json:string><json:string name="operation">read</json:string><json:string name="path">sys/mounts</json:string><json:number name="remote_port">50222</json:number><json:null name="x"/><json:object name="namespace"><json:string name="path">a/&lt;b</json:string></json:object></json:object><json:string name="type">request</json:string>"#;
    let begun: &[u8] = br#"@cee: {"auth":{"accessor":"a","client_token":"b","policies":["#;
    whole.chain([jsonx.to_vec(), begun.to_vec()]).collect()
}

pub(super) const FILE: Target = Target {
    name: "",
    reads: "an audit file, from its end",
    written_by: "clients, through the server; who may write the file",
    run: |input| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(input).expect("written");
        let moment = |text: &str| text.parse::<Timestamp>().expect("a time");
        let query = FileQuery {
            client_port: 50222,
            client_address: None,
            not_before: moment("2026-11-23T05:57:00Z"),
            not_after: moment("2026-11-23T05:57:30Z"),
        };
        let _ = search(&file.path().to_owned(), &query);
    },
    seeds: || {
        let entries = entries();
        let lines = entries.iter().map(|entry| entry.trim_ascii_end());
        let lines: Vec<_> = lines.collect();
        vec![lines.join(&b"\n"[..]), lines.concat()]
    },
    words: WORDS,
    limits: Limits {
        input: 256 << 10,
        fixed: MB,
        per_byte: 8,
    },
};

pub(super) const SERVER_LOG: Target = Target {
    name: "",
    reads: "a line of the server's log",
    written_by: "the server; log servers, in its errors",
    run: |input| drop(server_log::parse(input)),
    seeds: || {
        let lines: [&[u8]; 4] = [
            b"2026-11-30T04:42:06.689Z [ERROR] audit: backend failed to log request: backend=socket/ error=\"write tcp 10.0.0.1:5->10.0.0.2:1515: i/o timeout\"\n",
            b"2026-11-30T04:42:06.689Z [ERROR] audit: backend failed to log response: backend=f/ error=\n  | 2 errors occurred:\n  | \t* open /var/log/a.log: no space left on device\n  | \t* dial tcp: lookup log on 10.0.0.1:53: no such host\n  | \n  \n",
            b"{\"@level\":\"error\",\"@message\":\"backend failed to log request\",\"@module\":\"audit\",\"backend\":\"http/\",\"error\":\"server returned 503\"}\n",
            b"2026-11-30T04:42:06.689Z [ERROR] core: failed to audit request: path=sys/mounts error=\"1 error occurred:\\n\\t* event not processed by enough 'sink' nodes\\nerror writing to socket\"\n",
        ];
        lines.map(<[u8]>::to_vec).into()
    },
    words: &[
        "audit: ",
        "error=",
        "backend=",
        "\\n\\t* ",
        " | ",
        "\"",
        "dial tcp ",
        "->",
        "i/o timeout",
        "lookup ",
        "Sink).Process:",
        "error writing to socket",
        "connection refused",
    ],
    limits: Limits {
        input: 4096,
        fixed: 64 << 10,
        per_byte: 64,
    },
};

pub(super) const WIRE_RECORD: Target = Target {
    name: "",
    reads: "a record of the ring buffer",
    written_by: "our eBPF programs; in it the beginning of an entry",
    run: |input| {
        let kernel = Kernel {
            drop_reasons: BTreeMap::from([(2, "NOT_SPECIFIED".to_owned())]),
            netfilter: Some(0xffff_ffff_8100_0a00..0xffff_ffff_8100_0b40),
            jiffy: 10_000_000,
        };
        if let Ok(Some(event)) = decode(input, &kernel) {
            let text = serde_json::to_string(&event).expect("every event can be recorded");
            let back = serde_json::from_str(&text).expect("every recorded event can be read");
            assert_eq!(event, back);
        }
    },
    seeds: || records::all().into_iter().map(|(_, bytes)| bytes).collect(),
    words: WORDS,
    limits: Limits {
        input: 4096,
        fixed: 128 << 10,
        per_byte: 64,
    },
};

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const OPENBAO: &str = r#"{"time":"2026-11-23T05:57:03.934954324Z","type":"response","auth":{"client_token":"hmac-sha256:secret-1","policies":["root"]},"request":{"id":"aea61dbf-7b2f","operation":"read","mount_point":"sys/","client_token":"s.live-token","namespace":{"id":"root"},"path":"sys/mounts","data":{"id":"inner","password":"hunter2"},"remote_address":"127.0.0.1","remote_port":50222},"response":{"data":{"key":"response-secret"}}}"#;
const VAULT: &str = r#"{"auth":{"client_token":"secret-1"},"request":{"data":{"id":"inner","password":"hunter2"},"headers":{"x":["y"]},"id":"aea61dbf-7b2f","operation":"read","path":"sys/mounts","remote_address":"127.0.0.1","remote_port":50222},"response":{},"time":"2026-11-23T05:57:03.934954324Z","type":"response"}"#;

fn whole() -> EntryHead {
    EntryHead {
        kind: Some(EntryKind::Response),
        time: "2026-11-23T05:57:03.934954324Z".parse().ok(),
        id: Some("aea61dbf-7b2f".to_owned()),
        operation: Some("read".to_owned()),
        path: Some("sys/mounts".to_owned()),
        remote_address: Some("127.0.0.1".to_owned()),
        remote_port: Some(50222),
        namespace: None,
        over_http: false,
        request_hash: None,
    }
}

#[test]
fn reads_both_orders_of_fields() {
    assert_eq!(parse_head(OPENBAO.as_bytes()), Some(whole()));
    assert_eq!(parse_head(VAULT.as_bytes()), Some(whole()));
}

/// By which the server tries a device: in the order of older versions, in that of newer ones, and as `format=jsonx`.
const TESTS: [&str; 3] = [
    r#"{"time":"2026-11-23T05:57:03.934954324Z","type":"request","auth":{"token_type":"default"},"request":{"id":"aea61dbf-7b2f","operation":"update","namespace":{"id":"root"},"path":"sys/audit/test"}}"#,
    r#"{"request":{"id":"aea61dbf-7b2f","namespace":{"id":"root"},"operation":"update","path":"sys/audit/test"},"time":"2026-11-23T05:57:03.934954324Z","type":"request"}"#,
    r#"<json:object name="auth"><json:string name="token_type">default</json:string></json:object><json:object name="request"><json:string name="id">aea61dbf-7b2f</json:string><json:object name="namespace"><json:string name="id">root</json:string></json:object><json:string name="operation">update</json:string><json:string name="path">sys/audit/test</json:string></json:object><json:string name="time">2026-11-23T05:57:03.934954324Z</json:string><json:string name="type">request</json:string>"#,
];

#[test]
fn the_entry_that_tries_a_device_names_no_request() {
    let nameless = EntryHead {
        time: whole().time,
        ..EntryHead::default()
    };
    for line in TESTS {
        assert_eq!(
            parse_head(line.as_bytes()),
            Some(nameless.clone()),
            "{line}"
        );
        let sent = format!("POST /audit HTTP/1.1\r\nHost: log\r\n\r\n{line}");
        let head = parse_head(sent.as_bytes()).expect("an entry");
        assert!(head.over_http && head.request_hash.is_some(), "{head:?}");
        assert_eq!(head.id, None);
        // The twin: a client enables a device of another name.
        let other = line.replace("sys/audit/test", "sys/audit/tests");
        let head = parse_head(other.as_bytes()).expect("an entry");
        assert_eq!(head.path.as_deref(), Some("sys/audit/tests"));
    }
    // A client enables one of this name, and is answered.
    for line in &TESTS[..2] {
        for (part, other) in [
            (r#""id":"aea"#, r#""remote_address":"127.0.0.1","id":"aea"#),
            (r#""type":"request""#, r#""type":"response""#),
        ] {
            let line = line.replace(part, other);
            let head = parse_head(line.as_bytes()).expect("an entry");
            assert_eq!(head.id.as_deref(), Some("aea61dbf-7b2f"), "{line}");
        }
    }
}

#[test]
fn an_entry_may_be_sent_in_a_request_of_http() {
    let request = format!("POST /audit HTTP/1.1\r\nHost: log\r\n\r\n{OPENBAO}");
    let expected = EntryHead {
        over_http: true,
        request_hash: request.as_bytes().first_chunk().and_then(request_hash),
        ..whole()
    };
    assert!(expected.request_hash.is_some());
    assert_eq!(parse_head(request.as_bytes()), Some(expected));
}

/// Requests of one device differ in their length only, and the programs hash none of that; others that the same server is sent
/// differ before.
#[test]
fn requests_of_one_device_begin_alike() {
    let hash = |start: &str, length: usize| {
        let rest = format!("User-Agent: Go-http-client/1.1\r\nContent-Length: {length}\r\n");
        let request = format!("{start}\r\n{rest}");
        request_hash(request.as_bytes().first_chunk().expect("long enough"))
    };
    // The shortest that there is.
    let shortest = "POST / HTTP/1.1\r\nHost: h";
    assert_eq!(hash(shortest, 1), hash(shortest, 98_765));
    let starts = [
        shortest,
        "PUT / HTTP/1.1\r\nHost: h",
        "POST / HTTP/1.1\r\nHost: i",
        "POST /v1/namespaces/default/audit/a HTTP/1.1\r\nHost: h",
        "POST /v1/namespaces/default/audit/b HTTP/1.1\r\nHost: h",
    ];
    let hashes = BTreeSet::from(starts.map(|start| hash(start, 9)));
    assert_eq!(hashes.len(), starts.len());
    assert!(!hashes.contains(&None));
    assert_eq!(hash("GET / HTTP/1.1\r\nHost: h", 0), None);
}

#[test]
fn looks_past_a_prefix() {
    let line = format!("@cee: {OPENBAO}");
    assert_eq!(parse_head(line.as_bytes()), Some(whole()));
}

#[test]
fn takes_what_stands_before_a_cut() {
    let cut = OPENBAO.find("\"namespace\"").expect("in the sample");
    let head = parse_head(&OPENBAO.as_bytes()[..cut]).expect("an entry");
    assert_eq!(head.id.as_deref(), Some("aea61dbf-7b2f"));
    assert_eq!(head.path, None);
}

#[test]
fn other_lines_are_no_entries() {
    let others: [&[u8]; 11] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00{",
        br#"{"@level":"info","@message":"request","type":"request"}"#,
        br#"{"type":"login","time":"2026-11-23T05:57:03Z"}"#,
        br#"{"id":"aea61dbf","operation":"read","path":"sys/mounts"}"#,
        br#"["type","request"]"#,
        br#"{"type":"request","time":"2026-11-23T05:57:03Z","url":"/x","status":200}"#,
        br#"{"type":"request","time":"2026-11-23T05:57:03Z","url":"/x","sta"#,
        br#"{"level":"info","request":{"remote_ip":"10.0.0.1","uri":"/x"},"ts":1.5"#,
        br#"{"request":{"id":"x","path":"/x"}}"#,
        br#"{"request_id":"x","auth":{"client_token":"s.x","policies":["root"],"acce"#,
    ];
    for other in others {
        assert_eq!(
            parse_head(other),
            None,
            "{}",
            String::from_utf8_lossy(other)
        );
    }
}

#[test]
fn an_entry_may_be_cut_before_its_type() {
    let auth = br#"{"time":"2026-11-23T05:57:03Z","type":"request","auth":{"#;
    let head = parse_head(auth).expect("an entry");
    assert_eq!(head.kind, Some(EntryKind::Request));
    let auth = br#"{"auth":{"accessor":"a","client_token":"b","policies":["#;
    assert_eq!(parse_head(auth), Some(EntryHead::default()));
    let login = br#"{"request":{"client_id":"a","data":{"x":1},"id":"b","operation":"update","#;
    assert_eq!(
        parse_head(login).and_then(|head| head.id).as_deref(),
        Some("b")
    );
}

#[test]
fn only_responses_have_a_response() {
    let cut = VAULT.find("\"time\"").expect("in the sample");
    let head = parse_head(&VAULT.as_bytes()[..cut]).expect("an entry");
    assert_eq!(head.kind, Some(EntryKind::Response));
}

#[test]
fn deep_nesting_is_survived() {
    let deep = "[".repeat(100_000);
    let line = OPENBAO.replace("\"hunter2\"", &deep);
    let head = parse_head(line.as_bytes()).expect("an entry");
    assert_eq!(head.path.as_deref(), Some("sys/mounts"));
}

#[test]
fn keeps_no_secret() {
    for line in [OPENBAO, VAULT] {
        let kept = format!("{:?}", parse_head(line.as_bytes()));
        for secret in ["secret-1", "live-token", "hunter2", "response-secret"] {
            assert!(!kept.contains(secret), "{kept}");
        }
    }
}

/// `part` says nothing that `whole` does not say.
fn is_part(part: &EntryHead, whole: &EntryHead) -> bool {
    fn same<T: PartialEq>(part: Option<&T>, whole: Option<&T>) -> bool {
        part.is_none() || part == whole
    }
    same(part.kind.as_ref(), whole.kind.as_ref())
        && same(part.time.as_ref(), whole.time.as_ref())
        && same(part.id.as_ref(), whole.id.as_ref())
        && same(part.operation.as_ref(), whole.operation.as_ref())
        && same(part.path.as_ref(), whole.path.as_ref())
        && same(part.remote_address.as_ref(), whole.remote_address.as_ref())
        && same(part.remote_port.as_ref(), whole.remote_port.as_ref())
}

#[test]
fn a_cut_entry_has_no_other_values() {
    for line in [OPENBAO, VAULT] {
        for cut in 0..line.len() {
            let part = parse_head(&line.as_bytes()[..cut]).unwrap_or_default();
            assert!(is_part(&part, &whole()), "{part:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        let _ = parse_head(&bytes);
    }

    #[test]
    fn damage_is_survived(at in 0..VAULT.len(), byte in any::<u8>()) {
        let mut line = VAULT.as_bytes().to_vec();
        line[at] = byte;
        let _ = parse_head(&line);
    }
}

/// As `format=jsonx` of Vault writes it.
const JSONX: &str = r#"<json:object name="auth"><json:string name="client_token">secret-1</json:string><json:array name="policies"><json:string>root</json:string></json:array></json:object><json:object name="request"><json:object name="data"><json:string name="id">inner</json:string><json:string name="password">hunter2</json:string></json:object><json:object name="headers"><json:array name="x-&#34;y&#34;"><json:string>z</json:string></json:array></json:object><json:string name="id">aea61dbf-7b2f</json:string><json:string name="operation">read</json:string><json:string name="path">sys/mounts</json:string><json:string name="remote_address">127.0.0.1</json:string><json:number name="remote_port">50222</json:number></json:object><json:object name="response"><json:null name="none" /></json:object><json:string name="time">2026-11-23T05:57:03.934954324Z</json:string><json:string name="type">response</json:string>"#;

#[test]
fn reads_jsonx() {
    for line in [
        JSONX.to_owned(),
        format!("{JSONX}\n"),
        format!("<6> vault[1]: {JSONX}\n"),
    ] {
        assert_eq!(parse_head(line.as_bytes()), Some(whole()), "{line}");
    }
}

#[test]
fn a_cut_jsonx_entry_has_no_other_values() {
    for cut in 0..JSONX.len() {
        let part = parse_head(&JSONX.as_bytes()[..cut]).unwrap_or_default();
        assert!(is_part(&part, &whole()), "{part:?}");
    }
    let cut = JSONX.find("<json:string name=\"path\"").expect("in it");
    let head = parse_head(&JSONX.as_bytes()[..cut]).expect("an entry");
    assert_eq!(head.id.as_deref(), Some("aea61dbf-7b2f"));
}

/// Values are not escaped: one that has tags of its own says nothing of the entry.
#[test]
fn a_value_with_tags_is_no_field() {
    let forged =
        r#"x</json:string><json:string name="id">forged</json:string><json:string name="path">y"#;
    let line = JSONX.replace(">sys/mounts<", &format!(">{forged}<"));
    let head = parse_head(line.as_bytes()).unwrap_or_default();
    assert_eq!(head.id.as_deref(), Some("aea61dbf-7b2f"));
    let line = JSONX.replace(">sys/mounts<", ">x<json:string><");
    let head = parse_head(line.as_bytes()).unwrap_or_default();
    assert_eq!(head.path, None);
}

#[test]
fn other_xml_is_no_entry() {
    for other in [
        "<html><body>request</body></html>",
        r#"<json:string name="type">login</json:string>"#,
        "<6>Nov 30 01:02:03 vault[1]: {} request",
        "<json:object",
    ] {
        assert_eq!(parse_head(other.as_bytes()), None, "{other}");
    }
}

#[test]
fn deep_elements_are_survived() {
    let deep = r#"<json:array name="x">"#.repeat(100_000);
    let line = JSONX.replace(r#"<json:null name="none" />"#, &deep);
    let head = parse_head(line.as_bytes()).expect("an entry");
    assert_eq!(head.path.as_deref(), Some("sys/mounts"));
}

/// `prefix` is any text, with spaces, braces and brackets, too.
#[test]
fn looks_past_any_prefix() {
    for prefix in [
        "vault: ",
        "{vault} ",
        "{{{",
        "[audit] <6>",
        "{\"type\":\"request\"} ",
        "<vault> ",
        "<json:x> ",
        "\u{20ac}{ ",
    ] {
        for line in [OPENBAO, VAULT, JSONX] {
            let line = format!("{prefix}{line}");
            assert_eq!(parse_head(line.as_bytes()), Some(whole()), "{line}");
        }
    }
}

/// `log_raw`, `elide_list_responses`, `forwarded`, mounts with spaces and letters of any alphabet.
#[test]
fn reads_unusual_entries() {
    let list = r#"{"time":"2026-11-23T05:57:03Z","type":"response","auth":{"client_token":"s.raw","accessor":"raw"},"request":{"id":"1","operation":"list","path":"team a/ключ/\u00fc \"x\"/","remote_port":1},"response":{"data":{"keys":3}},"forwarded":true,"forwarded_from":"10.0.0.2:8201"}"#;
    let head = parse_head(list.as_bytes()).expect("an entry");
    assert_eq!(head.operation.as_deref(), Some("list"));
    assert_eq!(head.path.as_deref(), Some("team a/ключ/ü \"x\"/"));
    assert_eq!(head.kind, Some(EntryKind::Response));
    let team = OPENBAO.replace(
        r#""namespace":{"id":"root"}"#,
        r#""namespace":{"id":"ab12","path":"team a/"}"#,
    );
    let head = parse_head(team.as_bytes()).expect("an entry");
    assert_eq!(head.namespace.as_deref(), Some("team a/"));
    let generic = OPENBAO.replace(r#""type":"response""#, r#""type":"my-pki-response""#);
    assert_eq!(parse_head(generic.as_bytes()), Some(whole()));
}

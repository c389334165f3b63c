//! The start of an audit entry, as far as it was captured.

use std::{borrow::Cow, fmt};
use tracer_model::EntryHead;
use tracer_model::EntryKind;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor},
};

/// Longest `prefix` option of an audit device that is skipped, bytes.
const PREFIX: usize = 256;

/// Fields whose names are rare in other programs' JSON (`audit/types.go`).
const AUTH: [&str; 8] = [
    "accessor",
    "client_token",
    "display_name",
    "entity_id",
    "policies",
    "policy_results",
    "token_policies",
    "token_type",
];
const REQUEST: [&str; 10] = [
    "client_id",
    "client_token",
    "client_token_accessor",
    "mount_accessor",
    "mount_class",
    "mount_point",
    "mount_type",
    "namespace",
    "operation",
    "remote_port",
];

/// Reads the start of an entry, behind an optional prefix. `None` if it is none: another program's
/// line, TLS, the rest of an entry that began in an earlier write.
///
/// The order of fields does not matter: it differs between versions. If the end was cut off, the fields before the cut
/// are still read.
pub fn parse_head(bytes: &[u8]) -> Option<EntryHead> {
    let start = bytes.iter().take(PREFIX).position(|byte| *byte == b'{')?;
    let mut entry = Capture::default();
    let mut json = serde_json::Deserializer::from_slice(without_cut_number(&bytes[start..]));
    // An error at a cut end is expected; the fields before it have been read.
    entry.cut = Object(|key: &str, value: &mut dyn FieldValue| entry.field(key, value))
        .deserialize(&mut json)
        .is_err();
    entry.finish()
}

/// A whole entry ends in a brace. Digits at the end may be the start of a number that was cut off: `389` of 38926 would
/// be another client's port.
fn without_cut_number(json: &[u8]) -> &[u8] {
    let end = json.iter().rposition(|byte| !byte.is_ascii_digit());
    &json[..end.map_or(0, |end| end + 1)]
}

#[derive(Default)]
struct Capture {
    head: EntryHead,
    /// How many fields of `auth` and `request` are as in an entry.
    hints: usize,
    has_response: bool,
    /// Whether it has an unknown field at the top level, or an unknown `type`.
    has_others: bool,
    /// Whether the end is missing.
    cut: bool,
}

impl Capture {
    /// With a known `type` one field of an entry is enough. One that was cut off may lack fields, but must not have
    /// unknown ones.
    fn is_entry(&self) -> bool {
        let named = self.head.kind.is_some();
        let whole = named && self.hints >= 1;
        let begun = self.cut && !self.has_others && (named || self.hints >= 2);
        whole || begun
    }

    fn finish(mut self) -> Option<EntryHead> {
        if !self.is_entry() {
            return None;
        }
        if self.has_response {
            self.head.kind = Some(EntryKind::Response);
        }
        Some(self.head)
    }

    fn field(&mut self, key: &str, value: &mut dyn FieldValue) {
        match key {
            "time" => self.head.time = value.string().and_then(|time| time.parse().ok()),
            "type" => {
                let kind = value.string();
                self.head.kind = kind.as_deref().and_then(kind_named);
                self.has_others |= kind.is_some() && self.head.kind.is_none();
            }
            "auth" => value.object(&mut |key, _| self.hints += usize::from(AUTH.contains(&key))),
            "request" => value.object(&mut |key, value| {
                self.hints += usize::from(REQUEST.contains(&key));
                request_field(&mut self.head, key, value);
            }),
            "response" => self.has_response = true,
            "error" | "forwarded_from" => {}
            _ => self.has_others = true,
        }
    }
}

/// The kind that `type` names.
fn kind_named(name: &str) -> Option<EntryKind> {
    match name {
        "request" => Some(EntryKind::Request),
        "response" => Some(EntryKind::Response),
        _ => None,
    }
}

fn request_field(head: &mut EntryHead, key: &str, value: &mut dyn FieldValue) {
    match key {
        "id" => head.id = value.string(),
        "operation" => head.operation = value.string(),
        "path" => head.path = value.string(),
        "remote_address" => head.remote_address = value.string(),
        "remote_port" => head.remote_port = value.number().and_then(|n| n.try_into().ok()),
        _ => {}
    }
}

/// The value of a field, which is read as one of these or skipped.
trait FieldValue {
    fn string(&mut self) -> Option<String>;
    fn number(&mut self) -> Option<u64>;
    fn object(&mut self, field: &mut dyn FnMut(&str, &mut dyn FieldValue));
}

/// Passes each field of a JSON object to a function while it is parsed: serde's derived structures would give nothing
/// for an object whose end is missing.
struct Object<F>(F);

impl<'de, F: FnMut(&str, &mut dyn FieldValue)> DeserializeSeed<'de> for Object<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, F: FnMut(&str, &mut dyn FieldValue)> Visitor<'de> for Object<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            let mut value = InMap {
                map: &mut map,
                outcome: None,
            };
            (self.0)(&key, &mut value);
            match value.outcome {
                Some(taken) => taken?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The name of a field; borrowed if it has no escapes, as most.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Borrowed(key)))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Key(Cow::Owned(key.to_owned())))
    }
}

/// The next value of a map.
struct InMap<'a, 'de, A: MapAccess<'de>> {
    map: &'a mut A,
    /// How reading it ended; `None` if it was not read.
    outcome: Option<Result<(), A::Error>>,
}

impl<'de, A: MapAccess<'de>> InMap<'_, 'de, A> {
    fn take<T: Deserialize<'de>>(&mut self) -> Option<T> {
        match self.map.next_value() {
            Ok(value) => {
                self.outcome = Some(Ok(()));
                Some(value)
            }
            Err(error) => {
                self.outcome = Some(Err(error));
                None
            }
        }
    }
}

impl<'de, A: MapAccess<'de>> FieldValue for InMap<'_, 'de, A> {
    fn string(&mut self) -> Option<String> {
        self.take()
    }

    fn number(&mut self) -> Option<u64> {
        self.take()
    }

    fn object(&mut self, field: &mut dyn FnMut(&str, &mut dyn FieldValue)) {
        self.outcome = Some(self.map.next_value_seed(Object(field)));
    }
}

#[cfg(test)]
mod tests {
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
        }
    }

    #[test]
    fn reads_both_orders_of_fields() {
        assert_eq!(parse_head(OPENBAO.as_bytes()), Some(whole()));
        assert_eq!(parse_head(VAULT.as_bytes()), Some(whole()));
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
}

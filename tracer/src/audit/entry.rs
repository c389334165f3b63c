//! The start of an audit entry, as far as it was captured.

mod json;
mod jsonx;
#[cfg(test)]
mod tests;

use tracer_ebpf::protocol::{begins_http_request, request_hash};
use tracer_model::{EntryHead, EntryKind};

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
/// are still read. A prefix may have braces and brackets of its own: the entry begins at the first brace or bracket from which
/// it can be read as one.
pub fn parse_head(bytes: &[u8]) -> Option<EntryHead> {
    let mut starts = bytes.iter().take(PREFIX).enumerate();
    let head = starts.find_map(|(at, byte)| match byte {
        b'{' => parse_as(&bytes[at..], json::read),
        b'<' => parse_as(&bytes[at..], jsonx::read),
        _ => None,
    })?;
    Some(EntryHead {
        over_http: bytes.first_chunk().is_some_and(begins_http_request),
        request_hash: bytes.first_chunk().and_then(request_hash),
        ..head
    })
}

/// Passes the fields of an entry to a function, and returns whether its end is missing.
type Read = for<'a> fn(&[u8], &'a mut dyn FnMut(&str, &mut dyn FieldValue)) -> bool;

fn parse_as(bytes: &[u8], read: Read) -> Option<EntryHead> {
    let mut entry = Capture::default();
    let is_cut = read(bytes, &mut |key, value| entry.field(key, value));
    entry.cut = is_cut;
    entry.finish()
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
        if self.head.is_test() {
            return Some(self.head.nameless());
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
            "error" | "forwarded" | "forwarded_from" => {}
            _ => self.has_others = true,
        }
    }
}

/// The kind that `type` names. Of what a plugin audits itself, `OpenBao` puts the mount in front: `pki-request`.
fn kind_named(name: &str) -> Option<EntryKind> {
    match name.rsplit('-').next() {
        Some("request") => Some(EntryKind::Request),
        Some("response") => Some(EntryKind::Response),
        _ => None,
    }
}

fn request_field(head: &mut EntryHead, key: &str, value: &mut dyn FieldValue) {
    match key {
        "id" => head.id = value.string(),
        "operation" => head.operation = value.string(),
        "path" => head.path = value.string(),
        "remote_address" => head.remote_address = value.string(),
        "namespace" => value.object(&mut |key, value| match key {
            "path" => head.namespace = value.string(),
            "id" => {
                // Of the root namespace nothing is said: most requests are in it.
                let id = value.string().filter(|id| id != "root");
                head.namespace = head.namespace.take().or(id);
            }
            _ => {}
        }),
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

//! The request that a goroutine works on: an argument of the audit broker's methods. What is read there is used only if
//! it has the form of a request: an ID, and an operation that exists.

use std::{collections::HashMap, net::IpAddr, str};

use super::{
    memory::{Memory, Piece, word},
    roles::Variable,
    stack::{Frame, Stack},
    variables::Variables,
};
use crate::server::go::dwarf::{
    Sections, Structures,
    local::{Local, Structure},
};
use tracer_model::{EntryHead, EntryKind};

/// `sdk/logical/request.go`, `Operation`; `scan` is `OpenBao`'s.
const OPERATIONS: [&str; 14] = [
    "create",
    "read",
    "update",
    "patch",
    "delete",
    "list",
    "scan",
    "help",
    "alias-lookahead",
    "resolve-role",
    "header",
    "revoke",
    "renew",
    "rollback",
];
/// The structures that lead to a request, as [`super::runtime_types`] takes their names: in whatever module package `logical` is.
pub(super) const STRUCTURES: [&str; 3] = [
    "*/logical.LogInput",
    "*/logical.Request",
    "*/logical.Connection",
];

/// Lengths beyond which these are rejected, bytes.
const MAX_OPERATION: u64 = 32;
const MAX_PATH: u64 = 2048;
/// An IPv6 address with a zone.
const MAX_ADDRESS: u64 = 64;
/// `github.com/hashicorp/go-uuid`: 8-4-4-4-12 digits.
const ID: u64 = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// Reads requests, if the offsets of their fields are known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RequestReader(Option<RequestLayout>);

/// Offsets in `logical.LogInput` and `logical.Request`, bytes. Nothing else of them is read: tokens lie
/// beside these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestLayout {
    pub(super) request: u32,
    pub(super) id: u32,
    pub(super) operation: u32,
    pub(super) path: u32,
    pub(super) client: Option<ClientLayout>,
}

/// Offsets in `logical.Request` and `logical.Connection`, bytes. Of a request that another node of the cluster has forwarded, this
/// is the client's own address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientLayout {
    pub(super) connection: u32,
    pub(super) address: u32,
    pub(super) port: u32,
}

/// What a stack says about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StackRequest {
    /// The request itself, with the context of its entry if that is on its way to sinks.
    Request(Box<EntryHead>, Option<u64>),
    /// Only the context of an entry.
    Context(u64),
}

impl RequestReader {
    /// Reads nothing if none of these variables leads to a request.
    pub(super) fn new(debug: &Sections, variables: &Variables) -> Self {
        let inputs = variables.of(|variable| matches!(variable, Variable::Input(_)));
        let mut fields = inputs.filter_map(|input| RequestLayout::of(debug, input));
        Self(fields.next())
    }

    /// By the types of a program; reads nothing if it does not describe those of a request.
    pub(super) fn of_types(types: &Structures) -> Self {
        Self(RequestLayout::of_types(types))
    }

    #[cfg(test)]
    pub(super) fn for_test(fields: RequestLayout) -> Self {
        Self(Some(fields))
    }

    /// `None` if the stack says nothing.
    pub(super) fn read(
        &self,
        memory: &impl Memory,
        variables: &Variables,
        stack: Stack<'_>,
        frames: &[Frame],
    ) -> Option<StackRequest> {
        let mut inputs = frames.iter().filter_map(|frame| {
            let (variable, input) = variables.read(stack, *frame)?;
            let Variable::Input(kind) = variable else {
                return None;
            };
            self.entry(memory, input, kind)
        });
        // The outermost is handed on, and may be another further in.
        let mut contexts = frames.iter().rev().filter_map(|frame| {
            let (variable, context) = variables.read(stack, *frame)?;
            (variable == Variable::Context && context != 0).then_some(context)
        });
        match (inputs.next(), contexts.next()) {
            (Some(entry), context) => Some(StackRequest::Request(Box::new(entry), context)),
            (None, context) => context.map(StackRequest::Context),
        }
    }

    /// All lengths must fit before a text is read; a path that is too long, or has control characters, is unknown.
    fn entry(&self, memory: &impl Memory, input: u64, kind: EntryKind) -> Option<EntryHead> {
        let fields = self.0?;
        let at = |base: u64, offset: u32| base.checked_add(offset.into());
        let request = memory.word(at(input, fields.request)?).ok()?;
        let headers = [fields.id, fields.operation, fields.path];
        let [id, operation, path] = headers.map(|field| text_at(memory, at(request, field)?));
        let id = id.filter(|id| id.len as u64 == ID)?;
        let operation = operation.filter(|text| text.len as u64 <= MAX_OPERATION)?;
        let path = path.filter(|text| text.len as u64 <= MAX_PATH);
        let id = text(memory, id).filter(|id| is_id(id))?;
        let operation = text(memory, operation).filter(|o| OPERATIONS.contains(&&**o))?;
        let client = fields
            .client
            .and_then(|client| client.read(memory, request));
        let (remote_address, remote_port) = client.unzip();
        Some(EntryHead {
            kind: Some(kind),
            id: Some(id),
            operation: Some(operation),
            path: path.and_then(|path| text(memory, path)),
            remote_address,
            remote_port,
            ..EntryHead::default()
        })
    }
}

impl RequestLayout {
    /// `input`: the variable that points to a `LogInput`.
    fn of(debug: &Sections, input: &Local) -> Option<Self> {
        let pointed = debug.structure(input.of()?)?;
        let request = *pointed.members.get("Request")?;
        let structure = debug.structure(request.of?)?;
        let is_known = pointed.name.ends_with("/logical.LogInput")
            && structure.name.ends_with("/logical.Request");
        let member = |name| structure.members.get(name).map(|member| member.offset);
        is_known.then_some(())?;
        Some(Self {
            client: ClientLayout::of(debug, &structure),
            request: request.offset,
            id: member("ID")?,
            operation: member("Operation")?,
            path: member("Path")?,
        })
    }
}

impl RequestLayout {
    fn of_types(types: &Structures) -> Option<Self> {
        let [input, request, _] = STRUCTURES;
        let member = |of: &str, name: &str| types.get(of)?.get(name).copied();
        Some(Self {
            client: ClientLayout::of_types(types),
            request: member(input, "Request")?,
            id: member(request, "ID")?,
            operation: member(request, "Operation")?,
            path: member(request, "Path")?,
        })
    }
}

impl ClientLayout {
    fn of_types(types: &Structures) -> Option<Self> {
        let [_, request, connection] = STRUCTURES;
        let member = |of: &str, name: &str| types.get(of)?.get(name).copied();
        Some(Self {
            connection: member(request, "Connection")?,
            address: member(connection, "RemoteAddr")?,
            port: member(connection, "RemotePort")?,
        })
    }

    /// `request`: `logical.Request`.
    fn of(debug: &Sections, request: &Structure) -> Option<Self> {
        let connection = request.members.get("Connection")?;
        let structure = debug.structure(connection.of?)?;
        let member = |name| structure.members.get(name).map(|member| member.offset);
        Some(Self {
            connection: connection.offset,
            address: member("RemoteAddr")?,
            port: member("RemotePort")?,
        })
    }

    /// `None` unless both have the form of what they are.
    fn read(self, memory: &impl Memory, request: u64) -> Option<(String, u16)> {
        let at = |base: u64, offset: u32| base.checked_add(offset.into());
        let connection = memory.word(at(request, self.connection)?).ok()?;
        let connection = Some(connection).filter(|connection| *connection != 0)?;
        let address = text_at(memory, at(connection, self.address)?)?;
        let address = Some(address).filter(|address| address.len as u64 <= MAX_ADDRESS)?;
        let address = text(memory, address).filter(|address| address.parse::<IpAddr>().is_ok())?;
        let port = memory.word(at(connection, self.port)?).ok()?;
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        Some((address, port))
    }
}

/// A string: a pointer and a length (`reflect/value.go`, `stringHeader`).
fn text_at(memory: &impl Memory, at: u64) -> Option<Piece> {
    let mut header = [0; 16];
    memory.read(at, &mut header).ok()?;
    Some(Piece {
        address: word(&header),
        len: word(&header[8..]).try_into().ok()?,
    })
}

fn text(memory: &impl Memory, at: Piece) -> Option<String> {
    let mut bytes = vec![0; at.len];
    memory.read(at.address, &mut bytes).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    (!text.contains(char::is_control)).then_some(text)
}

fn is_id(text: &str) -> bool {
    let fits = |(i, byte): (usize, u8)| {
        if HYPHENS.contains(&i) {
            byte == b'-'
        } else {
            byte.is_ascii_hexdigit()
        }
    };
    text.len() as u64 == ID && text.bytes().enumerate().all(fits)
}

/// What all stacks say about requests, by goroutine.
#[derive(Debug, Default)]
pub(super) struct StackRequests {
    requests: HashMap<u64, Box<EntryHead>>,
    sinks: HashMap<u64, u64>,
    /// The goroutine that waits for the sinks of the entry with this context; `None` if several seem to.
    senders: HashMap<u64, Option<u64>>,
}

/// The request whose entry each sink's goroutine has. It may outlive the goroutine that waited for it.
#[derive(Debug, Default)]
pub(super) struct SinkRequests(HashMap<u64, SinkRequest>);

#[derive(Clone, Debug)]
struct SinkRequest {
    context: u64,
    /// The request's goroutine.
    request: u64,
    entry: Box<EntryHead>,
}

impl StackRequests {
    pub(super) fn add(&mut self, goid: u64, stacks: StackRequest) {
        match stacks {
            StackRequest::Request(entry, context) => {
                self.requests.insert(goid, entry);
                if let Some(context) = context {
                    let sender = self.senders.entry(context);
                    sender.and_modify(|s| *s = None).or_insert(Some(goid));
                }
            }
            StackRequest::Context(context) => {
                self.sinks.insert(goid, context);
            }
        }
    }

    /// The request whose own goroutine this is.
    pub(super) fn of(&self, goid: u64) -> Option<&EntryHead> {
        self.requests.get(&goid).map(|entry| &**entry)
    }

    /// The goroutine of the request that the first of these works on, and the request. One whose stack says nothing
    /// works for the next of its ancestors whose stack does.
    pub(super) fn of_lineage(
        &self,
        lineage: impl Iterator<Item = u64>,
        sinks: &SinkRequests,
    ) -> Option<(u64, EntryHead)> {
        let is_known =
            |goid: &u64| self.sinks.contains_key(goid) || self.requests.contains_key(goid);
        let mut lineage = lineage.filter(is_known);
        let goid = lineage.next()?;
        let (request, entry) = match self.requests.get(&goid) {
            Some(entry) => (goid, entry),
            None => sinks
                .0
                .get(&goid)
                .map(|request| (request.request, &request.entry))?,
        };
        Some((request, (**entry).clone()))
    }

    /// A sink's request is not the one above it, which may work on the next one by now, but the one that
    /// waits for this very entry.
    fn request(&self, context: u64) -> Option<SinkRequest> {
        let request = (*self.senders.get(&context)?)?;
        let entry = self.requests.get(&request)?.clone();
        Some(SinkRequest {
            context,
            request,
            entry,
        })
    }
}

impl SinkRequests {
    /// What was once known of a sink stays true as long as that is alive.
    pub(super) fn update(&mut self, stacks: &StackRequests, is_alive: impl Fn(u64) -> bool) {
        self.0.retain(|goid, request| {
            let context = stacks.sinks.get(goid);
            is_alive(*goid) && context.is_none_or(|context| *context == request.context)
        });
        for (goid, context) in &stacks.sinks {
            self.0
                .extend(stacks.request(*context).map(|request| (*goid, request)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_an_id_by_its_form() {
        assert!(is_id("01234567-89ab-cdef-0123-456789abcdef"));
        for text in [
            "",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdeg",
            "0123456-789ab-cdef-0123-456789abcdef",
            "hvs.CAESIJRM-QcsfGtGtGdVyXr0zeXwGQxd",
        ] {
            assert!(!is_id(text), "{text}");
        }
    }
}

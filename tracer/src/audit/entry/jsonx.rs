//! An entry as `format=jsonx` writes it: XML by the names of JSON's types (`github.com/jefferai/jsonx`, `jsonx.go`), without an
//! element around it. Names are escaped, and in order within an object; values are not escaped.

use super::FieldValue;

/// What a name can be escaped to (`encoding/xml`, `EscapeText`).
const ESCAPES: [(&str, &str); 8] = [
    ("&#34;", "\""),
    ("&#39;", "'"),
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&#x9;", "\t"),
    ("&#xA;", "\n"),
    ("&#xD;", "\r"),
    ("&amp;", "&"),
];

/// Entries are not nested any deeper.
const MAX_DEPTH: u32 = 128;

/// Passes the fields to `field`, in the order in which they stand there. Returns whether the end is missing, or what follows is no
/// `JSONx`.
pub(super) fn read(xml: &[u8], field: &mut dyn FnMut(&str, &mut dyn FieldValue)) -> bool {
    // A character may have been cut in two.
    let end = match std::str::from_utf8(xml) {
        Ok(text) => text.len(),
        Err(error) => error.valid_up_to(),
    };
    let text = std::str::from_utf8(&xml[..end]).unwrap_or_default();
    let mut reader = Reader { rest: text };
    let read = reader.fields(0, field);
    read.is_none() || !reader.rest.trim_end().is_empty() || end < xml.len()
}

/// Reads elements one after the other. `None` where the rest is cut off, or none.
struct Reader<'a> {
    rest: &'a str,
}

/// The opening tag of an element.
#[derive(Clone, Copy)]
struct Tag<'a> {
    kind: &'a str,
    /// Escaped. Empty in arrays.
    name: &'a str,
    is_empty: bool,
}

impl<'a> Reader<'a> {
    /// All that stands before the end, or before the closing tag of the object.
    fn fields(
        &mut self,
        depth: u32,
        field: &mut dyn FnMut(&str, &mut dyn FieldValue),
    ) -> Option<()> {
        let mut last: Option<String> = None;
        while self.rest.starts_with("<json:") {
            let tag = self.tag()?;
            let name = unescaped(tag.name);
            // A value that has tags of its own would come out of order: what it says is not the entry's.
            if last.as_ref().is_some_and(|last| *last >= name) {
                return None;
            }
            let mut value = ElementValue {
                reader: self,
                tag,
                depth,
                reading: Reading::NotRead,
            };
            field(&name, &mut value);
            match value.reading {
                Reading::Read => {}
                Reading::Broken => return None,
                Reading::NotRead => self.skip(tag, depth)?,
            }
            last = Some(name);
        }
        Some(())
    }

    fn tag(&mut self) -> Option<Tag<'a>> {
        let after = self.rest.strip_prefix("<json:")?;
        let (tag, rest) = after.split_once('>')?;
        self.rest = rest;
        let is_empty = tag.ends_with('/');
        let (kind, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let name = attributes.strip_prefix("name=\"");
        let name = name.and_then(|name| name.split_once('"'));
        Some(Tag {
            kind,
            name: name.map_or("", |(name, _)| name),
            is_empty,
        })
    }

    /// The text up to the closing tag.
    fn text(&mut self, tag: Tag<'_>) -> Option<&'a str> {
        let (text, rest) = self.rest.split_once("</json:")?;
        let rest = rest.strip_prefix(tag.kind)?.strip_prefix('>')?;
        self.rest = rest;
        (!text.contains("<json:")).then_some(text)
    }

    fn skip(&mut self, tag: Tag<'_>, depth: u32) -> Option<()> {
        match tag.kind {
            _ if tag.is_empty => Some(()),
            "object" | "array" => {
                if depth >= MAX_DEPTH {
                    return None;
                }
                while self.rest.starts_with("<json:") {
                    let inner = self.tag()?;
                    self.skip(inner, depth + 1)?;
                }
                self.close(tag)
            }
            _ => self.text(tag).map(drop),
        }
    }

    fn close(&mut self, tag: Tag<'_>) -> Option<()> {
        let rest = self.rest.strip_prefix("</json:")?;
        self.rest = rest.strip_prefix(tag.kind)?.strip_prefix('>')?;
        Some(())
    }
}

/// How far a value was read.
enum Reading {
    NotRead,
    Read,
    /// It is cut off, or none.
    Broken,
}

impl Reading {
    fn of<T>(read: Option<T>) -> Self {
        read.map_or(Self::Broken, |_| Self::Read)
    }
}

/// The value of the element whose tag was read last.
struct ElementValue<'r, 'a> {
    reader: &'r mut Reader<'a>,
    tag: Tag<'a>,
    depth: u32,
    reading: Reading,
}

impl ElementValue<'_, '_> {
    fn text(&mut self, kind: &str) -> Option<String> {
        if self.tag.kind != kind {
            return None;
        }
        let text = self.reader.text(self.tag);
        self.reading = Reading::of(text);
        text.map(str::to_owned)
    }
}

impl FieldValue for ElementValue<'_, '_> {
    fn string(&mut self) -> Option<String> {
        self.text("string")
    }

    fn number(&mut self) -> Option<u64> {
        self.text("number")?.parse().ok()
    }

    fn object(&mut self, field: &mut dyn FnMut(&str, &mut dyn FieldValue)) {
        if self.tag.kind == "object" && !self.tag.is_empty {
            let fields = self.reader.fields(self.depth + 1, field);
            let tag = self.tag;
            self.reading = Reading::of(fields.and_then(|()| self.reader.close(tag)));
        }
    }
}

fn unescaped(name: &str) -> String {
    if !name.contains('&') {
        return name.to_owned();
    }
    let escapes = ESCAPES.iter();
    escapes.fold(name.to_owned(), |name, (escape, plain)| {
        name.replace(escape, plain)
    })
}

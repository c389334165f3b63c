//! The fields of a line of `hashicorp/go-hclog`, as text or as JSON (`intlogger.go`).

use std::borrow::Cow;

/// One line, which may be several: values with line breaks are indented.
pub(super) struct LogLine<'a> {
    /// The last part of the logger's name.
    pub(super) logger: &'a str,
    pub(super) message: &'a str,
    /// What follows the message.
    rest: &'a str,
    is_json: bool,
}

/// `None` if it is no error.
pub(super) fn fields(text: &str) -> Option<LogLine<'_>> {
    if text.starts_with('{') {
        let of = |key| json(text, key).and_then(|raw| plain(raw).then_some(raw));
        return Some(LogLine {
            logger: last(of("@module")?),
            message: of("@message")?,
            rest: text,
            is_json: true,
        });
    }
    let (_, text) = text.split_once("[ERROR] ")?;
    let (logger, text) = text.split_once(": ")?;
    let end = text.find([':', '\n']).unwrap_or(text.len());
    Some(LogLine {
        logger: last(logger),
        message: &text[..end],
        rest: &text[end..],
        is_json: false,
    })
}

/// `core.audit` is a part of `core`.
fn last(logger: &str) -> &str {
    logger.rsplit('.').next().unwrap_or(logger).trim()
}

impl<'a> LogLine<'a> {
    /// The value of this key.
    pub(super) fn get(&self, key: &str) -> Option<Cow<'a, str>> {
        if self.is_json {
            return json(self.rest, key).map(unescaped);
        }
        let mut rest = self.rest.strip_prefix(':').unwrap_or(self.rest);
        loop {
            rest = rest.trim_start_matches([' ', '\n']);
            let (name, value) = rest.split_once('=')?;
            if name.contains(['"', '\n', ' ']) {
                return None;
            }
            let (value, after) = value_of(value);
            if name == key {
                return Some(value);
            }
            rest = after;
        }
    }
}

/// The value at the beginning, and what follows it: a word, a quoted string, or lines that are indented by `  | `.
fn value_of(text: &str) -> (Cow<'_, str>, &str) {
    if let Some(quoted) = text.strip_prefix('"') {
        let end = end_of_string(quoted);
        let after = quoted.get(end + 1..).unwrap_or_default();
        return (unescaped(&quoted[..end]), after);
    }
    if let Some(block) = text.strip_prefix('\n') {
        let len: usize = block
            .split_inclusive('\n')
            .take_while(|line| line.starts_with("  | ") || line.trim_end() == "  |")
            .map(str::len)
            .sum();
        let (lines, after) = block.split_at(len);
        let lines: Vec<_> = lines
            .lines()
            .map(|line| line.get(4..).unwrap_or(""))
            .collect();
        return (Cow::Owned(lines.join("\n")), after);
    }
    let end = text.find([' ', '\n']).unwrap_or(text.len());
    (Cow::Borrowed(&text[..end]), &text[end..])
}

/// The raw string of a key of an object without nesting.
fn json<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = text.strip_prefix('{')?;
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        let name = rest.strip_prefix('"')?;
        let end = end_of_string(name);
        let value = name.get(end + 1..)?.strip_prefix(':')?;
        let (raw, after) = match value.strip_prefix('"') {
            Some(string) => {
                let end = end_of_string(string);
                (&string[..end], string.get(end + 1..).unwrap_or_default())
            }
            None => value.split_at(value.find([',', '}']).unwrap_or(value.len())),
        };
        if &name[..end] == key {
            return Some(raw);
        }
        rest = after;
    }
}

/// Of a string whose first quote is gone; one that is cut short ends with the text.
fn end_of_string(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.bytes().position(|byte| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends
    });
    end.unwrap_or(text.len())
}

fn plain(raw: &str) -> bool {
    !raw.contains('\\')
}

/// Of the escapes only those that are in errors: quotes, line breaks and tabs.
fn unescaped(raw: &str) -> Cow<'_, str> {
    if plain(raw) {
        return Cow::Borrowed(raw);
    }
    let mut text = String::with_capacity(raw.len());
    let mut bytes = raw.chars();
    while let Some(char) = bytes.next() {
        text.push(match (char, char == '\\') {
            (_, true) => match bytes.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(other) => other,
                None => break,
            },
            (char, false) => char,
        });
    }
    Cow::Owned(text)
}

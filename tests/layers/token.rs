//! Rust source as tokens, without comments, numbers and strings. Reading names does not need a full parser.

/// One token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// An identifier or a keyword.
    Word(&'a str),
    /// `::`
    Colons,
    /// Any other character.
    Symbol(char),
}

/// Splits `text` into tokens. A string that is a path, as in `#[serde(with = "module::path")]`, counts as the path.
pub(crate) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some((length, content)) = string(rest) {
            if is_path(content) {
                tokens.extend(self::tokens(content));
            }
            length
        } else if first == '\'' {
            char_or_lifetime(rest)
        } else if first == '_' || first.is_alphanumeric() {
            let length = word(rest);
            if !first.is_ascii_digit() {
                tokens.push(Token::Word(&rest[..length]));
            }
            length
        } else if rest.starts_with("::") {
            tokens.push(Token::Colons);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(Token::Symbol(first));
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

fn word(text: &str) -> usize {
    let end = text.find(|c: char| c != '_' && !c.is_alphanumeric());
    end.unwrap_or(text.len())
}

fn is_path(text: &str) -> bool {
    text.contains("::")
        && text
            .chars()
            .all(|c| c == ':' || c == '_' || c.is_alphanumeric())
}

/// Block comments nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length and the content of the string literal that `text` begins with, raw or not.
fn string(text: &str) -> Option<(usize, &str)> {
    let prefix = text.find(|c: char| !c.is_ascii_lowercase())?;
    if !["", "b", "c", "r", "br", "cr"].contains(&&text[..prefix]) {
        return None;
    }
    if text[..prefix].ends_with('r') {
        let hashes = text[prefix..].find(|c| c != '#')?;
        let begin = prefix + hashes + 1;
        text[prefix + hashes..].starts_with('"').then_some(())?;
        let end = format!("\"{}", "#".repeat(hashes));
        let length = text[begin..].find(&end)?;
        return Some((begin + length + end.len(), &text[begin..begin + length]));
    }
    let content = text[prefix..].strip_prefix('"')?;
    let mut escaped = false;
    let end = content.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((prefix + end + 2, &content[..end]))
}

/// The length of `'a'`, `'\n'` or `'lifetime`.
fn char_or_lifetime(text: &str) -> usize {
    let inner = &text[1..];
    let Some(first) = inner.chars().next() else {
        return 1;
    };
    let after = first.len_utf8();
    if first == '\\' {
        let escaped = inner[1..].chars().next().map_or(0, char::len_utf8);
        let close = inner[1 + escaped..].find('\'');
        return close.map_or(text.len(), |close| 1 + 1 + escaped + close + 1);
    }
    if inner[after..].starts_with('\'') {
        return 1 + after + 1;
    }
    1 + word(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_no_tokens() {
        let text = r##"a /* b /* c */ d */ "e \" f" r#"g " h"# 'i' '\'' '"' &'j k // l
            b"m" 1_000u64 'n: r"##;
        let words: Vec<_> = tokens(text)
            .into_iter()
            .filter_map(|token| match token {
                Token::Word(word) => Some(word),
                _ => None,
            })
            .collect();
        assert_eq!(words, ["a", "k", "r"]);
    }

    #[test]
    fn a_string_that_is_a_path_counts() {
        let path = [Token::Word("crate"), Token::Colons, Token::Word("a")];
        assert_eq!(tokens(r#""crate::a""#), path);
        assert_eq!(tokens(r#""see crate::a""#), []);
    }
}

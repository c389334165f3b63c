//! Text that others wrote: paths of requests, names of devices.

use std::{borrow::Cow, fmt::Write as _};

/// Text that is kept is cut to this many characters: a path may be of any length.
const LONGEST: usize = 500;

/// For a terminal or a page: what would move the cursor, change colours or turn text around is written as an escape.
pub fn clean<T: AsRef<str> + ?Sized>(text: &T) -> Cow<'_, str> {
    let text = text.as_ref();
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_obeyed(character) {
            // Writing to a String cannot fail.
            let _ = write!(cleaned, "{}", character.escape_unicode());
        } else {
            cleaned.push(character);
        }
    }
    Cow::Owned(cleaned)
}

/// Control characters, and those of Unicode that have no width or turn the direction of what follows.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

/// The first characters of a text that is kept.
pub fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}...", &text[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_obeys_are_escaped() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n"), r"a\u{1b}[2Jb\u{d}\u{a}");
        assert_eq!(clean("\u{9b}31m\u{202e}x"), r"\u{9b}31m\u{202e}x");
    }

    #[test]
    fn characters_that_a_terminal_shows_stay() {
        assert_eq!(clean("secret/data/übung-日本"), "secret/data/übung-日本");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cut = shortened(&"ü".repeat(LONGEST + 1));
        assert_eq!(cut.chars().count(), LONGEST + 3);
    }
}

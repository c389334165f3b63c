//! Text that others wrote, for a terminal: paths of requests, names of devices. What would move the cursor, change colours
//! or turn text around is written out instead.

use std::{borrow::Cow, fmt::Write as _};

/// The text, without anything that a terminal obeys.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        assert_eq!(clean("a\u{1b}[2Jb\r\n"), r"a\u{1b}[2Jb\u{d}\u{a}");
        assert_eq!(clean("\u{9b}31m\u{202e}x"), r"\u{9b}31m\u{202e}x");
    }

    #[test]
    fn what_it_shows_stays() {
        assert_eq!(clean("secret/data/übung-日本"), "secret/data/übung-日本");
    }
}

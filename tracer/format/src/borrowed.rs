//! Text that is not copied out of its line.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};

/// Text that is borrowed from its line where it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct BorrowedText<'a>(Cow<'a, str>);

impl AsRef<str> for BorrowedText<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for BorrowedText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Borrowing<'a>(#[serde(borrow)] Cow<'a, str>);
        Borrowing::deserialize(deserializer).map(|text| Self(text.0))
    }
}

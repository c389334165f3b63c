//! Names of causes, operations and so on, of which later versions may have more.

use std::{cmp::Ordering, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, Visitor},
};
use tracer_model::{Attribution, Cause, Op, Outcome, Phase, Transport};

/// An enumeration that the trace spells by name.
pub trait Named: Copy + 'static {
    /// All values; of those that share a name, one.
    const ALL: &[Self];
    /// What a value is called.
    fn name(self) -> &'static str;
}

macro_rules! named {
    ($($type:ident: $all:expr;)*) => {$(
        impl Named for $type {
            const ALL: &[Self] = &$all;

            fn name(self) -> &'static str {
                $type::name(self)
            }
        }
    )*};
}

named! {
    Attribution: [Self::Goroutine, Self::Lineage, Self::Payload, Self::Queued];
    Cause: Cause::ALL;
    // `Resolve` is written as `connect`.
    Op: [Self::Connect, Self::Write, Self::Lock];
    Outcome: [Self::Ok, Self::Timeout, Self::Refused, Self::Reset, Self::Error];
    Phase: [Self::Request, Self::Response];
    Transport: Transport::ALL;
}

/// A value by its name, which a later version may have made up. Names are compared by their text.
#[derive(Clone, Debug)]
pub enum Name<T> {
    /// One of this version.
    Known(T),
    /// One of another version.
    Other(String),
}

impl<T: Named> Name<T> {
    /// As the trace spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Known(value) => value.name(),
            Self::Other(name) => name,
        }
    }

    /// The value, if this version knows it.
    pub fn known(&self) -> Option<T> {
        match self {
            Self::Known(value) => Some(*value),
            Self::Other(_) => None,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let known = T::ALL.iter().find(|value| value.name() == name);
        known.map(|value| Self::Known(*value))
    }
}

impl<T> From<T> for Name<T> {
    fn from(value: T) -> Self {
        Self::Known(value)
    }
}

impl<T: Named> AsRef<str> for Name<T> {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl<T: Named> PartialEq<T> for Name<T> {
    fn eq(&self, other: &T) -> bool {
        self.as_str() == other.name()
    }
}

impl<T: Named> PartialEq for Name<T> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl<T: Named> Eq for Name<T> {}

impl<T: Named> PartialOrd for Name<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> Ord for Name<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<T: Named> fmt::Display for Name<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl<T: Named> Serialize for Name<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de, T: Named> Deserialize<'de> for Name<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor(PhantomData))
    }
}

/// Allocates only for names that it does not know.
struct NameVisitor<T>(PhantomData<T>);

impl<T: Named> Visitor<'_> for NameVisitor<T> {
    type Value = Name<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<T>, E> {
        let other = || Name::Other(crate::text::shortened(name));
        Ok(Name::parse(name).unwrap_or_else(other))
    }
}

//! An entry as JSON, whose end may be missing.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor},
};

use super::FieldValue;

/// Passes the fields of an object to `field`, in the order in which they stand there. Returns whether the end is missing, or
/// what follows is no JSON.
pub(super) fn read(json: &[u8], field: &mut dyn FnMut(&str, &mut dyn FieldValue)) -> bool {
    let mut json = serde_json::Deserializer::from_slice(without_cut_number(json));
    Object(field).deserialize(&mut json).is_err()
}

/// A whole entry ends in a brace. Digits at the end may be the start of a number that was cut off: `389` of 38926 would
/// be another client's port.
fn without_cut_number(json: &[u8]) -> &[u8] {
    let end = json.iter().rposition(|byte| !byte.is_ascii_digit());
    &json[..end.map_or(0, |end| end + 1)]
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

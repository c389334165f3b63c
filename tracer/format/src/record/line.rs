//! From a line to its record.

use std::borrow::Cow;

use serde::{Deserialize, de::IgnoredAny};

use super::Record;

/// How our own traces begin each line.
const BEGIN: &[u8] = br#"{"type":""#;

/// The part of any record that says which it is.
#[derive(Deserialize)]
struct Type<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

impl<'de, T, E> Record<T, E>
where
    T: Deserialize<'de>,
    E: Deserialize<'de>,
{
    /// The record in a line; `None` if it is of a type that this version does not know.
    pub fn parse(line: &'de [u8]) -> serde_json::Result<Option<Self>> {
        Ok(Some(match &*record_type(line)? {
            "session" => Self::Session(serde_json::from_slice(line)?),
            "attached" => Self::Attached(serde_json::from_slice(line)?),
            "stalled" => Self::Stalled(serde_json::from_slice(line)?),
            "hang" => Self::Hang(serde_json::from_slice(line)?),
            "refusal" => Self::Refusal(serde_json::from_slice(line)?),
            "lost_entries" => Self::LostEntries(serde_json::from_slice(line)?),
            "filling" => Self::Filling(serde_json::from_slice(line)?),
            "incident" => Self::Incident(serde_json::from_slice(line)?),
            "ended" => Self::Ended(serde_json::from_slice(line)?),
            "summary" => Self::Summary(serde_json::from_slice(line)?),
            _ => {
                serde_json::from_slice::<IgnoredAny>(line)?;
                return Ok(None);
            }
        }))
    }
}

/// The type of the record in a line. Reads no further than it has to.
pub fn record_type(line: &[u8]) -> serde_json::Result<Cow<'_, str>> {
    let quick = line.strip_prefix(BEGIN).and_then(|rest| {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        let name = str::from_utf8(&rest[..end]).ok()?;
        (!name.contains('\\')).then_some(name)
    });
    match quick {
        Some(name) => Ok(Cow::Borrowed(name)),
        None => Ok(serde_json::from_slice::<Type<'_>>(line)?.name),
    }
}

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
            "forwarded" => Self::Forwarded(serde_json::from_slice(line)?),
            "rotated" => Self::Rotated(serde_json::from_slice(line)?),
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

#[cfg(test)]
mod tests {
    use tracer_model::Cause;

    use super::*;
    use crate::{
        BorrowedText,
        record::{Evidence, Incident},
    };

    const INCIDENT: &str = r#"{"type":"incident","device":{"transport":"tcp","address":"10.0.0.2:1515"},"start":"2026-11-29T12:00:00.100000000Z","cause":"no_ack","hangs":1,"requests":1,"blocked_ns":2,"longest_ns":2}"#;

    fn incident(line: &str) -> Incident {
        match Record::<String, Evidence>::parse(line.as_bytes()) {
            Ok(Some(Record::Incident(incident))) => incident,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_is_written_as_it_was_read() {
        let record: Record = Record::Incident(incident(INCIDENT));
        assert_eq!(serde_json::to_string(&record).expect("JSON"), INCIDENT);
    }

    #[test]
    fn fields_and_types_of_later_versions_are_skipped() {
        let more = INCIDENT.replace(r#""hangs":1"#, r#""hangs":1,"later":{"a":[null]}"#);
        assert_eq!(incident(&more), incident(INCIDENT));
        for line in [
            r#"{"type":"later","device":5}"#,
            r#"{"device":5,"type":"la\u0074er"}"#,
        ] {
            let record = Record::<String, Evidence>::parse(line.as_bytes());
            assert_eq!(record.expect("JSON"), None);
        }
        let torn = Record::<String, Evidence>::parse(br#"{"type":"later","#);
        assert!(torn.is_err());
    }

    #[test]
    fn names_of_later_versions_are_kept() {
        let later = incident(&INCIDENT.replace("no_ack", "later"));
        assert_eq!((later.cause.as_str(), later.cause.known()), ("later", None));
        assert_eq!(incident(INCIDENT).cause.known(), Some(Cause::NoAck));
        let record: Record = Record::Incident(later);
        assert_eq!(
            serde_json::to_string(&record).expect("JSON"),
            INCIDENT.replace("no_ack", "later")
        );
    }

    #[test]
    fn text_is_borrowed_unless_it_has_escapes() {
        let escaped = INCIDENT.replace("10.0.0.2", r"10\u002e0.0.2");
        for line in [INCIDENT, &escaped] {
            let record = Record::<BorrowedText<'_>, IgnoredAny>::parse(line.as_bytes());
            let Ok(Some(Record::Incident(incident))) = record else {
                panic!("no incident");
            };
            assert_eq!(incident.device.to_string(), "tcp 10.0.0.2:1515");
        }
    }
}

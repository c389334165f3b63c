//! The fields of a JSON Lines record as arguments of an event, with the same names and units. Unknown values are absent
//! from both.

use serde_json::Value as Json;

use super::proto::{DebugAnnotation, Value};

/// Each known field of an object, sorted by name; nothing for other values.
pub(super) fn of(fields: &Json) -> Vec<DebugAnnotation> {
    let Json::Object(fields) = fields else {
        return Vec::new();
    };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    let mut named: Vec<_> = known.collect();
    // The map's own order depends on a feature of serde_json.
    named.sort_unstable_by_key(|(name, _)| *name);
    let named = named.into_iter();
    named.map(|(name, value)| annotation(name, value)).collect()
}

fn annotation(name: &str, value: &Json) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        ..unnamed(value)
    }
}

fn unnamed(value: &Json) -> DebugAnnotation {
    DebugAnnotation {
        name: None,
        value: single(value),
        dict_entries: of(value),
        array_values: match value {
            Json::Array(values) => values.iter().map(unnamed).collect(),
            _ => Vec::new(),
        },
    }
}

fn single(value: &Json) -> Option<Value> {
    match value {
        Json::Bool(value) => Some(Value::Bool(*value)),
        Json::String(text) => Some(Value::String(text.clone())),
        Json::Number(number) => {
            let whole = number.as_u64().map(Value::Uint);
            let whole = whole.or_else(|| number.as_i64().map(Value::Int));
            whole.or_else(|| number.as_f64().map(Value::Double))
        }
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

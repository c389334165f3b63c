//! The fields of a record of the JSON trace as arguments of an event: they have the same names and
//! units there as here, and what is unknown is absent from both.

use serde_json::Value as Json;

use super::proto::{DebugAnnotation, Value};

/// Each known field of an object, by name. What is no object has none.
pub(super) fn of(fields: &Json) -> Vec<DebugAnnotation> {
    let Json::Object(fields) = fields else {
        return Vec::new();
    };
    let known = fields.iter().filter(|(_, value)| !value.is_null());
    let mut named: Vec<_> = known.collect();
    // The same bytes whatever the map's own order, which a feature of serde_json decides.
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

//! Lists of attributes. What is unknown is left out.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

/// Attributes under construction.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(self, key: &str, value: impl Into<String>) -> Self {
        self.with(key, Value::StringValue(value.into()))
    }

    pub(super) fn maybe_text(self, key: &str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.text(key, value),
            None => self,
        }
    }

    /// Numbers are signed in OTLP; none of ours comes near the limit.
    pub(super) fn number(self, key: &str, value: u64) -> Self {
        self.with(
            key,
            Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)),
        )
    }

    pub(super) fn maybe_number(self, key: &str, value: Option<impl Into<u64>>) -> Self {
        match value {
            Some(value) => self.number(key, value.into()),
            None => self,
        }
    }

    /// Only if it is so.
    pub(super) fn flag(self, key: &str, value: bool) -> Self {
        if value { self.truth(key, true) } else { self }
    }

    pub(super) fn truth(self, key: &str, value: bool) -> Self {
        self.with(key, Value::BoolValue(value))
    }

    pub(super) fn texts(self, key: &str, values: &[String]) -> Self {
        if values.is_empty() {
            return self;
        }
        let values = values.iter().map(|value| AnyValue {
            value: Some(Value::StringValue(value.clone())),
        });
        let values = values.collect();
        self.with(key, Value::ArrayValue(ArrayValue { values }))
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    pub(super) fn into_vec(self) -> Vec<KeyValue> {
        self.0
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
        self
    }
}

//! Lists of attributes. Unknown values are left out.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

/// Attributes in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn with(mut self, key: &str, value: impl IntoValue) -> Self {
        if let Some(value) = value.into_value() {
            self.0.push(KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            });
        }
        self
    }

    /// Written only where it is true.
    pub(super) fn flag(self, key: &str, value: bool) -> Self {
        self.with(key, value.then_some(true))
    }

    pub(super) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// Values of attributes; `None` is unknown.
pub(super) trait IntoValue {
    fn into_value(self) -> Option<Value>;
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<Value> {
        self.and_then(T::into_value)
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Value> {
        Some(Value::BoolValue(self))
    }
}

impl IntoValue for String {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(self))
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Option<Value> {
        self.to_owned().into_value()
    }
}

/// An empty list is left out.
impl IntoValue for &Vec<String> {
    fn into_value(self) -> Option<Value> {
        let values = self.iter().map(|text| AnyValue {
            value: Some(Value::StringValue(text.clone())),
        });
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then_some(Value::ArrayValue(ArrayValue { values }))
    }
}

/// Integers are signed in OTLP; none of ours comes near the limit.
impl IntoValue for u64 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(i64::try_from(self).unwrap_or(i64::MAX)))
    }
}

macro_rules! smaller {
    ($($integer:ty)*) => {$(
        impl IntoValue for $integer {
            fn into_value(self) -> Option<Value> {
                u64::from(self).into_value()
            }
        }
    )*};
}

smaller!(u16 u32);

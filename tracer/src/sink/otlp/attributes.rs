//! Lists of attributes. Unknown values are left out.

use super::messages::{AnyValue, ArrayValue, AttributeValue, KeyValue};

/// Attributes in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn with(mut self, key: &str, value: impl IntoValue) -> Self {
        if let Some(value) = value.into_value() {
            self.0.push(KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(value) }),
            });
        }
        self
    }

    /// Instead of the attribute of this name, if there is one.
    pub(super) fn replace(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|attribute| attribute.key != key);
        self.with(key, value)
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
    fn into_value(self) -> Option<AttributeValue>;
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<AttributeValue> {
        self.and_then(T::into_value)
    }
}

macro_rules! into_value {
    ($($type:ty: $value:ident => $into:expr;)*) => {$(
        impl IntoValue for $type {
            fn into_value(self) -> Option<AttributeValue> {
                let $value = self;
                Some($into)
            }
        }
    )*};
}

into_value! {
    bool: value => AttributeValue::BoolValue(value);
    &str: text => AttributeValue::StringValue(text.to_owned());
    String: text => AttributeValue::StringValue(text);
    u16: number => AttributeValue::IntValue(number.into());
    u32: number => AttributeValue::IntValue(number.into());
    // Integers are signed in OTLP; none of ours comes near the limit.
    u64: number => AttributeValue::IntValue(i64::try_from(number).unwrap_or(i64::MAX));
}

/// An empty list is left out.
impl IntoValue for &Vec<String> {
    fn into_value(self) -> Option<AttributeValue> {
        let values = self.iter().map(|text| AnyValue {
            value: Some(AttributeValue::StringValue(text.clone())),
        });
        let values: Vec<_> = values.collect();
        (!values.is_empty()).then_some(AttributeValue::ArrayValue(ArrayValue { values }))
    }
}

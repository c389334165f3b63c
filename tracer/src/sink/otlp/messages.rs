//! OTLP's messages of traces, as far as they are used. Names, numbers and types of fields are those of OTLP's published
//! definitions 1.9 (`opentelemetry/proto/` in the repository `opentelemetry-proto`; the file is named beside each
//! message). A field that is read from a collector and is not here is skipped.
//!
//! In JSON each field is written, also if it is unset; ids are in hex, and 64-bit integers are strings
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>).

#![expect(
    missing_docs,
    reason = "OpenTelemetry documents its fields; here only what is not evident from the name"
)]

use prost::{Enumeration, Message, Oneof};
use serde::{Serialize, Serializer};

/// `collector/trace/v1/trace_service.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

/// `collector/trace/v1/trace_service.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ExportTraceServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<ExportTracePartialSuccess>,
}

/// `collector/trace/v1/trace_service.proto`
#[derive(Clone, PartialEq, Message)]
pub struct ExportTracePartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected_spans: i64,
    #[prost(string, tag = "2")]
    pub error_message: String,
}

/// `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<Span>,
    #[prost(string, tag = "3")]
    pub schema_url: String,
}

/// `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "hex")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "hex")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    #[serde(serialize_with = "hex")]
    pub parent_span_id: Vec<u8>,
    #[prost(fixed32, tag = "16")]
    pub flags: u32,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    pub kind: i32,
    #[prost(fixed64, tag = "7")]
    #[serde(serialize_with = "decimal")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    #[serde(serialize_with = "decimal")]
    pub end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "10")]
    pub dropped_attributes_count: u32,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
    #[prost(uint32, tag = "12")]
    pub dropped_events_count: u32,
    #[prost(message, repeated, tag = "13")]
    pub links: Vec<Link>,
    #[prost(uint32, tag = "14")]
    pub dropped_links_count: u32,
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// `Span.SpanKind`, `trace/v1/trace.proto`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum SpanKind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
}

/// `Span.Event`, `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    #[prost(fixed64, tag = "1")]
    #[serde(serialize_with = "decimal")]
    pub time_unix_nano: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "4")]
    pub dropped_attributes_count: u32,
}

/// `Span.Link`, `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    #[prost(bytes = "vec", tag = "1")]
    #[serde(serialize_with = "hex")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    #[serde(serialize_with = "hex")]
    pub span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    pub trace_state: String,
    #[prost(message, repeated, tag = "4")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "5")]
    pub dropped_attributes_count: u32,
    #[prost(fixed32, tag = "6")]
    pub flags: u32,
}

/// `trace/v1/trace.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(enumeration = "StatusCode", tag = "3")]
    pub code: i32,
}

/// `Status.StatusCode`, `trace/v1/trace.proto`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
pub enum StatusCode {
    Unset = 0,
    Error = 2,
}

/// The status of an error.
pub(super) fn failed(message: impl Into<String>) -> Status {
    Status {
        code: StatusCode::Error.into(),
        message: message.into(),
    }
}

/// `resource/v1/resource.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "2")]
    pub dropped_attributes_count: u32,
    /// Always empty.
    #[prost(message, repeated, tag = "3")]
    pub entity_refs: Vec<EntityRef>,
}

/// `common/v1/common.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct EntityRef {}

/// `common/v1/common.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InstrumentationScope {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub version: String,
    #[prost(message, repeated, tag = "3")]
    pub attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "4")]
    pub dropped_attributes_count: u32,
}

/// `common/v1/common.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

/// `common/v1/common.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct AnyValue {
    #[prost(oneof = "AttributeValue", tags = "1, 2, 3, 5")]
    #[serde(flatten)]
    pub value: Option<AttributeValue>,
}

/// `AnyValue.value`, `common/v1/common.proto`
#[derive(Clone, PartialEq, Oneof, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AttributeValue {
    #[prost(string, tag = "1")]
    StringValue(String),
    #[prost(bool, tag = "2")]
    BoolValue(bool),
    #[prost(int64, tag = "3")]
    IntValue(#[serde(serialize_with = "decimal")] i64),
    #[prost(message, tag = "5")]
    ArrayValue(ArrayValue),
}

/// `common/v1/common.proto`
#[derive(Clone, PartialEq, Message, Serialize)]
pub struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

fn hex<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    to.serialize_str(&digits.collect::<String>())
}

fn decimal<S: Serializer>(number: &impl ToString, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_that_of_otlp() {
        let text = |text: &str| AnyValue {
            value: Some(AttributeValue::StringValue(text.to_owned())),
        };
        let attribute = |key: &str, value| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
        };
        let event = Event {
            time_unix_nano: u64::MAX,
            attributes: vec![
                attribute("number", AttributeValue::IntValue(-1)),
                attribute("flag", AttributeValue::BoolValue(true)),
                attribute(
                    "list",
                    AttributeValue::ArrayValue(ArrayValue {
                        values: vec![text("one")],
                    }),
                ),
            ],
            ..Event::default()
        };
        assert_eq!(
            serde_json::to_string(&event).expect("JSON"),
            "{\"timeUnixNano\":\"18446744073709551615\",\"name\":\"\",\"attributes\":[\
             {\"key\":\"number\",\"value\":{\"intValue\":\"-1\"}},\
             {\"key\":\"flag\",\"value\":{\"boolValue\":true}},\
             {\"key\":\"list\",\"value\":{\"arrayValue\":{\"values\":[{\"stringValue\":\"one\"}]}}}],\
             \"droppedAttributesCount\":0}"
        );
        let link = Link {
            trace_id: vec![0, 0xAB],
            ..Link::default()
        };
        assert_eq!(
            serde_json::to_string(&link).expect("JSON"),
            "{\"traceId\":\"00ab\",\"spanId\":\"\",\"traceState\":\"\",\"attributes\":[],\
             \"droppedAttributesCount\":0,\"flags\":0}"
        );
    }
}

//! Messages with which a server describes an error: `google/rpc/status.proto`, `google/rpc/error_details.proto` in the
//! repository `googleapis`, `google/protobuf/any.proto` and `duration.proto` in `protobuf`.

use std::time::Duration;

use prost::Message;

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
pub(super) struct ProtoDuration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

/// The name of the type [`RetryInfo`] in [`Any::type_url`], after the last slash.
pub(super) const RETRY_INFO: &str = "google.rpc.RetryInfo";

impl RpcStatus {
    /// The wait that the server asks for.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let mut details = self.details.iter();
        let info = details.find(|any| any.type_url.rsplit('/').next() == Some(RETRY_INFO))?;
        let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
        let seconds = u64::try_from(delay.seconds).unwrap_or(0);
        let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
        Some(Duration::new(seconds, nanos))
    }
}

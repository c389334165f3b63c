//! The search for an entry in the server's audit files.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Which entry a request wrote to an audit file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryQuery {
    /// The client's port, which the entry bears.
    pub client_port: u16,
    /// Its address, which the entry bears too; absent where that may be another one, behind a proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_address: Option<IpAddr>,
    /// `CLOCK_REALTIME` ns since the epoch before which the entry cannot have been written.
    pub not_before: i64,
    /// The same, after which.
    pub not_after: i64,
}

impl EntryQuery {
    /// Whether the answer to that one answers this one: it was asked of the same request, and not
    /// earlier.
    pub fn is_answered_by(&self, asked: &Self) -> bool {
        // Recordings of before the address was asked for have none.
        let is_same_client =
            asked.client_address.is_none() || self.client_address == asked.client_address;
        is_same_client
            && (self.client_port, self.not_before) == (asked.client_port, asked.not_before)
            && self.not_after <= asked.not_after
    }
}

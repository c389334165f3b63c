//! The JSON Lines trace: [`record`] declares its format once, for those who write it and those who read it. [`text`] has
//! the words for people, [`describe`] those for a record's requests.
//!
//! A reader skips fields and record types that it does not know, and keeps names that it does not know ([`Name`]):
//! traces of later versions can be read.

pub mod describe;
pub mod record;
pub mod text;

mod borrowed;
mod clock;
mod errno;
mod name;
#[cfg(test)]
mod schema;
mod time;

pub use self::{
    borrowed::BorrowedText,
    clock::WallClock,
    errno::errno_name,
    name::{Name, Named},
    record::{Record, hang_id},
    time::Time,
};

use tracer_model::Finding;

/// The line of a finding, for those that are part of a trace.
pub fn line(finding: &Finding, clock: WallClock) -> serde_json::Result<Option<String>> {
    let record = Record::of(finding, clock);
    record.as_ref().map(serde_json::to_string).transpose()
}

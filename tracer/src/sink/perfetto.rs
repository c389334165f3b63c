//! The trace in Perfetto's protobuf, for its timeline: [`packets`] decides what is shown where, `tracks` which tracks
//! there are.
//!
//! A trace is a `perfetto.protos.Trace`, a mere list of packets: those of each finding are appended, so a trace that is
//! cut short is readable too.

mod annotations;
mod flows;
pub mod packets;
pub mod proto;
mod tracks;
mod writer;

use std::io;

use prost::Message;

use self::{packets::Packets, proto::Trace};
use super::trace_file::{Encode, TraceFile};
use tracer_model::{Finding, Session};

/// Writes findings as packets.
pub type Perfetto = TraceFile<Packets>;

impl Encode for Packets {
    /// Tracks are declared once.
    const REFERS_TO_ITS_FILE: bool = true;

    fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>> {
        Ok(encode(self, finding)?)
    }

    fn begin_file(&mut self, session: &Session, _part: u32) -> io::Result<Vec<u8>> {
        *self = Self::default();
        Ok(encode(self, &Finding::Session(session.clone()))?)
    }
}

/// The bytes that a finding appends to the trace.
pub fn encode(packets: &mut Packets, finding: &Finding) -> serde_json::Result<Vec<u8>> {
    let packet = packets.on(finding)?;
    Ok(Trace { packet }.encode_to_vec())
}

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
use super::{Sink, line_file::LineFile, made::Made};
use tracer_model::Finding;

/// Writes findings as packets.
pub struct Perfetto {
    file: Made,
    packets: Packets,
}

impl Perfetto {
    /// Writes to this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file: Made::new(file),
            packets: Packets::default(),
        }
    }
}

impl Sink<Finding> for Perfetto {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let packets = &mut self.packets;
        self.file.write(|| Ok(encode(packets, finding)?))
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}

/// The bytes that a finding appends to the trace.
pub fn encode(packets: &mut Packets, finding: &Finding) -> serde_json::Result<Vec<u8>> {
    let packet = packets.on(finding)?;
    Ok(Trace { packet }.encode_to_vec())
}

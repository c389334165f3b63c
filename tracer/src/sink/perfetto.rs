//! The trace in Perfetto's protobuf, for its timeline. What is shown where is in [`packets`], which
//! tracks there are in `tracks`.
//!
//! A trace is a `perfetto.protos.Trace`, which is packets and nothing else: those of one finding are
//! appended to those before, so a trace that is cut short is one too.

mod annotations;
mod batch;
mod flows;
pub mod packets;
pub mod proto;
mod tracks;

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
    /// Into this file.
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

/// What a finding adds to the trace.
pub fn encode(packets: &mut Packets, finding: &Finding) -> serde_json::Result<Vec<u8>> {
    let packet = packets.on(finding)?;
    Ok(Trace { packet }.encode_to_vec())
}

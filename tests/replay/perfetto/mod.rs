//! Recordings of real servers as Perfetto traces: their packets as text (`expected.perfetto.txt`; `UPDATE_REPLAYS=1`
//! writes it), that the slices are those of the findings, and that Perfetto's own definitions can read them.

mod packets_text;
mod python;
mod slices;

use std::fs;

use anyhow::Result;
use prost::Message;
use test_support::replays;
use tracer::sink::{
    Sink,
    line_file::LineFile,
    perfetto::{
        Perfetto, encode,
        packets::Packets,
        proto::{Data, Trace, TracePacket},
    },
};
use tracer::source::recording;
use tracer_model::Finding;

use self::packets_text::packets_text;
use crate::case::replay;

/// Recordings with an `expected.perfetto.txt`.
const EXPECTED: [&str; 5] = [
    "convoy",
    "filling-warning",
    "lost-entries",
    "no-listener",
    "two-devices",
];

fn findings(name: &str) -> Result<Vec<Finding>> {
    Ok(replay(&recording::read(&replays::recording(name))?))
}

fn bytes(findings: &[Finding]) -> Result<Vec<u8>> {
    let mut packets = Packets::default();
    let mut bytes = Vec::new();
    for finding in findings {
        bytes.extend(encode(&mut packets, finding)?);
    }
    Ok(bytes)
}

fn packets(findings: &[Finding]) -> Result<Vec<TracePacket>> {
    Ok(Trace::decode(bytes(findings)?.as_slice())?.packet)
}

#[test]
fn recordings_replay_to_the_packets_that_are_expected() -> Result<()> {
    replays::assert_expected("expected.perfetto.txt", &EXPECTED, |name| {
        packets_text(&packets(&findings(name)?)?)
    })
}

/// A hang that names the request that it queued behind has a flow from there, if that one hung too.
#[test]
fn flows_lead_to_queued_requests() -> Result<()> {
    let mut drawn = 0;
    for name in replays::names()? {
        let findings = findings(&name)?;
        let hangs = || {
            findings.iter().filter_map(|finding| match finding {
                Finding::Hang(hang) => Some(hang),
                _ => None,
            })
        };
        let hung = |id: &String| hangs().any(|hang| hang.request.id.as_ref() == Some(id));
        let queued = hangs()
            .flat_map(|hang| &hang.stalls)
            .filter(|stall| stall.blocked_by.as_ref().is_some_and(hung))
            .count();
        let packets = packets(&findings)?;
        let arrows = packets.iter().filter(|packet| match &packet.data {
            Some(Data::TrackEvent(event)) => event.name() == "blocked",
            _ => false,
        });
        let arrows = arrows.count();
        assert!(arrows <= queued, "{name}: {arrows} arrows to {queued}");
        drawn += arrows;
        if name == "convoy" {
            assert_eq!(arrows, queued, "{name}");
        }
    }
    assert!(drawn > 0);
    Ok(())
}

/// The file is a valid trace after each finding, and the sink writes nothing else.
#[test]
fn a_trace_that_is_cut_short_can_be_read() -> Result<()> {
    let findings = findings("convoy")?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("trace.pftrace");
    let mut sink = Perfetto::new(LineFile::create(&path)?);
    for written in 1..=findings.len() {
        sink.write(&findings[written - 1])?;
        let file = fs::read(&path)?;
        assert_eq!(file, bytes(&findings[..written])?);
        Trace::decode(file.as_slice())?;
    }
    Ok(())
}

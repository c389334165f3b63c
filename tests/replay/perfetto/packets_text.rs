//! Packets as text that people can read.

use std::{collections::HashMap, fmt::Write};

use anyhow::{Context, Result};
use tracer::sink::perfetto::proto::{Data, DebugAnnotation, TracePacket, TrackEvent, Value};

/// A line a packet: times in seconds since the first, tracks by their number, arguments in braces.
pub(crate) fn packets_text(packets: &[TracePacket]) -> Result<String> {
    let mut text = String::new();
    let began = packets.first().and_then(|first| first.timestamp);
    let began = began.context("no first time")?;
    let mut flows = HashMap::new();
    let mut tracks = HashMap::new();
    for packet in packets {
        match packet.data.as_ref().context("a packet of nothing")? {
            Data::ClockSnapshot(snapshot) => {
                write!(text, "clocks")?;
                for clock in &snapshot.clocks {
                    let name = clock.clock_id();
                    write!(text, " {name:?}={}", clock.timestamp())?;
                }
                let primary = snapshot.primary_trace_clock();
                writeln!(text, " primary={primary:?}")?;
            }
            Data::TrackDescriptor(track) => {
                let number = tracks.len();
                tracks.insert(track.uuid(), number);
                write!(text, "track {number}")?;
                if let Some(process) = &track.process {
                    write!(text, " {} {}", process.process_name(), process.pid())?;
                }
                if let Some(parent) = track.parent_uuid {
                    write!(text, " in {} {:?}", tracks[&parent], track.name())?;
                }
                if let Some(counter) = &track.counter {
                    write!(text, " counter {:?}", counter.unit())?;
                }
                writeln!(text)?;
            }
            Data::TrackEvent(event) => {
                let after = packet.timestamp().checked_sub(began);
                let after = after.context("before the trace began")?;
                let (whole, part) = (after / 1_000_000_000, after % 1_000_000_000);
                let track = tracks[&event.track_uuid()];
                let kind = event.r#type();
                write!(text, "{whole}.{part:09} {track} {kind:?}")?;
                write!(text, "{}", event_text(event, &mut flows))?;
                writeln!(text)?;
            }
        }
    }
    Ok(text)
}

fn event_text(event: &TrackEvent, flows: &mut HashMap<u64, usize>) -> String {
    let mut text = String::new();
    let categories = event.categories.join(",");
    let name = event
        .name
        .as_ref()
        .map(|name| format!(" {categories} {name:?}"));
    text.extend(name);
    text.extend(event.counter_value.map(|value| format!(" {value}")));
    let ends = event.terminating_flow_ids.iter().map(|flow| (flow, "<-"));
    let leads = event.flow_ids.iter().map(|flow| (flow, "->"));
    for (flow, mark) in ends.chain(leads) {
        let next = flows.len() + 1;
        let number = flows.entry(*flow).or_insert(next);
        // Writing to a String cannot fail.
        let _ = write!(text, " {mark}{number}");
    }
    if !event.debug_annotations.is_empty() {
        text.push(' ');
        text.push_str(&dict(&event.debug_annotations));
    }
    text
}

fn dict(entries: &[DebugAnnotation]) -> String {
    let entries = entries
        .iter()
        .map(|e| format!("{}: {}", e.name(), argument(e)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

fn argument(annotation: &DebugAnnotation) -> String {
    match &annotation.value {
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Uint(value)) => value.to_string(),
        Some(Value::Int(value)) => value.to_string(),
        Some(Value::Double(value)) => value.to_string(),
        Some(Value::String(value)) => format!("{value:?}"),
        None if annotation.array_values.is_empty() => dict(&annotation.dict_entries),
        None => {
            let values = annotation.array_values.iter().map(argument);
            format!("[{}]", values.collect::<Vec<_>>().join(", "))
        }
    }
}

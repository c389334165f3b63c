//! `--paths`: no output and no recording has more of a request's path than was asked for, for each recording that there is.

use std::{collections::BTreeSet, error::Error, io};

use ratatui::{Terminal as Screen, backend::TestBackend};
use test_support::replays;
use tracer::{
    paths::{PathRule, PathsOption},
    sink::{
        Sink,
        jsonl::JsonLines,
        metrics::Metrics,
        otlp::spans::Spans,
        perfetto::packets::Packets,
        terminal::Terminal,
        trace_file::Encode,
        tui::{Palette, draw::draw, model::Model},
    },
    source::recording,
};
use tracer_core::Core;
use tracer_model::{Event, EventKind, Finding};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes of each kind of output, by name.
type Outputs = Vec<(&'static str, Vec<u8>)>;

/// What a terminal shows is kept for the caller.
#[derive(Clone, Default)]
struct Kept(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that these events lead to.
fn outputs(events: &[Event]) -> Result<Outputs> {
    let (mut jsonl, mut spans, mut packets) =
        (JsonLines::default(), Spans::default(), Packets::default());
    let (mut metrics, mut model, mut core) = (Metrics::new(), Model::default(), Core::new());
    let mut next_snapshot = 0;
    let shown = Kept::default();
    let mut terminal = Terminal::to(shown.clone(), false);
    let mut all = [const { Vec::new() }; 3];
    let mut view = Vec::new();
    let mut write = |finding: &Finding| -> Result<()> {
        all[0].extend(jsonl.encode(finding)?);
        all[1].extend(spans.encode(finding)?);
        all[2].extend(packets.encode(finding)?);
        terminal.write(finding)?;
        metrics.write(finding)?;
        model.apply(finding);
        if matches!(finding, Finding::Snapshot(_)) {
            let mut screen = Screen::new(TestBackend::new(120, 30))?;
            screen.draw(|frame| draw(frame, &model, Palette { coloured: false }))?;
            view.extend(screen.backend().to_string().into_bytes());
        }
        Ok(())
    };
    for event in events {
        // Once in half a second: the view shows requests that are blocked.
        if event.what == EventKind::Tick && event.at >= next_snapshot {
            next_snapshot = event.at + 500_000_000;
            write(&Finding::Snapshot(Box::new(core.snapshot(event.at))))?;
        }
        for finding in core.on(event).findings {
            write(&finding)?;
        }
    }
    let [jsonl, spans, packets] = all;
    let lines = events.iter().map(serde_json::to_string);
    let recording = lines
        .collect::<std::result::Result<Vec<_>, _>>()?
        .join("\n");
    let terminal = shown.0.lock().expect("not poisoned").clone();
    Ok(vec![
        ("the trace as JSON Lines", jsonl),
        ("the trace as spans", spans),
        ("the trace for Perfetto", packets),
        ("the report", terminal),
        ("the metrics", metrics.exposition().text()?.into_bytes()),
        ("the live view", view),
        ("the recording", recording.into_bytes()),
    ])
}

/// What of the requests' paths is more than their mounts.
fn rests(events: &[Event]) -> BTreeSet<String> {
    let mut rests = BTreeSet::new();
    for event in events {
        event.clone().each_entry(|entry| {
            let path = entry.path.as_deref().unwrap_or_default();
            let rest = path.split_once('/').map(|(_, rest)| rest.to_owned());
            rests.extend(rest.filter(|rest| rest.len() > 3));
        });
    }
    rests
}

fn contains(bytes: &[u8], word: &str) -> bool {
    bytes
        .windows(word.len())
        .any(|window| window == word.as_bytes())
}

#[test]
fn no_output_has_more_of_a_path_than_was_asked_for() -> Result<()> {
    let mut seen = BTreeSet::new();
    for case in ["two-devices", "lost-entries"] {
        let events = recording::read(&replays::recording(case))?;
        let rests = rests(&events);
        assert!(!rests.is_empty(), "{case} names no request");
        for (output, bytes) in outputs(&events)? {
            if rests.iter().any(|rest| contains(&bytes, rest)) {
                seen.insert(output);
            }
        }
        for option in [PathsOption::Mount, PathsOption::Hash] {
            let rule = PathRule::new(option)?;
            let mut hidden = events.clone();
            for event in &mut hidden {
                rule.apply(event);
            }
            for (output, bytes) in outputs(&hidden)? {
                for rest in &rests {
                    assert!(
                        !contains(&bytes, rest),
                        "{case}: {output} has {rest} with {option:?}"
                    );
                }
            }
        }
    }
    // Else the above proves nothing. Metrics name no request.
    let all = outputs(&[])?.into_iter().map(|(output, _)| output);
    let expected: BTreeSet<_> = all.filter(|output| *output != "the metrics").collect();
    assert_eq!(seen, expected);
    Ok(())
}

/// A further kind of event, or a further place for a path in one, would not be among those that are changed.
#[test]
fn every_path_of_a_request_in_a_recording_is_changed() -> Result<()> {
    let rule = PathRule::new(PathsOption::Mount)?;
    for case in replays::names()? {
        for event in &mut recording::read(&replays::recording(&case))? {
            rule.apply(event);
            let value = serde_json::to_value(&*event)?;
            let mut paths = Vec::new();
            paths_of_requests(&value, &mut paths);
            for path in paths {
                let mounts = path.matches('/').count() - usize::from(path.starts_with("auth/"));
                assert!(mounts <= 1, "{case}: {path} in {value}");
            }
        }
    }
    Ok(())
}

/// The `path` of all objects that have an `operation`, as only heads of entries do.
fn paths_of_requests(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            let path = fields
                .get("path")
                .filter(|_| fields.contains_key("operation"));
            found.extend(path.and_then(|path| path.as_str()).map(str::to_owned));
            for value in fields.values() {
                paths_of_requests(value, found);
            }
        }
        serde_json::Value::Array(values) => {
            for value in values {
                paths_of_requests(value, found);
            }
        }
        _ => {}
    }
}

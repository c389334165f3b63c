//! Files of ours that somebody else may have written: recordings and traces.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::Path,
};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use test_support::replays;
use tracer_core::Core;
use tracer_model::{EventKind, Finding};

use super::{Limits, MB, Target};
use crate::{
    report::{self, aggregate::Aggregator, html, text},
    sink::{
        Sink, jsonl::JsonLines, metrics::Metrics, otlp::spans::Spans, perfetto::packets::Packets,
        terminal::Terminal, trace_file::Encode, tui::model::Model,
    },
    source::recording::Recorded,
};

/// Longest input, bytes.
const LONGEST: usize = 64 << 10;

pub(super) const RECORDING: Target = Target {
    name: "",
    reads: "a recording, gzip too; then the core and all outputs, with any events",
    written_by: "who sends you a recording",
    run: |input| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(input).expect("written");
        let Ok(events) = Recorded::open(file.path(), |file| file) else {
            return;
        };
        let (mut core, mut outputs) = (Core::new(), Outputs::new());
        for event in events.map_while(Result::ok) {
            if event.what == EventKind::End {
                outputs.write(&Finding::Snapshot(Box::new(core.snapshot(event.at))));
            }
            for finding in core.on(&event).findings {
                outputs.write(&finding);
            }
        }
    },
    seeds: || {
        let cases = replays::names().expect("replays");
        let recordings = cases.iter().map(|case| replays::recording(case));
        let plain: Vec<_> = recordings.map(|path| beginning(&path)).collect();
        let zipped = |bytes: &Vec<u8>| {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
            zipped.write_all(bytes).expect("compressed");
            zipped.finish().expect("compressed")
        };
        let zipped = plain.first().map(zipped);
        plain.into_iter().chain(zipped).collect()
    },
    words: &[
        "\"event\":",
        "\"tick\"",
        "\"end\"",
        "\"lost\"",
        "\"session\"",
        "\"parked\"",
        "\"resumed\"",
        "\"result\":-11",
        "\"at\":",
        "\"established\"",
        "\"close\"",
        "\"syn_sent\"",
        "\n",
        "null",
    ],
    // gzip makes 1,032 bytes of one, of which a line is held at once, and what the core keeps of the events.
    limits: Limits {
        input: LONGEST,
        fixed: 48 * MB,
        per_byte: 1100,
    },
};

/// All of them, into nothing.
struct Outputs {
    jsonl: JsonLines,
    spans: Spans,
    packets: Packets,
    terminal: Terminal<io::Sink>,
    metrics: Metrics,
    model: Model,
}

impl Outputs {
    fn new() -> Self {
        Self {
            jsonl: JsonLines::default(),
            spans: Spans::default(),
            packets: Packets::default(),
            terminal: Terminal::to(io::sink(), true),
            metrics: Metrics::new(),
            model: Model::default(),
        }
    }

    fn write(&mut self, finding: &Finding) {
        let encoded = [
            self.jsonl.encode(finding),
            self.spans.encode(finding),
            self.packets.encode(finding),
        ];
        assert!(encoded.iter().all(Result::is_ok), "{encoded:?}");
        self.terminal.write(finding).expect("written");
        self.metrics.write(finding).expect("counted");
        self.model.apply(finding);
    }
}

pub(super) const TRACE: Target = Target {
    name: "",
    reads: "a trace in JSON Lines; then its report as text, JSON and page",
    written_by: "who sends you a trace",
    run: |input| {
        let mut aggregator = Aggregator::default();
        if report::read(&mut aggregator, "trace.jsonl", input).is_ok() {
            let report = aggregator.finish();
            text::text(&report);
            report::json(&report).expect("JSON");
            html::page(&report);
        }
    },
    seeds: || {
        let cases = replays::names().expect("replays");
        let traces = cases
            .iter()
            .map(|case| replays::directory(case).join("expected.jsonl"));
        traces.map(|path| beginning(&path)).collect()
    },
    words: &[
        "\"type\":",
        "\"hang\"",
        "\"stalled\"",
        "\"summary\"",
        "\"incident\"",
        "\"refusal\"",
        "\"duration_ns\":",
        "2026-11-25T02:50:23.940633453Z",
        "-9999-01-01T00:00:00Z",
        "\n",
        "null",
    ],
    limits: Limits {
        input: LONGEST,
        fixed: 16 * MB,
        per_byte: 256,
    },
};

/// As much of a replay's file as an input may have.
fn beginning(path: &Path) -> Vec<u8> {
    let file = File::open(path).expect("there");
    let input: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else {
        Box::new(file)
    };
    let mut bytes = Vec::new();
    let read = input.take(LONGEST as u64 / 2).read_to_end(&mut bytes);
    read.expect("readable");
    bytes
}

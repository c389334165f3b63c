//! Recordings of real servers as Perfetto traces: their packets as text (`expected.perfetto.txt`; `UPDATE_REPLAYS=1`
//! writes it), that the slices are those of the findings, and that Perfetto's own definitions can read them.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../tracer/tests/replays/mod.rs"]
mod replays;

use std::{
    collections::HashMap,
    env,
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;
use tracer::sink::{
    Sink,
    line_file::LineFile,
    perfetto::{
        Perfetto, encode,
        packets::Packets,
        proto::{Data, DebugAnnotation, EventType, Trace, TracePacket, TrackEvent, Value},
    },
};
use tracer_model::{Event, Finding, Nanos, Op, Stall};

/// Recordings with an `expected.perfetto.txt`.
const EXPECTED: [&str; 5] = [
    "convoy",
    "filling-warning",
    "lost-entries",
    "no-listener",
    "two-devices",
];

/// Perfetto's definitions, as it publishes them.
const PACKAGE: &str = "perfetto==0.59.1";

/// Exit code of `read_perfetto.py` without that package.
const NO_PACKAGE: i32 = 77;

fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Finding> {
    tracer_core::replay(events).collect()
}

fn findings(name: &str) -> Result<Vec<Finding>> {
    Ok(replay(&replays::events(name)?))
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
    for name in EXPECTED {
        let actual = packets_text(&packets(&findings(name)?)?)?;
        let path = replays::of(name).join("expected.perfetto.txt");
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(&path, &actual)?;
        }
        let expected = fs::read_to_string(&path);
        let expected = expected.with_context(|| format!("cannot read {}", path.display()))?;
        assert_eq!(actual, expected, "{name}");
    }
    for name in replays::names()? {
        let is_there = replays::of(&name).join("expected.perfetto.txt").exists();
        assert_eq!(is_there, EXPECTED.contains(&name.as_str()), "{name}");
    }
    Ok(())
}

/// A line a packet: times in seconds since the first, tracks by their number, arguments in braces.
fn packets_text(packets: &[TracePacket]) -> Result<String> {
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

/// By name, beginning and end; sorted.
type Slices = Vec<(String, Nanos, Nanos)>;

/// The slices as a reader makes them: it sorts packets by time, and an end ends the innermost slice. Slices that cross
/// would exchange their ends.
fn slices(packets: &[TracePacket]) -> Result<Slices> {
    let mut events: Vec<_> = packets
        .iter()
        .filter_map(|packet| match &packet.data {
            Some(Data::TrackEvent(event)) => Some((packet.timestamp(), event)),
            _ => None,
        })
        .collect();
    events.sort_by_key(|(at, _)| *at);
    let mut open: HashMap<u64, Vec<(String, Nanos)>> = HashMap::new();
    let mut slices = Vec::new();
    for (at, event) in events {
        let stack = open.entry(event.track_uuid()).or_default();
        match event.r#type() {
            EventType::SliceBegin => stack.push((event.name().to_owned(), at)),
            EventType::SliceEnd => {
                let (name, start) = stack.pop().context("ends, but never began")?;
                slices.push((name, start, at));
            }
            _ => {}
        }
    }
    ensure!(open.values().all(Vec::is_empty), "never end: {open:?}");
    slices.sort();
    Ok(slices)
}

/// The slices of the findings: a stall on its device's track and on its request's, a request once.
fn expected_slices(findings: &[Finding]) -> Slices {
    let mut slices = Slices::new();
    let mut requests = Vec::new();
    let end = findings.iter().find_map(|finding| match finding {
        Finding::Summary(summary) => Some(summary.end),
        _ => None,
    });
    for finding in findings {
        match finding {
            Finding::Hang(hang) => {
                let name = format!("hang: {}", hang.cause().name());
                slices.push((name, hang.start, hang.end));
                for stall in &hang.stalls {
                    slices.extend(vec![of_stall(stall); track_count(stall)]);
                }
                let request = &hang.request;
                let key = (request.id.clone(), request.client, request.start);
                if !requests.contains(&key) {
                    requests.push(key);
                    let operation = request.operation.clone().unwrap_or_default();
                    let path = request.path.clone().unwrap_or_default();
                    let name = match format!("{operation} {path}").trim() {
                        "" => "request".to_owned(),
                        name => name.to_owned(),
                    };
                    slices.push((name, request.start, request.start + request.duration));
                }
            }
            Finding::Incident(incident) => {
                let name = format!("incident: {}", incident.cause.name());
                let end = incident.end.or(end).unwrap_or_default();
                slices.push((name, incident.start, end));
            }
            _ => {}
        }
    }
    slices.sort();
    slices
}

/// The tracks of a stall: a queued request is not on the device's.
fn track_count(stall: &Stall) -> usize {
    if stall.op == Op::Lock { 1 } else { 2 }
}

fn of_stall(stall: &Stall) -> (String, Nanos, Nanos) {
    let name = format!("{}: {}", stall.op.name(), stall.cause.name());
    (name, stall.start, stall.start + stall.duration)
}

#[test]
fn slices_are_those_of_the_findings() -> Result<()> {
    for name in replays::names()? {
        let findings = findings(&name)?;
        let slices = slices(&packets(&findings)?).with_context(|| name.clone())?;
        assert_eq!(slices, expected_slices(&findings), "{name}");
    }
    Ok(())
}

/// Findings after lost events may overlap as real ones cannot.
#[test]
fn slices_are_those_of_the_findings_whichever_event_is_lost() -> Result<()> {
    for name in replays::names()? {
        let events = replays::events(&name)?;
        // The last one is the end, the first the session.
        for lost in 1..events.len() - 1 {
            let kept = events.iter().enumerate();
            let kept = kept.filter(|(index, _)| *index != lost);
            let findings = replay(kept.map(|(_, event)| event));
            let case = format!("{name} without event {lost}");
            let slices = slices(&packets(&findings)?).with_context(|| case.clone())?;
            assert_eq!(slices, expected_slices(&findings), "{case}");
        }
    }
    Ok(())
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

#[test]
fn perfetto_reads_every_trace() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut files = Vec::new();
    for name in replays::names()? {
        let path = directory.path().join(format!("{name}.pftrace"));
        fs::write(&path, bytes(&findings(&name)?)?)?;
        files.push(path);
    }
    match read(&files)? {
        Ok(checked) => assert_eq!(checked, files.len()),
        // `eprintln!` is not shown for a test that passes.
        Err(why) => writeln!(
            io::stderr(),
            "\nNOT RUN: perfetto_reads_every_trace needs python3 with {PACKAGE}: {why}\n"
        )?,
    }
    Ok(())
}

/// The number of checked files, or why none was checked. Uses the system's Python, or one with the package made here.
fn read(files: &[PathBuf]) -> Result<Result<usize, String>> {
    let read = |python: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("read_perfetto.py");
        Command::new(python).arg(script).args(files).output()
    };
    let mut output = match read(Path::new("python3")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("no python3".to_owned()));
        }
        output => output?,
    };
    if output.status.code() == Some(NO_PACKAGE) {
        match python()? {
            Ok(python) => output = read(&python)?,
            Err(why) => return Ok(Err(why)),
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not read: {said}");
    Ok(Ok(String::from_utf8(output.stdout)?.lines().count()))
}

/// A Python with the package, made once and kept in the build directory; or why there is none.
fn python() -> Result<Result<PathBuf, String>> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let (python, done) = (directory.join("bin/python"), directory.join("done"));
    if done.exists() {
        return Ok(Ok(python));
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&directory);
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "15",
        PACKAGE,
    ]);
    for command in [&mut venv, &mut pip] {
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let Some(last) = said.trim().lines().last() else {
                bail!("{command:?} failed and says nothing");
            };
            return Ok(Err(last.to_owned()));
        }
    }
    fs::write(done, "")?;
    Ok(Ok(python))
}

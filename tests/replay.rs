//! Recordings of real servers, replayed: the core makes the same report of each, without root, kernel or server.
//! `UPDATE_REPLAYS=1` writes what it makes of them now.

use std::{
    collections::{HashMap, HashSet},
    env, fs,
    io::{self, Seek, Write},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{client_times::ClientTimes, schema, truth};
use serde_json::Value;
use tracer::{
    sink::{
        Worker, jsonl,
        line_file::LineFile,
        otlp::{self, spans::Spans},
        recording::Recording,
        wall::WallClock,
    },
    source::recording,
};

use tracer_model::{Event, EventKind, Finding, Hang, Nanos};

/// Small enough to be read by people.
const LARGEST: u64 = 150_000;

fn replays() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("replays")
}

/// Those that are larger than [`LARGEST`] are compressed.
fn recording_in(directory: &Path) -> PathBuf {
    let compressed = directory.join("recording.jsonl.gz");
    if compressed.exists() {
        return compressed;
    }
    directory.join("recording.jsonl")
}

/// A directory of `tests/replays`.
struct Case {
    directory: PathBuf,
    events: Vec<Event>,
}

impl Case {
    fn all() -> Result<Vec<Self>> {
        let replays = replays();
        let mut directories: Vec<_> = fs::read_dir(&replays)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        directories.retain(|path| path.is_dir());
        directories.sort();
        ensure!(!directories.is_empty(), "no cases in {}", replays.display());
        directories.into_iter().map(Self::open).collect()
    }

    fn open(directory: PathBuf) -> Result<Self> {
        let events = recording::read(&recording_in(&directory))?;
        Ok(Self { directory, events })
    }

    /// Recorded of a real Vault, whose clients measured (`truth.json`): it cannot be recorded anew.
    fn truth(&self) -> Result<Option<truth::Recorded>> {
        if !self.directory.join("truth.json").exists() {
            return Ok(None);
        }
        truth::Recorded::parse(&self.read("truth.json")?).map(Some)
    }

    fn name(&self) -> String {
        self.directory.display().to_string()
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.directory.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// `key=value` words of the README's line that begins with `Claims:`.
    fn claims(&self) -> Result<Vec<(String, String)>> {
        let readme = self.read("README.md")?;
        let line = readme.lines().find_map(|line| line.strip_prefix("Claims:"));
        let line =
            line.with_context(|| format!("{}: no line `Claims: ...` in README.md", self.name()))?;
        let words = line.split_whitespace().map(|word| {
            let (key, value) = word
                .split_once('=')
                .with_context(|| format!("no claim: {word}"))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        words.collect()
    }
}

fn replay<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Finding> {
    tracer_core::replay(events).collect()
}

fn to_lines(findings: &[Finding]) -> Result<String> {
    let mut clock = WallClock::default();
    let mut text = String::new();
    for finding in findings {
        if let Finding::Session(session) = finding {
            clock = WallClock::of(session);
        }
        text.extend(jsonl::line(finding, clock)?.map(|line| line + "\n"));
    }
    Ok(text)
}

#[test]
fn every_recording_replays_to_what_is_expected() -> Result<()> {
    for case in Case::all()? {
        let actual = to_lines(&replay(&case.events))?;
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(case.directory.join("expected.jsonl"), &actual)?;
        }
        assert_eq!(actual, case.read("expected.jsonl")?, "{}", case.name());
        schema::check(&actual).with_context(|| case.name())?;
    }
    Ok(())
}

/// Recordings whose spans are expected too: those that are there, and no others.
const AS_SPANS: [&str; 5] = [
    "convoy",
    "filling-warning",
    "lost-entries",
    "udp-dead-port",
    "zero-window",
];

fn to_spans(findings: &[Finding]) -> Result<String> {
    let mut spans = Spans::default();
    let mut text = String::new();
    for finding in findings {
        text.extend(otlp::line(&mut spans, finding)?.map(|line| line + "\n"));
    }
    Ok(text)
}

#[test]
fn recordings_replay_to_the_spans_that_are_expected() -> Result<()> {
    let cases = Case::all()?;
    let mut seen = Vec::new();
    for case in &cases {
        let name = case.directory.file_name().and_then(|name| name.to_str());
        let name = name.context("a case without a name")?;
        if !AS_SPANS.contains(&name) {
            continue;
        }
        seen.push(name);
        let actual = to_spans(&replay(&case.events))?;
        if env::var_os("UPDATE_REPLAYS").is_some() {
            fs::write(case.directory.join("expected.otlp.json"), &actual)?;
        }
        assert_eq!(actual, case.read("expected.otlp.json")?, "{name}");
    }
    assert_eq!(seen, AS_SPANS);
    Ok(())
}

/// By protobuf's own JSON, which knows nothing of our crates, and of every recording: one span of an id, parents that
/// are there, a client's span for each hang and refusal.
#[test]
fn spans_are_read_by_another_implementation() -> Result<()> {
    for case in Case::all()? {
        let findings = replay(&case.events);
        let Some(spans) = read_by_python(&to_spans(&findings)?)? else {
            // Not by `eprintln!`, which a test that passes keeps to itself.
            let why = "needs python3 with opentelemetry-proto (pip install opentelemetry-proto)";
            writeln!(
                io::stderr(),
                "\nNOT RUN: spans_are_read_by_another_implementation {why}\n"
            )?;
            return Ok(());
        };
        let ids: HashSet<_> = spans.iter().map(|s| s["id"].to_string()).collect();
        assert_eq!(ids.len(), spans.len(), "{}: an id twice", case.name());
        for span in &spans {
            let is_root = span["parent"] == "";
            let has_parent = ids.contains(&span["parent"].to_string());
            assert!(is_root || has_parent, "{}: {span}", case.name());
            assert_eq!(span["scope"], "vault-tracer");
        }
        let named = |name| spans.iter().filter(move |span| span["name"] == name);
        let of = |is: fn(&Finding) -> bool| findings.iter().filter(|f| is(f)).count();
        let hangs = of(|finding| matches!(finding, Finding::Hang(_)));
        let refusals = of(|finding| matches!(finding, Finding::Refusal(_)));
        let incidents = of(|finding| matches!(finding, Finding::Incident(_)));
        assert_eq!(named("audit hang").count(), hangs, "{}", case.name());
        assert_eq!(named("audit refusal").count(), refusals, "{}", case.name());
        assert_eq!(
            named("audit incident").count(),
            incidents,
            "{}",
            case.name()
        );
        for hang in named("audit hang") {
            // Kind CLIENT, status ERROR, as numbers of the protocol.
            assert_eq!((&hang["kind"], &hang["status"]), (&3.into(), &2.into()));
            assert!(hang["attributes"]["error.type"].is_string(), "{hang}");
        }
        assert_eq!(named("session").count(), 1, "{}", case.name());
    }
    Ok(())
}

/// `None` if there is no Python that could.
fn read_by_python(text: &str) -> Result<Option<Vec<Value>>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("read_otlp.py");
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let output = Command::new("python3").arg(script).stdin(file).output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    if output.status.code() == Some(77) {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not read: {said}");
    let lines = String::from_utf8(output.stdout)?;
    let spans = lines.lines().map(serde_json::from_str);
    Ok(Some(spans.collect::<Result<_, _>>()?))
}

#[test]
fn every_recording_is_complete_small_and_in_the_format_of_today() -> Result<()> {
    for case in Case::all()? {
        let path = recording_in(&case.directory);
        assert!(
            fs::metadata(&path)?.len() < LARGEST,
            "{} is too large",
            path.display()
        );
        assert!(
            matches!(case.events.last().map(|e| &e.what), Some(EventKind::End)),
            "{}",
            case.name()
        );
        if case.truth()?.is_some() {
            continue; // in the format of the day it was made
        }
        for (event, line) in case
            .events
            .iter()
            .zip(case.read("recording.jsonl")?.lines())
        {
            assert_eq!(serde_json::to_string(event)?, line, "{}", case.name());
        }
    }
    Ok(())
}

#[test]
fn every_case_can_be_recorded_anew() -> Result<()> {
    let cases = Case::all()?;
    // Those with several clients are `record-clients`' own; those with a truth are of a real Vault.
    let is_recorded_by_others = |case: &&Case| {
        ["clients.json", "truth.json"]
            .iter()
            .any(|name| case.directory.join(name).exists())
    };
    let of_states = cases.iter().filter(|case| !is_recorded_by_others(case));
    let mut cases: Vec<_> = of_states
        .filter_map(|case| case.directory.file_name()?.to_str())
        .collect();
    let mut states: Vec<_> = lab::State::all().map(|state| state.name).collect();
    cases.sort_unstable();
    states.sort_unstable();
    assert_eq!(cases, states);
    Ok(())
}

/// A case that shows nothing any more, for example since what it is about was cut out of it, proves nothing.
#[test]
fn every_recording_shows_what_its_readme_claims() -> Result<()> {
    for case in Case::all()? {
        let records: Vec<Value> = to_lines(&replay(&case.events))?
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        for (key, value) in case.claims()? {
            let shown = show(&case, &records, &key, &value);
            let shown = shown.with_context(|| format!("{}: {key}={value}", case.name()))?;
            assert_eq!(shown, value, "{key} of {}", case.name());
        }
    }
    Ok(())
}

/// Where clients measured while a case was recorded (`clients.json`), the trace tells them all that they lost.
#[test]
fn every_recording_settles_what_its_clients_measured() -> Result<()> {
    for case in Case::all()? {
        if !case.directory.join("clients.json").exists() {
            continue;
        }
        let times: ClientTimes = serde_json::from_str(&case.read("clients.json")?)?;
        let records = to_lines(&replay(&case.events))?;
        let records: Vec<Value> = records
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        let hangs: Vec<_> = records.iter().filter(|r| r["type"] == "hang").collect();
        let settled = times.matches(&hangs);
        settled.with_context(|| case.name())?;
    }
    Ok(())
}

/// With [`truth::LATE`], the 0.3 s to which these recordings show who queued: by samples of the goroutines' stacks.
const RECORDED_BY_SAMPLES: Duration = Duration::from_millis(200);

/// Recordings of a real Vault: the union of each client's hangs is what that client measured, and no hang is of anybody
/// else.
#[test]
fn every_recording_of_vault_agrees_with_its_clients() -> Result<()> {
    let mut wrong = Vec::new();
    for case in Case::all()? {
        let Some(truth) = case.truth()? else {
            continue;
        };
        let records = lab::tracer::records(&to_lines(&replay(&case.events))?)?;
        let hangs: Vec<_> = records.iter().filter(|r| r["type"] == "hang").collect();
        let clients = truth.clients();
        let agreed = clients
            .iter()
            .map(|client| client.agrees_with(&hangs, RECORDED_BY_SAMPLES));
        let known = truth::all_are_known(&clients, &hangs);
        let name = case.name();
        let errors = agreed.chain([known]).filter_map(Result::err);
        wrong.extend(errors.map(|error| format!("{name}: {error:#}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Nobody waited longer for the syslog daemon than 0.33 s, and it is one device by whatever name.
#[test]
fn a_syslog_daemon_that_does_not_read_is_one_device() -> Result<()> {
    let case = Case::open(replays().join("vault-2.1-syslog-not-reading"))?;
    let records = lab::tracer::records(&to_lines(&replay(&case.events))?)?;
    let with_device = records.iter().filter(|record| record["device"].is_object());
    let names: HashSet<_> = with_device
        .map(|record| {
            let device = &record["device"];
            format!("{} {}", device["transport"], device["address"])
        })
        .collect();
    ensure!(names.len() == 1, "{names:?}");
    Ok(())
}

/// What the case shows of this claim, in the claim's own words.
fn show(case: &Case, records: &[Value], key: &str, value: &str) -> Result<String> {
    let of_type = |kind: &'static str| records.iter().filter(move |record| record["type"] == kind);
    Ok(match key {
        "hangs" => of_type("hang").count().to_string(),
        "refusals" => of_type("refusal").count().to_string(),
        "incidents" => of_type("incident").count().to_string(),
        "lost_entries" => of_type("lost_entries").count().to_string(),
        "warnings" => of_type("filling").count().to_string(),
        "refused_by" => list(of_type("refusal").map(|refusal| &refusal["cause"])),
        "outcomes" => list(
            of_type("hang")
                .flat_map(stalls)
                .map(|stall| &stall["outcome"]),
        ),
        "causes" => list(of_type("hang").map(|hang| &hang["cause"])),
        "ties" => list(of_type("hang").map(|hang| &hang["request"]["tie"])),
        "stalls" => list(of_type("hang").flat_map(stalls).map(|stall| &stall["op"])),
        "requests" => of_type("summary")
            .map(|summary| summary["requests"].to_string())
            .collect(),
        // At least so long, not exactly.
        "longest_pause_ms" => {
            let longest = longest_pause(&case.events) / 1_000_000;
            longest.min(value.parse()?).to_string()
        }
        _ => anyhow::bail!("nobody knows this claim"),
    })
}

fn stalls(hang: &Value) -> impl Iterator<Item = &Value> {
    hang["stalls"].as_array().into_iter().flatten()
}

fn list<'a>(values: impl Iterator<Item = &'a Value>) -> String {
    let words: Vec<_> = values.filter_map(Value::as_str).collect();
    words.join(",")
}

/// Events written to a file as `--record` does, and what it then holds.
fn recorded(events: &[Event], path: &Path) -> Result<Vec<u8>> {
    let mut sink = Worker::spawn(Recording::new(LineFile::create(path)?));
    for event in events {
        sink.send(&Arc::new(event.clone()));
    }
    sink.finish()?;
    Ok(fs::read(path)?)
}

#[test]
fn a_compressed_recording_is_the_same_and_readable_up_to_where_it_was_cut() -> Result<()> {
    let events: Vec<_> = Case::all()?
        .into_iter()
        .flat_map(|case| case.events)
        .collect();
    let directory = tempfile::tempdir()?;
    let [plain, path] = ["events.jsonl", "events.jsonl.gz"].map(|name| directory.path().join(name));
    let bytes = recorded(&events, &path)?;
    let size = recorded(&events, &plain)?.len();
    assert!(bytes.len() * 5 < size, "{} of {size} bytes", bytes.len());
    assert!(recording::read(&path)? == events, "not what was written");

    let mut known = 0;
    for tenths in 1..10 {
        fs::write(&path, &bytes[..bytes.len() * tenths / 10])?;
        let read = recording::read(&path).with_context(|| format!("cut at {tenths}/10"))?;
        assert!(
            events.starts_with(&read),
            "cut at {tenths}/10: other events"
        );
        assert!(read.len() > known, "cut at {tenths}/10: {known} as before");
        known = read.len();
    }

    let mut torn = bytes;
    let middle = torn.len() / 2;
    torn[middle..middle + 64].fill(0xff);
    fs::write(&path, torn)?;
    let error = recording::read(&path).expect_err("what is no gzip was read");
    assert!(
        format!("{error:#}").starts_with("cannot read the recording"),
        "{error:#}"
    );
    Ok(())
}

/// The longest time in which nothing happened on a client's connection between two transfers, ns.
fn longest_pause(events: &[Event]) -> Nanos {
    let mut last = HashMap::new();
    let pauses = events.iter().filter_map(|event| match &event.what {
        EventKind::Send { socket, .. } | EventKind::Receive { socket, .. } if socket.accepted => {
            last.insert(socket.id, event.at)
                .map(|before| event.at - before)
        }
        _ => None,
    });
    pauses.max().unwrap_or(0)
}

#[test]
fn no_single_lost_event_makes_up_a_hang_longer_than_its_request() -> Result<()> {
    for case in Case::all()? {
        // Those of a real Vault are long, and the work grows with the square of that.
        let step = if case.truth()?.is_some() { 8 } else { 1 };
        for lost in (1..case.events.len()).step_by(step) {
            let kept = case
                .events
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != lost);
            let findings = replay(kept.map(|(_, event)| event));
            let hangs = findings.iter().filter_map(|finding| match finding {
                Finding::Hang(hang) => Some(hang),
                _ => None,
            });
            hangs.for_each(|hang| is_sound(hang, &format!("{} without event {lost}", case.name())));
        }
    }
    Ok(())
}

fn is_sound(hang: &Hang, case: &str) {
    let sum: Nanos = hang.stalls.iter().map(|stall| stall.duration).sum();
    assert_eq!(sum, hang.duration, "{case}");
    assert!(hang.end >= hang.start, "{case}");
    assert!(hang.duration <= hang.request.duration, "{case}: {hang:?}");
}

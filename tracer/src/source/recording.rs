//! The stored source: a recording made with `--record`, one event a line, perhaps compressed. It is read line by line: what
//! is in memory does not grow with it.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, de::Error as _};

use crate::lines::{Line, LineReader};
use tracer_model::{Event, EventKind, FORMAT, Nanos};

/// How every gzip member begins (RFC 1952, 2.3.1).
pub(crate) const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Longer than any event, bytes: a sample of 100,000 goroutines that wait in devices.
const LONGEST: usize = 16 << 20;

/// A century after the boot, ns: no host has run for so long.
const LATEST: Nanos = 100 * 366 * 86_400 * 1_000_000_000;

/// The part of the first line that every format has: a newer one may have other events.
#[derive(Deserialize)]
struct FirstLine {
    #[serde(default)]
    format: u32,
}

/// The events of a recording, in their order. A last line that a crash cut short is ignored, as is a truncated gzip member
/// at the end.
pub struct Recorded {
    path: PathBuf,
    lines: LineReader<Box<dyn BufRead>>,
    /// The session, until it is taken.
    first: Option<Event>,
    is_over: bool,
}

/// Reads a whole recording.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    Recorded::open(path, |file| file)?.collect()
}

impl Recorded {
    /// Reads the first event, which must be the session, in a known format. `through`: a reader that wraps the file, for
    /// example to count bytes.
    pub fn open<R: Read + 'static>(path: &Path, through: impl FnOnce(File) -> R) -> Result<Self> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("cannot open the recording {name}"))?;
        let is_empty = file
            .metadata()
            .is_ok_and(|data| data.is_file() && data.len() == 0);
        ensure!(!is_empty, "{name} is empty: nothing was recorded in it");
        let input = decompressed(BufReader::new(through(file)));
        let mut recorded = Self {
            path: path.to_owned(),
            lines: LineReader::new(
                input.with_context(|| format!("cannot read the recording {name}"))?,
                LONGEST,
            ),
            first: None,
            is_over: false,
        };
        let first = recorded.read()?;
        ensure!(
            matches!(&first, Some(event) if matches!(event.what, EventKind::Session(_))),
            not_a_recording(path)
        );
        recorded.first = first;
        Ok(recorded)
    }

    fn read(&mut self) -> Result<Option<Event>> {
        if self.is_over {
            return Ok(None);
        }
        let path = &self.path;
        let context = || format!("cannot read the recording {}", path.display());
        let is_first = self.lines.number() == 0;
        let line = match self.lines.read().with_context(context)? {
            Some(Line::Whole(line) | Line::Torn(line)) => line,
            Some(Line::TooLong) => {
                let number = self.lines.number();
                bail!(damaged(path, number));
            }
            Some(Line::CutShort) | None => {
                self.is_over = true;
                return Ok(None);
            }
        };
        if is_first {
            check_first(path, line)?;
        }
        let error = match serde_json::from_slice(line) {
            Ok(event) if is_possible(&event) => return Ok(Some(event)),
            Ok(_) => serde_json::Error::custom("its time is none that a host can have run"),
            Err(error) => error,
        };
        let number = self.lines.number();
        let is_last = matches!(
            self.lines.read().with_context(context)?,
            None | Some(Line::CutShort)
        );
        ensure!(!is_first, "{}: {error}", not_a_recording(path));
        ensure!(is_last, "{}: {error}", damaged(path, number));
        self.is_over = true;
        Ok(None)
    }
}

impl Iterator for Recorded {
    type Item = Result<Event>;

    fn next(&mut self) -> Option<Self::Item> {
        let event = match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.read(),
        };
        self.is_over |= event.is_err();
        event.transpose()
    }
}

/// Whether its times are such that the core can add to them.
fn is_possible(event: &Event) -> bool {
    let threshold = match &event.what {
        EventKind::Session(session) | EventKind::Restarted(session) => session.threshold,
        _ => 0,
    };
    event.at.max(threshold) < LATEST
}

fn decompressed(mut file: BufReader<impl Read + 'static>) -> std::io::Result<Box<dyn BufRead>> {
    if !file.fill_buf()?.starts_with(&GZIP) {
        return Ok(Box::new(file));
    }
    Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))))
}

/// Fails if the first line declares a newer format than [`FORMAT`], or is that of a trace.
fn check_first(path: &Path, first: &[u8]) -> Result<()> {
    let name = path.display();
    if let Ok(FirstLine { format }) = serde_json::from_slice(first) {
        ensure!(
            format <= FORMAT,
            "{name} is a recording of format {format}, and this vault-tracer ({}) reads up to format {FORMAT}: update it",
            env!("CARGO_PKG_VERSION"),
        );
    }
    ensure!(
        tracer_format::record::record_type(first).is_err(),
        "{name} is a trace, not a recording: `vault-tracer report {name}` summarises it"
    );
    Ok(())
}

fn damaged(path: &Path, line: u64) -> String {
    format!("{} is damaged: line {line} is not an event", path.display())
}

fn not_a_recording(path: &Path) -> String {
    format!(
        "{} is not a recording: give a file made with `vault-tracer trace --record FILE`",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io, rc::Rc};

    use super::*;

    /// Counts what is read of a file.
    struct Counting(File, Rc<Cell<usize>>);

    impl Read for Counting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.0.read(buffer)?;
            self.1.set(self.1.get() + read);
            Ok(read)
        }
    }

    fn events(count: u64) -> String {
        let session = Event {
            at: 0,
            what: EventKind::Session(tracer_model::Session::default()),
        };
        let ticks = (1..count).map(|at| Event {
            at,
            what: EventKind::Tick,
        });
        let lines = std::iter::once(session).chain(ticks);
        lines
            .map(|event| serde_json::to_string(&event).expect("JSON") + "\n")
            .collect()
    }

    #[test]
    fn no_more_is_read_than_is_asked_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events");
        let text = events(50_000);
        std::fs::write(&path, &text).expect("written");
        let read = Rc::new(Cell::new(0));
        let counting = |file| Counting(file, Rc::clone(&read));
        let mut recorded = Recorded::open(&path, counting).expect("a recording");
        for _ in 0..1000 {
            recorded.next().expect("an event").expect("whole");
        }
        assert!(
            read.get() < text.len() / 10,
            "{} of {}",
            read.get(),
            text.len()
        );
        assert_eq!(recorded.count(), 49_000);
        assert_eq!(read.get(), text.len());
    }

    #[test]
    fn times_that_cannot_be_are_damage() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events");
        let late = r#"{"at":18446744073709551615,"event":"tick"}"#;
        let text = format!("{}{late}\n{{\"at\":2,\"event\":\"end\"}}\n", events(2));
        std::fs::write(&path, text).expect("written");
        let read: Vec<_> = Recorded::open(&path, |file| file)
            .expect("a recording")
            .collect();
        let [Ok(_), Ok(_), Err(error)] = &read[..] else {
            panic!("{read:?}");
        };
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    #[test]
    fn a_line_without_an_end_is_not_buffered() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("events.gz");
        let file = File::create(&path).expect("made");
        let mut zipped = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        io::Write::write_all(&mut zipped, events(1).as_bytes()).expect("written");
        io::copy(&mut io::repeat(b'x').take(2 * LONGEST as u64), &mut zipped).expect("written");
        zipped.finish().expect("written");
        let mut recorded = Recorded::open(&path, |file| file).expect("a recording");
        recorded.next().expect("an event").expect("whole");
        let error = recorded.next().expect("an error").expect_err("too long");
        assert!(
            error.to_string().contains("line 2 is not an event"),
            "{error}"
        );
        assert!(recorded.next().is_none(), "once");
    }
}

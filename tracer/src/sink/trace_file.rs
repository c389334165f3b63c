//! A trace file in one of the formats. A trace may go on in a further file: after rotation, or where the file was deleted.

use std::io;

use super::{Sink, line_file::LineFile};
use crate::console;
use tracer_model::{Finding, Session};

/// A format of traces.
pub trait Encode: Default + Send + 'static {
    /// Whether the bytes of a finding can be read only in the file for which they were encoded.
    const REFERS_TO_ITS_FILE: bool = false;

    /// The bytes that a finding appends to the trace. They may depend on the findings before.
    fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>>;

    /// The bytes that end a file, the one of this number, where the trace goes on in the next.
    fn end_file(&mut self, _part: u32) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// The bytes that begin the file of this number: it is to be read without those before.
    fn begin_file(&mut self, _session: &Session, _part: u32) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// Writes findings in a format.
pub struct TraceFile<E> {
    file: LineFile,
    encoder: E,
    /// A finding whose write failed is handed over again (see [`super::Worker`]), and must not be encoded twice.
    unwritten: Vec<u8>,
    /// What the file begins with, until it is written.
    first: Vec<u8>,
    /// The latest.
    session: Option<Session>,
    /// The number of the file, from 1.
    part: u32,
}

impl<E: Encode> TraceFile<E> {
    /// Writes to this file.
    pub fn new(file: LineFile) -> Self {
        Self {
            file,
            encoder: E::default(),
            unwritten: Vec::new(),
            first: Vec::new(),
            session: None,
            part: 1,
        }
    }

    /// Goes on in another file if this one is full or was deleted.
    fn go_on(&mut self) -> io::Result<()> {
        if self.file.is_deleted() {
            self.file.reopen(&[])?;
            console::print(&format!(
                "vault-tracer: {} was deleted: what it held is gone, the trace goes on in a new file",
                self.file.name()
            ));
        } else if self.file.is_full() {
            let last = self.encoder.end_file(self.part)?;
            self.file.rotate(&last)?;
        } else {
            return Ok(());
        }
        self.begin_file()
    }

    fn begin_file(&mut self) -> io::Result<()> {
        if let Some(session) = &self.session {
            self.part += 1;
            self.first = self.encoder.begin_file(session, self.part)?;
            if E::REFERS_TO_ITS_FILE {
                // Its finding is handed over again, and encoded for this one.
                self.unwritten.clear();
            }
        }
        Ok(())
    }
}

impl<E: Encode> Sink<Finding> for TraceFile<E> {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        self.go_on()?;
        if self.unwritten.is_empty() {
            self.unwritten = self.encoder.encode(finding)?;
        }
        if !self.unwritten.is_empty() {
            self.file
                .write_whole(&[&*self.first, &self.unwritten].concat())?;
            self.first.clear();
            self.unwritten.clear();
        }
        if let Finding::Session(session) | Finding::Attached(session) = finding {
            self.session = Some(session.clone());
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        if self.file.has_moved() {
            let last = self.encoder.end_file(self.part)?;
            self.file.reopen(&last)?;
            self.begin_file()?;
        }
        // At once: while all is well no record follows for hours, and readers would find a file without a session.
        if !self.first.is_empty() {
            self.file.write_whole(&self.first)?;
            self.first.clear();
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.file.has_moved() {
            console::print(&format!(
                "vault-tracer: the end of the trace is not in {}: that was renamed while it was written; send SIGHUP after renaming it",
                self.file.name()
            ));
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.file.name()
    }

    fn kind(&self) -> &'static str {
        "trace"
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use prost::Message;
    use tracer_model::{Cause, Device, Evidence, Refusal, RequestInfo, Transport};

    use super::*;
    use crate::sink::{
        line_file::{Existing, FileRules},
        otlp::spans::Spans,
        perfetto::{
            packets::Packets,
            proto::{Data, Trace},
        },
    };

    /// A line for each finding, by its session's process.
    #[derive(Default)]
    struct Pids;

    impl Encode for Pids {
        fn encode(&mut self, finding: &Finding) -> io::Result<Vec<u8>> {
            Ok(match finding {
                Finding::Session(session) => format!("begins {}\n", session.pid),
                Finding::Attached(session) => format!("attached {}\n", session.pid),
                _ => "finding\n".to_owned(),
            }
            .into_bytes())
        }

        fn end_file(&mut self, part: u32) -> io::Result<Vec<u8>> {
            Ok(format!("end {part}\n").into_bytes())
        }

        fn begin_file(&mut self, session: &Session, part: u32) -> io::Result<Vec<u8>> {
            Ok(format!("{part} of {}\n", session.pid).into_bytes())
        }
    }

    fn session(pid: i32) -> Session {
        Session {
            pid,
            ..Session::default()
        }
    }

    fn finding() -> Finding {
        Finding::Summary(tracer_model::Summary::default())
    }

    fn open<E: Encode>(path: &Path, rotate_at: Option<u64>) -> TraceFile<E> {
        let rules = FileRules {
            existing: Existing::Append,
            rotate_at,
            ..FileRules::default()
        };
        TraceFile::new(LineFile::open(path, rules).expect("opened"))
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).expect("read")
    }

    #[test]
    fn each_file_can_be_read_without_those_before() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("trace");
        let mut trace = open::<Pids>(&path, Some(12));
        for finding in [
            Finding::Session(session(7)),
            finding(),
            finding(),
            Finding::Attached(session(8)),
            finding(),
        ] {
            trace.write(&finding).expect("written");
        }
        let part = |number: u32| read(&dir.path().join(format!("trace.{number}")));
        assert_eq!(part(3), "begins 7\nfinding\nend 1\n");
        assert_eq!(part(2), "2 of 7\nfinding\nend 2\n");
        assert_eq!(part(1), "3 of 7\nattached 8\nend 3\n");
        assert_eq!(read(&path), "4 of 8\nfinding\n");
    }

    #[test]
    fn a_file_that_was_renamed_ends_and_the_next_begins() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, renamed) = (dir.path().join("trace"), dir.path().join("renamed"));
        let mut trace = open::<Pids>(&path, None);
        trace.write(&Finding::Session(session(7))).expect("written");
        // Not renamed: it goes on.
        trace.reopen().expect("opened");
        trace.write(&finding()).expect("written");
        fs::rename(&path, &renamed).expect("renamed");
        trace.reopen().expect("opened");
        assert_eq!(read(&path), "2 of 7\n", "not only with the next record");
        trace.write(&finding()).expect("written");
        assert_eq!(read(&renamed), "begins 7\nfinding\nend 1\n");
        assert_eq!(read(&path), "2 of 7\nfinding\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_gone_on_with() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, renamed) = (dir.path().join("trace"), dir.path().join("renamed"));
        let mut trace = open::<Pids>(&path, None);
        trace.write(&Finding::Session(session(7))).expect("written");
        fs::rename(&path, &renamed).expect("renamed");
        fs::create_dir(&path).expect("made");
        assert!(trace.reopen().is_err());
        trace.write(&finding()).expect("written");
        assert_eq!(read(&renamed), "begins 7\nfinding\n");
        fs::remove_dir(&path).expect("removed");
        trace.reopen().expect("opened");
        assert_eq!(read(&renamed), "begins 7\nfinding\nend 1\n");
        assert_eq!(read(&path), "2 of 7\n");
    }

    #[test]
    fn a_deleted_file_is_begun_again_and_a_lost_directory_is_an_error() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let below = dir.path().join("below");
        fs::create_dir(&below).expect("made");
        let path = below.join("trace");
        let mut trace = open::<Pids>(&path, None);
        trace.write(&Finding::Session(session(7))).expect("written");
        fs::remove_file(&path).expect("removed");
        trace.write(&finding()).expect("written");
        assert_eq!(read(&path), "2 of 7\nfinding\n");
        fs::remove_dir_all(&below).expect("removed");
        assert!(trace.write(&finding()).is_err());
        fs::create_dir(&below).expect("made");
        trace.write(&finding()).expect("written");
        assert_eq!(read(&path), "3 of 7\nfinding\n");
    }

    fn refusal(start: u64) -> Finding {
        Finding::Refusal(Box::new(Refusal {
            before: 0,
            http_status: None,
            device: Device::configured(Transport::Tcp, "10.0.0.2:1515"),
            request: RequestInfo {
                start,
                ..RequestInfo::default()
            },
            start,
            duration: 0,
            cause: Cause::Refused,
            errno: None,
            evidence: Evidence::default(),
            taken_elsewhere: true,
            inferred: false,
        }))
    }

    /// The file that begins where another one was deleted while the disk was full, and nothing of the last finding was written.
    fn begun_with_what_was_not_written<E: Encode>() -> Vec<u8> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("trace");
        let mut trace = open::<E>(&path, None);
        trace.write(&Finding::Session(session(7))).expect("written");
        trace.write(&refusal(1)).expect("written");
        trace.unwritten = trace.encoder.encode(&refusal(2)).expect("bytes");
        fs::remove_file(&path).expect("removed");
        trace.write(&refusal(2)).expect("written");
        fs::read(&path).expect("read")
    }

    /// A reader shows nothing of what is on no track.
    #[test]
    fn what_was_not_written_refers_to_the_tracks_of_its_own_file() {
        let bytes = begun_with_what_was_not_written::<Packets>();
        let data = Trace::decode(&*bytes).expect("packets").packet.into_iter();
        let (mut declared, mut events) = (Vec::new(), Vec::new());
        for data in data.filter_map(|packet| packet.data) {
            match data {
                Data::TrackDescriptor(track) => declared.push(track.uuid),
                Data::TrackEvent(event) => events.push((event.track_uuid, event.name)),
                Data::ClockSnapshot(_) => {}
            }
        }
        let mut tracks = events.iter().map(|(track, _)| track);
        assert!(tracks.all(|track| declared.contains(track)), "{events:?}");
        let names = events.iter().map(|(_, name)| name.as_deref());
        let expected = [Some("trace begins"), Some("refusal: refused")];
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    /// The twin: a request has one span. Encoded again its refusal would have none above it.
    #[test]
    fn spans_that_were_not_written_are_whole_in_the_next_file() {
        let text = String::from_utf8(begun_with_what_was_not_written::<Spans>());
        let text = text.expect("JSON");
        for name in ["request", "audit refusal"] {
            assert!(text.contains(&format!("\"name\":\"{name}\"")), "{text}");
        }
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

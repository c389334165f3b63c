//! `--flight-recorder DIR`: a recording of each time in which something went wrong, from what the kernel side kept back of
//! the time before. Bounded: so many files, each of so many bytes. While all is well nothing is written. Several agents may
//! have one directory.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};
use jiff::Timestamp;
use nix::fcntl::OFlag;

use super::{Worker, line_file::LineFile, recording::Recording, together};
use crate::{console, source::flight::Prologue};
use tracer_model::{Device, Event, EventKind, Finding, Nanos};

/// Recordings that are kept.
const KEPT: usize = 20;

/// Limit of a recording, bytes; compressed, these are some minutes of a loaded server.
const LARGEST: u64 = 64 << 20;

/// Events between two looks at its size.
const BATCH: u32 = 1024;

/// How the names of recordings begin and end. A recording of which is not known yet whether anything went wrong has another
/// end.
const BEGIN: &str = "hang-";
const END: &str = ".events.gz";
const PARTIAL: &str = ".partial.gz";

/// Writes recordings into a directory.
pub struct FlightRecorder {
    directory: PathBuf,
    prologue: Prologue,
    open: Option<Open>,
    /// Writes the end of the one before.
    closing: Option<JoinHandle<()>>,
}

/// A recording that is being written.
struct Open {
    worker: Worker<Event>,
    path: PathBuf,
    /// Whether a device blocked or failed a request since it began.
    is_of_interest: bool,
    events: u32,
}

impl FlightRecorder {
    /// The directory must exist. What is there of a process that was killed is deleted.
    pub fn new(directory: &Path) -> Result<Self> {
        let context = || format!("cannot use {} for recordings", directory.display());
        for entry in fs::read_dir(directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            if is_ours(&path, PARTIAL) {
                delete_abandoned(&path).with_context(context)?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            prologue: Prologue::default(),
            open: None,
            closing: None,
        })
    }

    /// The kernel side stops keeping events back. `audit`: where audit devices are.
    pub fn begin(&mut self, at: Nanos, audit: Vec<Device>) {
        if self.open.is_some() {
            return;
        }
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%S.%3fZ");
        let path = self.directory.join(format!("{BEGIN}{time}{PARTIAL}"));
        match LineFile::create(&path) {
            Ok(file) => {
                let mut worker = Worker::spawn(Recording::new(file));
                for event in self.prologue.events(at, audit) {
                    worker.send(&Arc::new(event));
                }
                self.open = Some(Open {
                    worker,
                    path,
                    is_of_interest: false,
                    events: 0,
                });
            }
            Err(error) => log::warn!("no recording of what goes wrong now: {error:#}"),
        }
    }

    /// Takes any event of the trace.
    pub fn record(&mut self, event: &Arc<Event>) {
        self.prologue.observe(event);
        let Some(open) = &mut self.open else { return };
        open.worker.send(event);
        open.events += 1;
        let is_large = || fs::metadata(&open.path).is_ok_and(|data| data.len() >= LARGEST);
        if open.events.is_multiple_of(BATCH) && is_large() {
            self.end(event.at);
        }
    }

    /// Takes any finding of the trace.
    pub fn found(&mut self, finding: &Finding) {
        let is_of_interest = matches!(
            finding,
            Finding::Stalled(_) | Finding::Hang(_) | Finding::Refusal(_) | Finding::Forwarded(_)
        );
        if let Some(open) = &mut self.open {
            open.is_of_interest |= is_of_interest;
        }
    }

    /// All is well again, or the trace ends.
    pub fn end(&mut self, at: Nanos) {
        let Some(mut open) = self.open.take() else {
            return;
        };
        let what = EventKind::End;
        open.worker.send(&Arc::new(Event { at, what }));
        let directory = self.directory.clone();
        // A slow disk delays nothing but itself.
        let closing = thread::spawn(move || {
            if let Err(error) = open.finish(&directory) {
                console::print(&format!("vault-tracer: warning: {error:#}"));
            }
        });
        self.closing = Some(closing);
    }

    /// The trace has ended, which was recorded. Waits for the file.
    pub fn finish(self) -> Result<()> {
        if let Some(closing) = self.closing {
            let _ = closing.join();
        }
        match self.open {
            Some(open) => open.finish(&self.directory),
            None => Ok(()),
        }
    }
}

impl Open {
    /// Of a recording that could not be written whole, as on a full disk, what there is can be replayed.
    fn finish(self, directory: &Path) -> Result<()> {
        let written = self.worker.finish();
        let path = &self.path;
        let has_content = fs::metadata(path).is_ok_and(|data| data.len() > 0);
        let settled = if self.is_of_interest && has_content {
            keep(path, directory, written.is_ok())
        } else {
            delete(path).with_context(|| format!("cannot delete {}", path.display()))
        };
        together([written, settled])
    }
}

/// Gives a recording its last name.
fn keep(path: &Path, directory: &Path, is_whole: bool) -> Result<()> {
    let name = path.to_string_lossy();
    let kept = name.strip_suffix(PARTIAL).unwrap_or(&name).to_owned() + END;
    fs::rename(path, &kept)
        .with_context(|| format!("cannot keep the recording {}", path.display()))?;
    let part = if is_whole { "" } else { "a part of " };
    console::print(&format!(
        "vault-tracer: {part}what went wrong is recorded in {kept}"
    ));
    prune(directory)
        .with_context(|| format!("cannot delete old recordings in {}", directory.display()))
}

/// Deletes a recording that no process writes: each has the file locked that it writes. One of which that is not known stays.
fn delete_abandoned(path: &Path) -> io::Result<()> {
    let file = fs::OpenOptions::new()
        .read(true)
        // Does not wait for the writer of a pipe.
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path);
    match file {
        Ok(file) if file.try_lock_shared().is_ok() => delete(path),
        _ => Ok(()),
    }
}

/// Another agent may have done so.
fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        deleted => deleted,
    }
}

/// Deletes all but the newest: their names are in the order of their times.
fn prune(directory: &Path) -> io::Result<()> {
    let entries = fs::read_dir(directory)?.filter_map(Result::ok);
    let mut paths: Vec<_> = entries
        .map(|entry| entry.path())
        .filter(|path| is_ours(path, END))
        .collect();
    paths.sort();
    let beyond = paths.len().saturating_sub(KEPT);
    paths[..beyond].iter().try_for_each(|path| delete(path))
}

fn is_ours(path: &Path, end: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(BEGIN) && name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sink::Sink, source::recording};
    use tracer_model::Session;

    fn event(at: Nanos, what: EventKind) -> Arc<Event> {
        Arc::new(Event { at, what })
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<_> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    fn hang() -> Finding {
        Finding::Hang(Box::new(tracer_model::Hang {
            id: None,
            start: 0,
            end: 1,
            duration: 1,
            device: Device::tcp(([10, 0, 0, 2], 1515).into()),
            request: tracer_model::RequestInfo::default(),
            stalls: Vec::new(),
        }))
    }

    #[test]
    fn only_what_went_wrong_is_kept_and_begins_with_the_session() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        fs::write(at.join("hang-old.partial.gz"), "").expect("written");
        fs::write(at.join("other"), "").expect("written");
        let mut recorder = FlightRecorder::new(at).expect("a directory");
        assert_eq!(names(at), ["other"]);
        recorder.record(&event(1, EventKind::Session(Session::default())));
        recorder.record(&event(2, EventKind::Tick));
        recorder.begin(3, Vec::new());
        recorder.record(&event(4, EventKind::Tick));
        recorder.found(&hang());
        recorder.record(&event(5, EventKind::End));
        recorder.finish().expect("written");
        let kept = names(at);
        assert_eq!(kept.len(), 2, "{kept:?}");
        let events = recording::read(&at.join(&kept[0])).expect("a recording");
        let times: Vec<_> = events.iter().map(|event| event.at).collect();
        assert_eq!(times, [1, 4, 5], "{events:?}");

        let mut recorder = FlightRecorder::new(at).expect("a directory");
        recorder.begin(6, Vec::new());
        recorder.finish().expect("deleted");
        assert_eq!(names(at), kept, "nothing went wrong");
    }

    #[test]
    fn what_another_agent_writes_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let mut first = FlightRecorder::new(at).expect("a directory");
        first.record(&event(1, EventKind::Session(Session::default())));
        first.begin(2, Vec::new());
        first.found(&hang());
        fs::write(at.join("hang-old.partial.gz"), "").expect("written");
        let second = FlightRecorder::new(at).expect("a directory");
        assert_eq!(names(at).len(), 1, "what nobody writes is deleted");
        second.finish().expect("nothing to write");
        first.record(&event(3, EventKind::End));
        first.finish().expect("written");
        let kept = names(at);
        assert!(kept.len() == 1 && kept[0].ends_with(END), "{kept:?}");
        let events = recording::read(&at.join(&kept[0])).expect("a recording");
        assert_eq!(events.len(), 2, "{events:?}");
    }

    /// On a full disk.
    struct Full;

    impl Sink<Event> for Full {
        fn write(&mut self, _: &Event) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn name(&self) -> String {
            "this".to_owned()
        }

        fn kind(&self) -> &'static str {
            "full"
        }
    }

    #[test]
    fn of_a_recording_that_cannot_be_written_whole_only_what_can_be_used_is_kept() {
        for (content, is_of_interest, is_kept) in [
            ("members", true, true),
            ("members", false, false),
            ("", true, false),
        ] {
            let directory = tempfile::tempdir().expect("a directory");
            let at = directory.path();
            for number in 100..100 + KEPT {
                fs::write(at.join(format!("{BEGIN}{number}{END}")), "").expect("written");
            }
            let path = at.join("hang-200.partial.gz");
            fs::write(&path, content).expect("written");
            let mut worker = Worker::spawn(Full);
            worker.send(&event(1, EventKind::Tick));
            let open = Open {
                worker,
                path,
                is_of_interest,
                events: 1,
            };
            let error = open.finish(at).expect_err("full").to_string();
            let expected = "1 records could not be written to this: ";
            assert!(error.starts_with(expected), "{error}");
            let names = names(at);
            let newest = names.last().expect("recordings");
            assert_eq!(newest == "hang-200.events.gz", is_kept, "{names:?}");
            assert_eq!(names.len(), KEPT, "{names:?}");
        }
    }

    #[test]
    fn the_newest_recordings_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        for number in 100..100 + KEPT + 3 {
            fs::write(at.join(format!("{BEGIN}{number}{END}")), "").expect("written");
        }
        prune(at).expect("pruned");
        let kept = names(at);
        assert_eq!((kept.len(), &*kept[0]), (KEPT, "hang-103.events.gz"));
    }
}

//! A directory with the files that the commands of the documentation read, in which they are run.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{Read, Write},
    iter,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use tempfile::TempDir;
use test_support::documentation::root;

/// The recording that the documentation shows.
const RECORDING: &str = "tests/recordings/demo/recording.jsonl.gz";

pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        let sandbox = Self(tempfile::tempdir().expect("a directory"));
        let at = |name: &str| sandbox.0.path().join(name);
        let recording = root().join(RECORDING);
        symlink(root().join("tests"), at("tests")).expect("a link");
        fs::create_dir(at("target")).expect("made");
        symlink(directory_of_agent(), at("target/release")).expect("a link");
        for name in ["recording.jsonl.gz", "events.gz"] {
            fs::copy(&recording, at(name)).expect("copied");
        }
        let events = decompressed(&recording);
        fs::write(at("events"), events).expect("written");
        let made = sandbox.run("vault-tracer replay events -q -o trace.jsonl");
        assert!(made.status.success(), "{made:?}");
        for name in ["node1.jsonl", "trace.jsonl.1", "trace.jsonl.2"] {
            fs::copy(at("trace.jsonl"), at(name)).expect("copied");
        }
        let trace = fs::read(at("trace.jsonl")).expect("read");
        fs::write(at("node2.jsonl.gz"), compressed(&trace)).expect("written");
        sandbox
    }

    /// Runs a command line. Absolute paths in it are below the directory.
    pub(crate) fn run(&self, line: &str) -> Output {
        let words = line.split(' ').map(|word| self.moved(word));
        let line = words.collect::<Vec<_>>().join(" ");
        Command::new("sh")
            .args(["-c", &line])
            .current_dir(self.0.path())
            .env("PATH", path())
            .env("HOME", self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("a shell")
    }

    fn moved(&self, word: &str) -> String {
        let Some(path) = word.strip_prefix('/').or_else(|| word.strip_prefix("~/")) else {
            return word.to_owned();
        };
        let moved = self.0.path().join(path);
        // A directory is the manual pages'; what is written otherwise is a file.
        let directory: &Path = if path.contains("/man") {
            &moved
        } else {
            moved.parent().expect("it has one")
        };
        fs::create_dir_all(directory).expect("made");
        moved.display().to_string()
    }
}

fn directory_of_agent() -> PathBuf {
    let agent = Path::new(env!("CARGO_BIN_EXE_vault-tracer"));
    agent.parent().expect("it is in one").to_owned()
}

/// The directory of the tested program comes first.
fn path() -> OsString {
    let inherited = env::var_os("PATH").unwrap_or_default();
    let all = iter::once(directory_of_agent()).chain(env::split_paths(&inherited));
    env::join_paths(all).expect("a path")
}

fn decompressed(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).expect("a recording");
    let mut bytes = Vec::new();
    let read = MultiGzDecoder::new(file).read_to_end(&mut bytes);
    read.expect("compressed");
    bytes
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

use std::{io::Read, os::unix::fs::PermissionsExt};

use super::*;

fn directory() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("trace.jsonl");
    (dir, path)
}

fn appending() -> FileRules {
    FileRules {
        existing: Existing::Append,
        ..FileRules::default()
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("read")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn an_earlier_file_is_as_it_was_until_the_first_line() {
    for (existing, expected, first) in [
        (Existing::Replace, "new\n", None),
        (Existing::Append, "earlier\nnew\n", None),
        (Existing::Keep, "new\n", Some("earlier\n")),
    ] {
        let (dir, path) = directory();
        fs::write(&path, "earlier\n").expect("written");
        let rules = FileRules {
            existing,
            ..FileRules::default()
        };
        let mut file = LineFile::open(&path, rules).expect("opened");
        assert_eq!(read(&path), "earlier\n");
        file.write_line("new").expect("written");
        assert_eq!(read(&path), expected);
        assert_eq!(mode(&path), 0o600);
        let aside = fs::read_to_string(dir.path().join("trace.jsonl.1")).ok();
        assert_eq!(aside.as_deref(), first);
    }
}

#[test]
fn a_line_that_was_torn_is_ended() {
    let (_dir, path) = directory();
    fs::write(&path, "whole\nto").expect("written");
    let mut file = LineFile::open(&path, appending()).expect("opened");
    file.write_line("new").expect("written");
    assert_eq!(read(&path), "whole\nto\nnew\n");
}

#[test]
fn a_file_that_others_truncate_gets_no_hole() {
    let (_dir, path) = directory();
    let mut file = LineFile::open(&path, appending()).expect("opened");
    file.write_line("long before").expect("written");
    let other = OpenOptions::new().write(true).open(&path).expect("opened");
    other.set_len(0).expect("truncated");
    file.write_line("after").expect("written");
    assert_eq!(read(&path), "after\n");
}

#[test]
fn a_file_that_was_renamed_is_ended_and_the_next_one_begun() {
    let (dir, path) = directory();
    let mut file = LineFile::open(&path, appending()).expect("opened");
    file.write_line("one").expect("written");
    assert!(!file.has_moved());
    let renamed = dir.path().join("renamed");
    fs::rename(&path, &renamed).expect("renamed");
    assert!(file.has_moved() && !file.is_deleted());
    file.write_line("two").expect("written");
    file.reopen(b"last\n").expect("opened");
    file.write_line("three").expect("written");
    assert_eq!(read(&renamed), "one\ntwo\nlast\n");
    assert_eq!(read(&path), "three\n");
    assert!(!file.has_moved());
}

#[test]
fn a_file_that_was_deleted_is_noticed() {
    let (_dir, path) = directory();
    let mut file = LineFile::open(&path, appending()).expect("opened");
    file.write_line("one").expect("written");
    assert!(!file.is_deleted());
    fs::remove_file(&path).expect("removed");
    assert!(file.is_deleted() && file.has_moved());
    file.reopen(b"last\n").expect("opened");
    file.write_line("two").expect("written");
    assert_eq!(read(&path), "two\n");
}

#[test]
fn a_full_file_is_rotated_and_only_so_many_are_kept() {
    let (dir, path) = directory();
    let rules = FileRules {
        rotate_at: Some(10),
        keep: Some(2),
        ..appending()
    };
    let mut file = LineFile::open(&path, rules).expect("opened");
    for number in 0..8 {
        if file.is_full() {
            file.rotate(b"last\n").expect("rotated");
        }
        file.write_line(&format!("line {number}")).expect("written");
    }
    let rest = |name: &str| read(&dir.path().join(name));
    assert_eq!(rest("trace.jsonl"), "line 6\nline 7\n");
    assert_eq!(rest("trace.jsonl.1"), "line 4\nline 5\nlast\n");
    assert_eq!(rest("trace.jsonl.2"), "line 2\nline 3\nlast\n");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 3);
}

#[test]
fn a_next_file_that_cannot_be_opened_costs_no_earlier_one() {
    let (dir, path) = directory();
    let rules = FileRules {
        keep: Some(1),
        ..appending()
    };
    let mut file = LineFile::open(&path, rules).expect("opened");
    file.write_line("one").expect("written");
    fs::rename(&path, dir.path().join("trace.jsonl.1")).expect("renamed");
    fs::create_dir(&path).expect("made");
    for _ in 0..3 {
        assert!(file.rotate(b"last\n").is_err());
    }
    fs::remove_dir(&path).expect("removed");
    file.rotate(b"last\n").expect("rotated");
    file.write_line("two").expect("written");
    assert_eq!(read(&dir.path().join("trace.jsonl.1")), "one\nlast\n");
    assert_eq!(read(&path), "two\n");
}

#[test]
fn mode_and_group_are_the_operators_of_each_file() {
    let (dir, path) = directory();
    let own = nix::unistd::getgid();
    let rules = FileRules {
        mode: 0o640,
        group: Some(own),
        ..appending()
    };
    fs::write(&path, "").expect("written");
    let mut file = LineFile::open(&path, rules).expect("opened");
    file.write_line("one").expect("written");
    assert_eq!(mode(&path), 0o640);
    file.rotate(b"").expect("rotated");
    file.write_line("two").expect("written");
    assert_eq!(mode(&path), 0o640);
    assert_eq!(fs::metadata(&path).expect("metadata").gid(), own.as_raw());
    assert_eq!(mode(&dir.path().join("trace.jsonl.1")), 0o640);
}

#[test]
fn two_writers_of_one_file_are_refused() {
    let (_dir, path) = directory();
    let first = LineFile::open(&path, appending()).expect("opened");
    let second = LineFile::open(&path, appending()).err();
    let text = format!("{:#}", second.expect("refused"));
    assert!(text.contains("another vault-tracer writes to"), "{text}");
    drop(first);
    assert!(LineFile::create(&path).is_ok());
}

#[test]
fn a_pipe_without_a_reader_is_refused_at_once() {
    let (dir, _) = directory();
    let pipe = dir.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("made");
    let error = LineFile::open(&pipe, appending()).err();
    let text = format!("{:#}", error.expect("refused"));
    assert!(text.contains("start the process that reads"), "{text}");
    let reader = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(&pipe);
    let mut reader = reader.expect("opened");
    let mut file = LineFile::open(&pipe, appending()).expect("opened");
    file.write_line("one").expect("written");
    drop(file);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("read");
    assert_eq!(text, "one\n");
}

#[test]
fn says_which_file_cannot_be_written() {
    let error = LineFile::create(Path::new("/nonexistent/trace.jsonl")).err();
    let text = format!("{:#}", error.expect("an error"));
    assert!(text.contains("/nonexistent/trace.jsonl"), "{text}");
}

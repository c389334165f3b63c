//! The server's audit files, read at the end of a hang. While a socket device is down, no byte of an entry reaches the
//! kernel on it; but the same request is written to the file device beside it, with its id and its client's port.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    net::IpAddr,
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::PathBuf,
};
use tracer_model::EntryHead;

use jiff::{SignedDuration, Timestamp};
use log::debug;

use super::entry::parse_head;
use nix::sys::statvfs::statvfs;

/// Bytes read at a time, from the end backwards.
const BLOCK: u64 = 64 << 10;

/// Most bytes read of one file. A server that hangs writes little.
const BUDGET: u64 = 16 << 20;

/// Lines without an entry after which a file is taken for no audit file.
const OTHER_LINES: u32 = 100;

/// Entries of several goroutines are not written in the exact order of their times.
const DISORDER: SignedDuration = SignedDuration::from_secs(1);

/// The entry's time is taken by the server, ours by the kernel.
const SLACK: SignedDuration = SignedDuration::from_millis(5);

/// `include/uapi/asm-generic/fcntl.h`.
const O_ACCMODE: i32 = 0o3;
const O_APPEND: i32 = 0o2000;

/// Identifies a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileQuery {
    /// Port of its client.
    pub(crate) client_port: u16,
    /// Its address; `None` if the entry may bear any.
    pub(crate) client_address: Option<IpAddr>,
    /// When it began.
    pub(crate) not_before: Timestamp,
    /// When it ended.
    pub(crate) not_after: Timestamp,
}

/// The entry that the request wrote to any audit file of this server, if there is one and all that
/// fit are of the same request.
pub(crate) fn find_entry(pid: i32, query: &FileQuery) -> Option<EntryHead> {
    let mut found: Option<EntryHead> = None;
    for path in candidates(pid) {
        let entries = search(&path, query).unwrap_or_else(|error| {
            debug!("cannot search {}: {error}", path.display());
            Vec::new()
        });
        for entry in entries {
            if found.as_ref().is_some_and(|found| found.id != entry.id) {
                return None;
            }
            found = Some(entry);
        }
    }
    found
}

/// Whether the server sees anything at this path.
pub(crate) fn exists(pid: i32, path: &str) -> bool {
    fs::symlink_metadata(as_server_sees(pid, path)).is_ok()
}

/// Paths of the audit files that the server has open.
pub(crate) fn open_files(pid: i32) -> HashSet<PathBuf> {
    let paths = candidates(pid).into_iter();
    paths.filter_map(|path| fs::read_link(path).ok()).collect()
}

/// Bytes free in the file system of a file of the server's, for a process without privileges.
pub(crate) fn free_space(pid: i32, path: &str) -> Option<u64> {
    let path = as_server_sees(pid, path);
    let found = statvfs(&path).or_else(|_| statvfs(path.parent().unwrap_or(&path)));
    let found = found.ok()?;
    Some(
        found
            .blocks_available()
            .saturating_mul(found.fragment_size()),
    )
}

/// Through the server's own root directory.
pub(super) fn as_server_sees(pid: i32, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{path}"))
}

/// Regular files that the server has open for appending. `/proc/PID/fd` leads to them even if they were renamed or
/// deleted, or are in another mount namespace.
pub(super) fn candidates(pid: i32) -> Vec<PathBuf> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let paths = descriptors
        .into_iter()
        .flatten()
        .flatten()
        .map(|fd| fd.path());
    paths.filter(|path| is_candidate(pid, path)).collect()
}

fn is_candidate(pid: i32, path: &PathBuf) -> bool {
    let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let fd = path.file_name().unwrap_or_default().to_string_lossy();
    regular
        && fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"))
            .ok()
            .and_then(|info| flags(&info))
            .is_some_and(|flags| flags & O_APPEND != 0 && flags & O_ACCMODE != 0)
}

/// `flags:  02102001`
pub(crate) fn flags(fdinfo: &str) -> Option<i32> {
    let line = fdinfo
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))?;
    i32::from_str_radix(line.trim(), 8).ok()
}

pub(crate) fn search(path: &PathBuf, query: &FileQuery) -> io::Result<Vec<EntryHead>> {
    let mut matches = Vec::new();
    let mut is_log = false;
    let mut others = 0;
    backwards(&File::open(path)?, |line| {
        match match_line(line, query) {
            LineMatch::Match(entry) => matches.push(entry),
            LineMatch::OtherEntry => is_log = true,
            LineMatch::NoEntry => others += 1,
            LineMatch::TooOld => return ControlFlow::Break(()),
        }
        if others > OTHER_LINES && !is_log {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    Ok(matches)
}

enum LineMatch {
    Match(EntryHead),
    OtherEntry,
    NoEntry,
    TooOld,
}

fn match_line(line: &[u8], query: &FileQuery) -> LineMatch {
    let Some(entry) = parse_head(line) else {
        return LineMatch::NoEntry;
    };
    let Some(time) = entry.time else {
        return LineMatch::OtherEntry;
    };
    let since = time.duration_since(query.not_before);
    let until = query.not_after.duration_since(time);
    if since < -DISORDER {
        return LineMatch::TooOld;
    }
    let fits = since >= -SLACK && until >= -SLACK;
    let is_clients = entry.remote_port == Some(query.client_port)
        && query
            .client_address
            .is_none_or(|client| is_at(&entry, client));
    if fits && entry.id.is_some() && is_clients {
        return LineMatch::Match(entry);
    }
    LineMatch::OtherEntry
}

fn is_at(entry: &EntryHead, client: IpAddr) -> bool {
    let address = entry.remote_address.as_ref();
    let address = address.and_then(|address| address.parse::<IpAddr>().ok());
    address.is_some_and(|address| address.to_canonical() == client.to_canonical())
}

/// Passes whole lines, last first, until `line` breaks or `BUDGET` is used up.
fn backwards(file: &File, mut line: impl FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<()> {
    let mut end = file.metadata()?.len();
    let limit = end.saturating_sub(BUDGET);
    let mut size = BLOCK;
    while end > limit {
        let start = end.saturating_sub(size).max(limit);
        let mut block = vec![0; (end - start) as usize];
        file.read_exact_at(&mut block, start)?;
        let Some(whole) = first_whole_line(&block, start) else {
            if start == limit {
                break;
            }
            // Twice as much, so that a line of any length is read at most twice over.
            size *= 2;
            continue;
        };
        let lines = block[whole..].strip_suffix(b"\n");
        for each in lines
            .unwrap_or(&block[whole..])
            .rsplit(|byte| *byte == b'\n')
        {
            if line(each).is_break() {
                return Ok(());
            }
        }
        (end, size) = (start + whole as u64, BLOCK);
    }
    Ok(())
}

/// The offset of the first line that starts within a block, which was read from this position.
fn first_whole_line(block: &[u8], position: u64) -> Option<usize> {
    if position == 0 {
        return Some(0);
    }
    // The last byte ends the last line: no line starts after it.
    let (_, body) = block.split_last()?;
    body.iter()
        .position(|byte| *byte == b'\n')
        .map(|newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn entry(second: u32, port: u16, id: &str) -> String {
        format!(
            r#"{{"time":"2026-11-23T05:57:{second:02}Z","type":"request","auth":{{}},"request":{{"id":"{id}","operation":"read","path":"sys/mounts","remote_port":{port}}}}}"#
        )
    }

    fn query(port: u16) -> FileQuery {
        FileQuery {
            client_port: port,
            client_address: None,
            not_before: "2026-11-23T05:57:20Z".parse().expect("a time"),
            not_after: "2026-11-23T05:57:30Z".parse().expect("a time"),
        }
    }

    fn found(lines: &[String], port: u16) -> Vec<String> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(lines.join("\n").as_bytes())
            .expect("written");
        file.write_all(b"\n").expect("written");
        let path = file.path().to_owned();
        let entries = search(&path, &query(port)).expect("searched");
        entries.into_iter().filter_map(|entry| entry.id).collect()
    }

    #[test]
    fn finds_the_entry_of_the_client_in_its_time() {
        let lines = [
            entry(10, 7, "too old"),
            entry(25, 8, "other client"),
            entry(25, 7, "this"),
            entry(40, 7, "later"),
        ];
        assert_eq!(found(&lines, 7), ["this"]);
    }

    #[test]
    fn an_entry_of_another_address_with_the_same_port_is_another_clients() {
        let with = |address: &str| {
            entry(25, 7, "this").replace(
                "\"remote_port\"",
                &format!("\"remote_address\":\"{address}\",\"remote_port\""),
            )
        };
        for (asked, written, is_found) in [
            (None, "10.0.0.7", true),
            (Some("10.0.0.7"), "10.0.0.7", true),
            (Some("10.0.0.7"), "192.0.2.1", false),
            (Some("fd00::7"), "fd00::7", true),
            (Some("fd00::7"), "fd00::8", false),
            (Some("::ffff:10.0.0.7"), "10.0.0.7", true),
        ] {
            let query = FileQuery {
                client_address: asked.map(|address| address.parse().expect("an address")),
                ..query(7)
            };
            let found = match_line(with(written).as_bytes(), &query);
            assert_eq!(
                matches!(found, LineMatch::Match(_)),
                is_found,
                "{asked:?} {written}"
            );
        }
        let query = FileQuery {
            client_address: Some("10.0.0.7".parse().expect("an address")),
            ..query(7)
        };
        let unknown = match_line(entry(25, 7, "this").as_bytes(), &query);
        assert!(matches!(unknown, LineMatch::OtherEntry));
    }

    #[test]
    fn reads_long_lines_and_many_blocks() {
        let mut lines = vec![entry(25, 7, "this")];
        lines.extend((0..2000).map(|_| entry(26, 8, &"x".repeat(100))));
        lines.push(entry(26, 9, &"y".repeat(200_000)));
        assert_eq!(found(&lines, 7), ["this"]);
    }

    /// As `backwards` hands them over.
    fn lines(content: &[u8]) -> Vec<Vec<u8>> {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(content).expect("written");
        let mut lines = Vec::new();
        let read = backwards(&file, |line| {
            lines.push(line.to_vec());
            ControlFlow::Continue(())
        });
        read.expect("read");
        lines
    }

    #[test]
    fn hands_over_every_line_whatever_its_length() {
        let block = BLOCK as usize;
        for len in [0, 1, block - 2, block - 1, block, block + 1, 5 * block] {
            let long = vec![b'x'; len];
            let content = [&long[..], b"first", &long[..], b"", b"last"].join(&b'\n');
            let expected = [b"last", &b""[..], &long[..], b"first", &long[..]];
            assert_eq!(lines(&content), expected, "{len}");
            assert_eq!(lines(&[&content[..], b"\n"].concat()), expected, "{len}");
        }
        assert!(lines(b"").is_empty());
    }

    #[test]
    fn stops_when_the_budget_is_used_up() {
        let mut content = b"too far back\n".to_vec();
        content.resize(BUDGET as usize + 100, b'x');
        content.extend(b"\nlast\n");
        assert_eq!(lines(&content), [b"last"]);
    }

    #[test]
    fn stops_at_entries_that_are_too_old() {
        let lines = [entry(25, 7, "behind older ones"), entry(1, 7, "old")];
        assert!(found(&lines, 7).is_empty());
    }

    #[test]
    fn a_file_that_is_no_audit_log_holds_nothing() {
        let lines: Vec<_> = (0..100).map(|n| format!("line {n}")).collect();
        assert!(found(&lines, 7).is_empty());
    }

    #[test]
    fn reads_flags() {
        assert_eq!(flags("pos:\t0\nflags:\t02102001\n"), Some(0o2_102_001));
        assert_eq!(flags("pos:\t0\n"), None);
    }

    #[test]
    fn recognizes_audit_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = |name, append: bool| {
            let mut options = fs::OpenOptions::new();
            options.create(true).append(append).write(true);
            options.open(dir.path().join(name)).expect("opened")
        };
        let (_appended, _other) = (open("appended", true), open("other", false));
        let names: Vec<_> = candidates(std::process::id() as i32)
            .into_iter()
            .filter_map(|path| fs::read_link(path).ok())
            .filter(|path| path.starts_with(dir.path()))
            .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .collect();
        assert_eq!(names, ["appended"]);
    }
}

//! Audit files as they are at one moment: whether they grow, and whether the server has them open.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::file::{as_server_sees, candidates, free_space};

/// An audit file at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileState {
    /// Bytes; `None` where there is no such file.
    pub(crate) size: Option<u64>,
    /// Whether the server has it open for appending, and no other file in its place; `None` where that is not certain.
    pub(crate) is_open: Option<bool>,
    /// Bytes free in its file system.
    pub(crate) free: Option<u64>,
}

/// Through which descriptors the server writes its audit files, by path: a server may have ten thousand, which are searched once.
#[derive(Debug, Default)]
pub(crate) struct Descriptors(Mutex<HashMap<String, PathBuf>>);

impl Descriptors {
    /// Measures a file of the server's.
    pub(crate) fn measure(&self, pid: i32, path: &str) -> FileState {
        let metadata = fs::metadata(as_server_sees(pid, path)).ok();
        FileState {
            size: metadata.as_ref().map(fs::Metadata::len),
            is_open: self.is_open(pid, path, metadata.as_ref()),
            free: free_space(pid, path),
        }
    }

    fn is_open(&self, pid: i32, path: &str, file: Option<&fs::Metadata>) -> Option<bool> {
        if file.is_some_and(|file| !file.is_file()) {
            return None;
        }
        let is_it = |fd: &PathBuf| {
            let there = fs::metadata(fd).ok();
            let ids = |of: &fs::Metadata| (of.dev(), of.ino());
            there.is_some() && there.as_ref().map(ids) == file.map(ids)
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(path).is_some_and(is_it) {
            return Some(true);
        }
        let open = candidates(pid);
        if let Some(fd) = open.iter().find(|fd| is_it(fd)) {
            known.insert(path.to_owned(), fd.clone());
            return Some(true);
        }
        // It may be written elsewhere: under another name, or deleted.
        open.is_empty().then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_audit_file_is_open_where_the_server_has_this_very_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, moved) = (dir.path().join("audit"), dir.path().join("audit.1"));
        let name = path.to_str().expect("text");
        let measure =
            |descriptors: &Descriptors| descriptors.measure(std::process::id() as i32, name);
        let descriptors = Descriptors::default();
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .expect("opened");
        for (written, size) in [(&b"ab"[..], 2), (b"c", 3)] {
            file.write_all(written).expect("written");
            let state = measure(&descriptors);
            assert_eq!((state.size, state.is_open), (Some(size), Some(true)));
            assert!(state.free.is_some());
        }
        // Rotated, and not opened again yet.
        fs::rename(&path, &moved).expect("renamed");
        assert_eq!(
            (measure(&descriptors).size, measure(&descriptors).is_open),
            (None, None)
        );
        fs::write(&path, "ab").expect("written");
        assert_eq!(measure(&descriptors).is_open, None);
        // Moved back.
        fs::rename(&moved, &path).expect("renamed");
        assert_eq!(measure(&descriptors).is_open, Some(true));
        let pipe = Descriptors::default().measure(std::process::id() as i32, "/dev/null");
        assert_eq!(pipe.is_open, None);
    }
}

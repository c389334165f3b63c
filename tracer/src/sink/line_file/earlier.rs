//! Names of earlier files: `FILE.1` is the newest, `FILE.2` the one before it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Renames `FILE` to `FILE.1`, and each earlier file to the next number. Deletes those beyond the newest `keep`.
pub(super) fn shift(path: &Path, keep: Option<u32>) -> io::Result<()> {
    let exists = |number| fs::symlink_metadata(numbered(path, number)).is_ok();
    let mut last = 0;
    while exists(last + 1) {
        last += 1;
    }
    while keep.is_some_and(|keep| last >= keep) {
        fs::remove_file(numbered(path, last))?;
        last -= 1;
    }
    for number in (1..=last).rev() {
        fs::rename(numbered(path, number), numbered(path, number + 1))?;
    }
    if keep == Some(0) {
        return fs::remove_file(path);
    }
    fs::rename(path, numbered(path, 1))
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path) -> Option<String> {
        fs::read_to_string(path).ok()
    }

    #[test]
    fn the_newest_has_the_lowest_number_and_only_so_many_are_kept() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("trace.jsonl");
        for n in 1..=4 {
            fs::write(&path, n.to_string()).expect("written");
            shift(&path, Some(2)).expect("renamed");
        }
        let kept = [1, 2, 3].map(|number| content(&numbered(&path, number)));
        assert_eq!(kept, [Some("4".to_owned()), Some("3".to_owned()), None]);
        assert_eq!(content(&path), None);
    }

    #[test]
    fn all_are_kept_without_a_limit() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("events.gz");
        for n in 1..=12 {
            fs::write(&path, n.to_string()).expect("written");
            shift(&path, None).expect("renamed");
        }
        assert_eq!(content(&numbered(&path, 12)).as_deref(), Some("1"));
        assert_eq!(content(&numbered(&path, 1)).as_deref(), Some("12"));
    }

    #[test]
    fn fewer_are_kept_than_before() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("trace.jsonl");
        for n in 1..=4 {
            fs::write(&path, n.to_string()).expect("written");
            shift(&path, None).expect("renamed");
        }
        fs::write(&path, "5").expect("written");
        shift(&path, Some(1)).expect("renamed");
        let kept = fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(kept, 1);
        assert_eq!(content(&numbered(&path, 1)).as_deref(), Some("5"));
    }
}

//! A file of lines, each written whole or not at all.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};

/// A file or standard output.
pub struct LineFile {
    out: Out,
}

enum Out {
    File {
        file: File,
        path: PathBuf,
        len: Option<u64>,
        /// The last write failed, for example on a full disk.
        failed: bool,
    },
    Stdout(io::Stdout),
}

impl LineFile {
    /// Creates the file with mode 0600; `-` is standard output. An existing file is truncated when the first line is
    /// written: a trace that fails to begin destroys nothing.
    pub fn create(path: &Path) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self {
                out: Out::Stdout(io::stdout()),
            });
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .with_context(|| format!("cannot write {}: choose another file", path.display()))?;
        Ok(Self {
            out: Out::File {
                file,
                path: path.to_owned(),
                len: None,
                failed: false,
            },
        })
    }

    /// Whether this path leads to the same file, which two writers, or a reader and a writer, would destroy.
    pub fn is_same(&self, path: &Path) -> bool {
        let Out::File { file, .. } = &self.out else {
            return false;
        };
        let (Ok(own), Ok(other)) = (file.metadata(), fs::metadata(path)) else {
            return false;
        };
        own.is_file() && (own.dev(), own.ino()) == (other.dev(), other.ino())
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match &self.out {
            Out::File { path, .. } => path.display().to_string(),
            Out::Stdout(_) => "standard output".to_owned(),
        }
    }

    /// Writes a line; if a part of it cannot be written, the file is cut back to where it began.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write_whole(format!("{line}\n").as_bytes())
    }

    /// The same for bytes that are no line.
    pub fn write_whole(&mut self, line: &[u8]) -> io::Result<()> {
        match &mut self.out {
            Out::Stdout(stdout) => {
                stdout.write_all(line)?;
                stdout.flush()
            }
            Out::File {
                file, len, failed, ..
            } => {
                let before = match *len {
                    Some(len) => len,
                    None => truncate(file)?,
                };
                if *failed {
                    reserve(file, before, line.len() as u64)?;
                }
                if let Err(error) = file.write_all(line) {
                    *failed = true;
                    // Best effort: only a regular file can be cut.
                    let _ = cut(file, before);
                    return Err(error);
                }
                *failed = false;
                *len = Some(before + line.len() as u64);
                Ok(())
            }
        }
    }
}

/// Truncates a regular file and makes it private. Devices and pipes stay as they are.
fn truncate(file: &mut File) -> io::Result<u64> {
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
        cut(file, 0)?;
    }
    Ok(0)
}

/// Fails on a full disk as a write would, but leaves no part of a line to be read meanwhile. File systems that cannot
/// allocate are left to the write.
fn reserve(file: &File, at: u64, len: u64) -> io::Result<()> {
    let (at, len) = (at.cast_signed(), len.cast_signed());
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, at, len) {
        Err(Errno::ENOSPC) => Err(Errno::ENOSPC.into()),
        _ => Ok(()),
    }
}

fn cut(file: &mut File, len: u64) -> io::Result<()> {
    file.set_len(len)?;
    file.seek(SeekFrom::Start(len)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_an_earlier_trace_until_the_first_line() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("trace.jsonl");
        fs::write(&path, "earlier and longer\n").expect("written");
        let mut file = LineFile::create(&path).expect("opened");
        assert_eq!(
            fs::read_to_string(&path).expect("read"),
            "earlier and longer\n"
        );
        file.write_line("new").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "new\n");
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn knows_itself_by_another_name() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let (path, link) = (dir.path().join("a"), dir.path().join("b"));
        let file = LineFile::create(&path).expect("opened");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert!(file.is_same(&link));
        assert!(!file.is_same(dir.path()));
    }

    #[test]
    fn says_which_file_cannot_be_written() {
        let error = LineFile::create(Path::new("/nonexistent/trace.jsonl")).err();
        let text = format!("{:#}", error.expect("an error"));
        assert!(text.contains("/nonexistent/trace.jsonl"), "{text}");
    }
}

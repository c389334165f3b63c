//! A file of lines, each written whole or not at all, and appended (`O_APPEND`): after another process has truncated the
//! file (`copytruncate`), no hole is before the next line. Standard output cannot be cut back: a line that it took a part of is
//! gone on with.

mod earlier;
mod rules;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl},
};

pub use self::rules::{Existing, FileRules};
use super::stream::{PartialWrite, WaitingStream};

/// A file or standard output.
pub struct LineFile(Out);

enum Out {
    File(NamedFile),
    Stdout(PartialWrite),
}

struct NamedFile {
    file: File,
    path: PathBuf,
    rules: FileRules,
    /// Devices and pipes have no length, no mode of ours and no earlier content.
    is_regular: bool,
    /// Whether something was written to it.
    has_begun: bool,
    /// The last write failed, for example on a full disk.
    has_failed: bool,
}

impl LineFile {
    /// Opens the file; `-` is standard output. What is in it is not touched before the first line is written: a trace
    /// that fails to begin destroys nothing. Fails if another process writes lines to it.
    pub fn open(path: &Path, rules: FileRules) -> Result<Self> {
        if path == Path::new("-") {
            return Ok(Self(Out::Stdout(PartialWrite::default())));
        }
        let file = NamedFile::open(path, rules).with_context(|| {
            let todo = if is_pipe(path) {
                "start the process that reads this pipe first"
            } else {
                "choose another file"
            };
            format!("cannot write {}: {todo}", path.display())
        })?;
        match file.file.try_lock() {
            Err(TryLockError::WouldBlock) if file.is_regular => bail!(
                "another vault-tracer writes to {}: choose another file",
                path.display()
            ),
            // Some file systems have no locks.
            _ => Ok(Self(Out::File(file))),
        }
    }

    /// Opens a file that is to be replaced, for its owner alone.
    pub fn create(path: &Path) -> Result<Self> {
        Self::open(path, FileRules::default())
    }

    /// Its name in messages.
    pub fn name(&self) -> String {
        match &self.0 {
            Out::File(named) => named.path.display().to_string(),
            Out::Stdout(_) => "standard output".to_owned(),
        }
    }

    /// Writes a line; if a part of it cannot be written, the file is cut back to where it began. After an error the same line is
    /// to be written again before any other.
    pub fn write_line(&mut self, line: &str) -> io::Result<()> {
        self.write_whole(format!("{line}\n").as_bytes())
    }

    /// The same for bytes that are no line.
    pub fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Out::Stdout(partial) => partial.write_all(&mut WaitingStream(io::stdout()), bytes),
            Out::File(named) => named.write(bytes),
        }
    }

    /// Whether it has reached the size at which the next file begins.
    pub fn is_full(&self) -> bool {
        match &self.0 {
            Out::File(named) => named.is_full(),
            Out::Stdout(_) => false,
        }
    }

    /// Whether it was deleted: what is written to it is lost when it is closed.
    pub fn is_deleted(&self) -> bool {
        match &self.0 {
            Out::File(named) => named.is_deleted(),
            Out::Stdout(_) => false,
        }
    }

    /// Whether its name leads to another file or to none.
    pub fn has_moved(&self) -> bool {
        match &self.0 {
            Out::File(named) => named.is_regular && !named.is_at(&named.path),
            Out::Stdout(_) => false,
        }
    }

    /// Renames it and begins the next under its name. `last` is appended to what is written so far, if that can be.
    pub fn rotate(&mut self, last: &[u8]) -> io::Result<()> {
        let Out::File(named) = &mut self.0 else {
            return Ok(());
        };
        named.set_aside()?;
        named.reopen(last)
    }

    /// Opens what is now under its name, which the caller has seen to be another file. `last` as for [`Self::rotate`].
    pub fn reopen(&mut self, last: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Out::File(named) => named.reopen(last),
            Out::Stdout(_) => Ok(()),
        }
    }
}

impl NamedFile {
    fn open(path: &Path, rules: FileRules) -> io::Result<Self> {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            // Fails where nobody reads a pipe, instead of waiting.
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(path)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
        Ok(Self {
            is_regular: file.metadata()?.is_file(),
            file,
            path: path.to_owned(),
            rules,
            has_begun: false,
            has_failed: false,
        })
    }

    fn is_at(&self, path: &Path) -> bool {
        let (Ok(own), Ok(other)) = (self.file.metadata(), fs::metadata(path)) else {
            return false;
        };
        (own.dev(), own.ino()) == (other.dev(), other.ino())
    }

    fn is_full(&self) -> bool {
        let Some(limit) = self.rules.rotate_at.filter(|_| self.is_regular) else {
            return false;
        };
        self.file.metadata().is_ok_and(|data| data.len() >= limit)
    }

    fn is_deleted(&self) -> bool {
        self.is_regular && self.file.metadata().is_ok_and(|data| data.nlink() == 0)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.has_begun {
            self.begin()?;
            self.has_begun = true;
        }
        if !self.is_regular {
            return self.file.write_all(bytes);
        }
        // Asked for each time: others may have truncated it.
        let before = self.file.metadata()?.len();
        if self.has_failed {
            reserve(&self.file, before, bytes.len() as u64)?;
        }
        let written = self.file.write_all(bytes);
        self.has_failed = written.is_err();
        if self.has_failed && self.file.metadata()?.len() > before {
            // Best effort.
            let _ = self.file.set_len(before);
        }
        written
    }

    /// Prepares the file for its first line.
    fn begin(&mut self) -> io::Result<()> {
        if !self.is_regular {
            return Ok(());
        }
        let is_empty = self.file.metadata()?.len() == 0;
        match self.rules.existing {
            Existing::Keep if !is_empty => {
                self.set_aside()?;
                self.file = Self::open(&self.path, self.rules)?.file;
                let _ = self.file.try_lock();
            }
            Existing::Replace => self.file.set_len(0)?,
            Existing::Append | Existing::Keep => {}
        }
        self.rules.permit(&self.file)?;
        self.end_torn_line()
    }

    /// Ends a line that an earlier process was writing when it was killed.
    fn end_torn_line(&mut self) -> io::Result<()> {
        let Some(end) = self.file.metadata()?.len().checked_sub(1) else {
            return Ok(());
        };
        let mut last = [b'\n'];
        File::open(&self.path)?.read_exact_at(&mut last, end)?;
        if last == [b'\n'] {
            return Ok(());
        }
        self.file.write_all(b"\n")
    }

    /// Renames the file to `FILE.1`, and earlier ones to the next number. Not twice: where the next file cannot be opened, as
    /// on a full disk, this is tried again.
    fn set_aside(&self) -> io::Result<()> {
        if !self.is_at(&self.path) {
            return Ok(());
        }
        earlier::shift(&self.path, self.rules.keep)
    }

    fn reopen(&mut self, last: &[u8]) -> io::Result<()> {
        let next = Self::open(&self.path, self.rules)?;
        let has_begun = self.has_begun;
        let mut before = std::mem::replace(self, next);
        // It holds what this process wrote, which must not be set aside or replaced.
        self.rules.existing = Existing::Append;
        let _ = self.file.try_lock();
        if has_begun && before.is_regular && !before.is_deleted() {
            // Best effort: the next file says where it goes on from.
            let _ = before.write(last);
        }
        Ok(())
    }
}

fn is_pipe(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.file_type().is_fifo())
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

#[cfg(test)]
mod tests;

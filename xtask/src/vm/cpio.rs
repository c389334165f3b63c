//! An initramfs: the `newc` format (`Documentation/driver-api/early-userspace/buffer-format.rst`), not
//! compressed, since unpacking under emulation takes longer than reading.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHARACTER_DEVICE: u32 = 0o020_600;
/// The size is a field of 32 bits.
const LARGEST: u64 = u32::MAX as u64;

/// An archive being written. Directories on the way to what is added come by themselves.
pub struct Cpio<W> {
    to: W,
    known: BTreeSet<PathBuf>,
    entries: u32,
}

/// What a header says beside the name.
#[derive(Clone, Copy, Default)]
struct Header {
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Cpio<W> {
    /// An empty archive.
    pub fn new(to: W) -> Self {
        Self {
            to,
            known: BTreeSet::new(),
            entries: 0,
        }
    }

    /// An empty directory, and those above it.
    pub fn directory(&mut self, path: &Path) -> Result<()> {
        let above: Vec<_> = path.ancestors().filter(|p| !is_root(p)).collect();
        for directory in above.into_iter().rev() {
            if self.known.insert(directory.to_owned()) {
                let header = Header {
                    mode: DIRECTORY,
                    ..Header::default()
                };
                self.header(directory, header)?;
            }
        }
        Ok(())
    }

    /// A file of the host, executable by all. A path that is taken already keeps what it has.
    pub fn file(&mut self, path: &Path, source: &Path) -> Result<()> {
        let mut file =
            File::open(source).with_context(|| format!("cannot read {}", source.display()))?;
        let size = file.metadata()?.len();
        ensure!(size <= LARGEST, "{} is too big", source.display());
        self.add(path, size as u32, &mut file)
            .with_context(|| format!("cannot pack {}", source.display()))
    }

    /// A file with these contents.
    pub fn text(&mut self, path: &Path, contents: &str) -> Result<()> {
        self.add(path, contents.len() as u32, &mut contents.as_bytes())
    }

    /// A character device.
    pub fn device(&mut self, path: &Path, major: u32, minor: u32) -> Result<()> {
        self.parents(path)?;
        let header = Header {
            mode: CHARACTER_DEVICE,
            device: (major, minor),
            ..Header::default()
        };
        self.header(path, header)
    }

    /// Writes the end.
    pub fn finish(mut self) -> Result<W> {
        self.header(Path::new("TRAILER!!!"), Header::default())?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn add(&mut self, path: &Path, size: u32, contents: &mut impl io::Read) -> Result<()> {
        self.parents(path)?;
        if !self.known.insert(path.to_owned()) {
            return Ok(());
        }
        let header = Header {
            mode: PROGRAM,
            size,
            ..Header::default()
        };
        self.header(path, header)?;
        let copied = io::copy(contents, &mut self.to)?;
        ensure!(copied == u64::from(size), "it changed meanwhile");
        self.pad(size as usize)
    }

    fn parents(&mut self, path: &Path) -> Result<()> {
        path.parent()
            .map_or(Ok(()), |parent| self.directory(parent))
    }

    fn header(&mut self, path: &Path, header: Header) -> Result<()> {
        let name = path.to_str().context("a path that is no UTF-8")?;
        let name = name.trim_start_matches('/');
        let Header { mode, size, device } = header;
        self.entries += 1;
        let (inode, length) = (self.entries, name.len() + 1);
        // Magic, inode, mode, owner, group, links, time, size, device, of the file if it is one, name, checksum.
        write!(
            self.to,
            "070701{inode:08x}{mode:08x}{0:08x}{0:08x}{1:08x}{0:08x}{size:08x}{0:08x}{0:08x}{2:08x}{3:08x}{length:08x}{0:08x}{name}\0",
            0, 1, device.0, device.1
        )?;
        self.pad(HEADER + length)
    }

    /// Everything begins at a multiple of 4.
    fn pad(&mut self, written: usize) -> Result<()> {
        let padding = written.next_multiple_of(4) - written;
        Ok(self.to.write_all(&[0; 3][..padding])?)
    }
}

const HEADER: usize = 110;

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path == Path::new("/")
}

/// The libraries that a program needs, as `ldd` names them, its loader among them.
pub fn libraries(ldd: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ([_, "=>", path, ..] | [path, ..]) = words[..] else {
            return None;
        };
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    ldd.lines().filter_map(path).collect()
}

/// Every file below a directory.
pub fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
            let entry = entry?;
            // A link out of the package is not followed.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_cpio_would_write() {
        let mut cpio = Cpio::new(Vec::new());
        cpio.text(Path::new("/a/b"), "hello").unwrap();
        cpio.text(Path::new("/a/b"), "again").unwrap();
        cpio.device(Path::new("/dev/console"), 5, 1).unwrap();
        let bytes = cpio.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8(bytes).unwrap();
        let names = text.split("070701").skip(1);
        let names: Vec<_> = names.map(|entry| &entry[104..105]).collect();
        assert_eq!(names, ["a", "a", "d", "d", "T"]);
        let file = "07070100000002000081ed000000000000000000000001000000000000000500000000\
                    00000000000000000000000000000004000000000";
        assert!(text.contains(&file[..file.len() - 1]), "{text}");
        assert!(text.contains("a/b\0\0\0hello\0\0\0"), "{text:?}");
        assert!(text.contains("0000000500000001"), "{text}");
    }

    #[test]
    fn libraries_are_those_that_ldd_finds() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                   \tlibgone.so => not found\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(ldd), found.map(PathBuf::from));
        assert_eq!(libraries("\tstatically linked\n"), [] as [PathBuf; 0]);
    }
}

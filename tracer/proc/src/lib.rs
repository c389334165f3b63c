//! What `/proc` says of processes and of their sockets (`proc(5)`), as far as the agent and the lab need it.

mod tcp;
mod unix;

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

pub use self::{
    tcp::{TcpEntry, TcpState},
    unix::UnixEntry,
};

/// What is read of a process's command line and of its environment, bytes. The kernel limits both where a program is started
/// (`execve(2)`, 6 MB in all); but any process may say afterwards that they are elsewhere in its memory and as long as that
/// (`PR_SET_MM_MAP`, `prctl(2)`).
const COMMAND_LINE: u64 = 128 << 10;
const ENVIRONMENT: u64 = 6 << 20;

/// A process that exists, or did.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its ID.
    pub pid: i32,
    directory: PathBuf,
}

/// Fields of `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// `Z` is a zombie.
    pub state: char,
    /// ID of the parent.
    pub parent: i32,
    /// `PF_*` of `include/linux/sched.h`.
    pub flags: u32,
    /// When it started after the boot, clock ticks. With the ID it identifies a process.
    pub start_time: u64,
}

/// All processes of `/proc`.
pub fn processes() -> io::Result<Vec<Process>> {
    let entries = fs::read_dir("/proc")?.filter_map(Result::ok);
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.map(Process::new).collect())
}

impl Process {
    /// This one need not exist.
    pub fn new(pid: i32) -> Self {
        let directory = Path::new("/proc").join(pid.to_string());
        Self { pid, directory }
    }

    /// The calling process.
    pub fn myself() -> Self {
        Self::new(std::process::id() as i32)
    }

    /// Whether it, or a thread with this ID, exists.
    pub fn exists(&self) -> bool {
        self.directory.exists()
    }

    /// `/proc/PID/stat`.
    pub fn stat(&self) -> io::Result<Stat> {
        Stat::parse(&self.read("stat")?).ok_or_else(|| self.malformed("stat"))
    }

    /// The value of a field of `/proc/PID/status`.
    pub fn status(&self, field: &str) -> io::Result<String> {
        let status = self.read("status")?;
        let mut fields = status.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(name, _)| *name == field);
        let (_, value) = found.ok_or_else(|| self.malformed("status"))?;
        Ok(value.trim().to_owned())
    }

    /// The executable. ` (deleted)` is appended to the name of one that is no longer there.
    pub fn exe(&self) -> io::Result<PathBuf> {
        fs::read_link(self.directory.join("exe"))
    }

    /// The command line, of a long one the beginning; empty for kernel threads.
    pub fn command_line(&self) -> io::Result<Vec<String>> {
        let text = read_at_most(COMMAND_LINE, &self.directory.join("cmdline"))?;
        let text = text.strip_suffix(&[0]).unwrap_or(&text);
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let words = text.split(|byte| *byte == 0);
        Ok(words
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect())
    }

    /// A variable of its environment, as it was started. Others are not kept: they may be secret.
    pub fn variable(&self, name: &str) -> io::Result<Option<String>> {
        let text = read_at_most(ENVIRONMENT, &self.directory.join("environ"))?;
        let mut variables = text.split(|byte| *byte == 0);
        Ok(variables.find_map(|variable| {
            let value = variable.strip_prefix(name.as_bytes())?;
            let value = value.strip_prefix(b"=")?;
            Some(String::from_utf8_lossy(value).into_owned())
        }))
    }

    /// Whether its environment has a variable of this name, as it was started.
    pub fn has_variable(&self, name: &str) -> io::Result<bool> {
        Ok(self.variable(name)?.is_some())
    }

    /// Its control groups, as `/proc/PID/cgroup` has them.
    pub fn cgroups(&self) -> io::Result<String> {
        self.read("cgroup")
    }

    /// Descriptors of sockets, each with the inode number of its socket.
    pub fn sockets(&self) -> io::Result<Vec<(i32, u64)>> {
        let entries = fs::read_dir(self.directory.join("fd"))?;
        let socket = |entry: fs::DirEntry| {
            let descriptor = entry.file_name().to_str()?.parse().ok()?;
            let target = fs::read_link(entry.path()).ok()?;
            let inode = target.to_str()?.strip_prefix("socket:[")?;
            Some((descriptor, inode.strip_suffix(']')?.parse().ok()?))
        };
        Ok(entries.filter_map(Result::ok).filter_map(socket).collect())
    }

    /// TCP sockets of its network namespace, over IPv4 and, where that is not disabled, over IPv6.
    pub fn tcp(&self) -> io::Result<Vec<TcpEntry>> {
        let v4 = self.read("net/tcp")?;
        let v6 = self.read("net/tcp6").unwrap_or_default();
        let lines = v4.lines().skip(1).chain(v6.lines().skip(1));
        let entries =
            lines.map(|line| TcpEntry::parse(line).ok_or_else(|| self.malformed("net/tcp")));
        entries.collect()
    }

    /// Unix sockets of its network namespace that others may connect to by a path.
    pub fn unix(&self) -> io::Result<Vec<UnixEntry>> {
        let text = fs::read(self.directory.join("net/unix"))?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.lines().filter_map(UnixEntry::parse).collect())
    }

    /// The inode number of its namespace of this kind: `net`, `pid`, `user`, `mnt`.
    pub fn namespace(&self, kind: &str) -> io::Result<u64> {
        self.namespace_file(kind).map(|(_, inode)| inode)
    }

    /// Device and inode number of its namespace of this kind.
    pub fn namespace_file(&self, kind: &str) -> io::Result<(u64, u64)> {
        let data = fs::metadata(self.directory.join("ns").join(kind))?;
        Ok((data.dev(), data.ino()))
    }

    /// A value of its auxiliary vector (`getauxval(3)`); `None` if it has none of this kind.
    pub fn auxiliary(&self, kind: u64) -> io::Result<Option<u64>> {
        let bytes = fs::read(self.directory.join("auxv"))?;
        let (words, _) = bytes.as_chunks();
        let words: Vec<_> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
        let (pairs, _) = words.as_chunks();
        let found = pairs.iter().find(|[of, _]| *of == kind);
        Ok(found.map(|[_, value]| *value))
    }

    /// The name of a process need not be UTF-8.
    fn read(&self, name: &str) -> io::Result<String> {
        let text = fs::read(self.directory.join(name))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn malformed(&self, name: &str) -> io::Error {
        let path = self.directory.join(name);
        let text = format!("{} is not as proc(5) describes it", path.display());
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

/// The beginning of a file.
fn read_at_most(limit: u64, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Stat {
    /// The name in parentheses may contain spaces and parentheses.
    pub fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<_> = rest.split_whitespace().collect();
        // Numbered from 1 in proc(5); here the third is the first.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: field(3)?.chars().next()?,
            parent: field(4)?.parse().ok()?,
            flags: field(9)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_look_like_fields() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 0 0";
        let expected = Stat {
            state: 'S',
            parent: 1,
            flags: 0x0040_0100,
            start_time: 123_456,
        };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_as_it_knows_itself() {
        let me = Process::myself();
        assert!(me.exists());
        assert_eq!(me.status("Tgid").expect("a status"), me.pid.to_string());
        assert_eq!(me.exe().ok(), std::env::current_exe().ok());
        let words: Vec<_> = std::env::args().collect();
        assert_eq!(me.command_line().expect("a command line"), words);
        let parent = me.stat().expect("a status").parent;
        assert_eq!(parent.cast_unsigned(), std::os::unix::process::parent_id());
        assert!(me.namespace("net").is_ok_and(|inode| inode > 0));
        let (name, value) = std::env::vars().next().expect("cargo sets some");
        let found = me.variable(&name).expect("an environment");
        assert_eq!(found.as_deref(), Some(&*value));
        assert!(me.has_variable(&name).expect("an environment"));
        assert!(!me.has_variable("NO_SUCH").expect("an environment"));
        // AT_PAGESZ (include/uapi/linux/auxvec.h).
        let page = me.auxiliary(6).expect("a vector").expect("a size");
        assert!(page.is_power_of_two());
        assert_eq!(me.auxiliary(u64::MAX).expect("a vector"), None);
        let all = processes().expect("a list");
        assert!(all.iter().any(|process| process.pid == me.pid));
    }

    #[test]
    fn of_what_has_no_end_the_beginning_is_read() {
        let read = read_at_most(1000, Path::new("/dev/zero")).expect("readable");
        assert_eq!(read, [0; 1000]);
        let all = read_at_most(1000, Path::new("/proc/self/comm")).expect("readable");
        assert!(!all.is_empty() && all.len() < 20);
    }

    #[test]
    fn a_process_that_has_ended_is_not_found() {
        let gone = Process::new(i32::MAX);
        assert!(!gone.exists());
        let error = gone.stat().expect_err("no such process");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn sockets_are_listed_with_their_connections() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        let me = Process::myself();
        let entries = me.tcp().expect("a table");
        let entry = entries.iter().find(|entry| entry.local == address);
        let entry = entry.expect("listed");
        assert_eq!(entry.state, TcpState::Listen);
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&listener);
        let sockets = me.sockets().expect("descriptors");
        assert!(sockets.contains(&(descriptor, entry.inode)), "{sockets:?}");
    }
}

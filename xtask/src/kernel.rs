//! What the kernel allows, tried by the system calls themselves. No crate is at hand, but Rust's library is linked with
//! the C library.

use std::{fmt, path::Path};

/// The argument by which this program tries the kernel and prints the results: for a try under sudo.
pub(crate) const TRY: &str = "--try-kernel";

/// `EPERM`, the same number on all architectures.
pub(crate) const EPERM: i32 = 1;

/// The errors of what was tried; 0 is success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tried {
    /// Of creating a map, loading a program of two instructions and attaching it to a tracepoint: the first that failed.
    pub(crate) bpf: i32,
    /// Of a network namespace.
    pub(crate) namespace: i32,
}

impl fmt::Display for Tried {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} {}", self.bpf, self.namespace)
    }
}

impl Tried {
    /// What its `Display` printed.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        Some(Self {
            bpf: numbers.next()?.ok()?,
            namespace: numbers.next()?.ok()?,
        })
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        ffi::{c_char, c_int, c_long, c_ulong, CString},
        io::Error,
        os::{
            fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
            unix::ffi::OsStrExt,
        },
        path::Path,
        ptr::addr_of_mut,
        thread,
    };

    use super::Tried;

    extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
        fn unshare(flags: c_int) -> c_int;
        fn statvfs(path: *const c_char, data: *mut StatVfs) -> c_int;
        fn access(path: *const c_char, mode: c_int) -> c_int;
        fn geteuid() -> u32;
    }

    /// `struct statvfs` of 64-bit Linux: the fields in use, and room for the others.
    #[repr(C)]
    struct StatVfs {
        block: c_ulong,
        fragment: c_ulong,
        blocks: u64,
        free: u64,
        available: u64,
        others: [u64; 16],
    }

    #[cfg(target_arch = "aarch64")]
    const SYS_BPF: c_long = 280;
    #[cfg(not(target_arch = "aarch64"))]
    const SYS_BPF: c_long = 321;

    // `enum bpf_cmd`, `bpf_map_type` and `bpf_prog_type` of `include/uapi/linux/bpf.h`.
    const BPF_MAP_CREATE: c_int = 0;
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_RAW_TRACEPOINT_OPEN: c_int = 17;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;

    const CLONE_NEWNET: c_int = 0x4000_0000;
    const W_OK: c_int = 2;

    /// `union bpf_attr`: 32-bit words, more of them than any command takes.
    type Attributes = [u32; ATTRIBUTES_SIZE / 4];
    const ATTRIBUTES_SIZE: usize = 128;

    /// A pointer as two words in the order of memory (both architectures are little-endian).
    fn words<T>(pointer: *const T) -> [u32; 2] {
        let address = pointer as u64;
        [address as u32, (address >> 32) as u32]
    }

    fn bpf(command: c_int, attributes: &Attributes) -> Result<OwnedFd, i32> {
        // SAFETY: the attributes live during the call, and so does all that they point to.
        let fd = unsafe { syscall(SYS_BPF, command, attributes.as_ptr(), ATTRIBUTES_SIZE) };
        if fd < 0 {
            return Err(Error::last_os_error().raw_os_error().unwrap_or(-1));
        }
        // SAFETY: a new descriptor, which nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
    }

    fn try_bpf() -> Result<(), i32> {
        let mut map: Attributes = [0; 32];
        // Type, size of a key, of a value, number of entries.
        map[..4].copy_from_slice(&[BPF_MAP_TYPE_ARRAY, 4, 4, 1]);
        bpf(BPF_MAP_CREATE, &map)?;

        // r0 = 0; exit
        let instructions: [u64; 2] = [0xb7, 0x95];
        let license = b"GPL\0";
        let mut program: Attributes = [0; 32];
        program[..2].copy_from_slice(&[BPF_PROG_TYPE_RAW_TRACEPOINT, 2]);
        program[2..4].copy_from_slice(&words(instructions.as_ptr()));
        program[4..6].copy_from_slice(&words(license.as_ptr()));
        let loaded = bpf(BPF_PROG_LOAD, &program)?;

        // A tracepoint that every kernel has and that fires seldom. Closing the descriptor detaches the program.
        let name = b"sched_process_exec\0";
        let mut attach: Attributes = [0; 32];
        attach[..2].copy_from_slice(&words(name.as_ptr()));
        attach[2] = loaded.as_raw_fd() as u32;
        bpf(BPF_RAW_TRACEPOINT_OPEN, &attach).map(drop)
    }

    /// In a thread: a network namespace is the thread's own, and ends with it.
    fn try_namespace() -> i32 {
        // SAFETY: takes a number only.
        let attempt = || match unsafe { unshare(CLONE_NEWNET) } {
            0 => 0,
            _ => Error::last_os_error().raw_os_error().unwrap_or(-1),
        };
        thread::spawn(attempt).join().unwrap_or(-1)
    }

    pub(crate) fn try_all() -> Tried {
        Tried {
            bpf: try_bpf().err().unwrap_or(0),
            namespace: try_namespace(),
        }
    }

    pub(crate) fn uid() -> u32 {
        // SAFETY: takes nothing and cannot fail.
        unsafe { geteuid() }
    }

    pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
        let path = CString::new(directory.as_os_str().as_bytes()).ok()?;
        let mut data = StatVfs {
            block: 0,
            fragment: 0,
            blocks: 0,
            free: 0,
            available: 0,
            others: [0; 16],
        };
        // SAFETY: the path ends with zero, and the structure is at least as large as the C library's.
        let failed = unsafe { statvfs(path.as_ptr(), addr_of_mut!(data)) } != 0;
        (!failed).then(|| data.available * data.fragment)
    }

    pub(crate) fn writable(directory: &Path) -> bool {
        let Ok(path) = CString::new(directory.as_os_str().as_bytes()) else {
            return false;
        };
        // SAFETY: the path ends with zero.
        unsafe { access(path.as_ptr(), W_OK) == 0 }
    }
}

/// Nothing is tried on other systems: that they are not Linux is what is said.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::path::Path;

    use super::Tried;

    pub(crate) fn try_all() -> Tried {
        Tried::default()
    }

    pub(crate) fn uid() -> u32 {
        0
    }

    pub(crate) fn free_bytes(_: &Path) -> Option<u64> {
        None
    }

    pub(crate) fn writable(_: &Path) -> bool {
        true
    }
}

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use other as system;

/// Tries all of it, as this process may.
pub(crate) fn try_all() -> Tried {
    system::try_all()
}

/// The effective user.
pub(crate) fn uid() -> u32 {
    system::uid()
}

/// What this user may still write on the file system of `directory`.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    system::free_bytes(directory)
}

/// Whether this user may create files in `directory`.
pub(crate) fn writable(directory: &Path) -> bool {
    system::writable(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_the_way_through_sudo() {
        let tried = Tried {
            bpf: EPERM,
            namespace: 28,
        };
        assert_eq!(Tried::parse(&format!("{tried}\n")), Some(tried));
        assert_eq!(Tried::parse("sorry"), None);
    }

    #[test]
    fn a_file_system_has_a_size() {
        // The same as `df` says, as far as others leave it alone meanwhile.
        let ours = free_bytes(Path::new("/")).unwrap();
        let df = std::process::Command::new("df")
            .args(["--output=avail", "-B1", "/"])
            .output()
            .unwrap();
        let df = String::from_utf8(df.stdout).unwrap();
        let theirs: u64 = df.lines().nth(1).unwrap().trim().parse().unwrap();
        assert!(ours.abs_diff(theirs) < 1 << 30, "{ours} {theirs}");
        assert_eq!(free_bytes(Path::new("/nowhere")), None);
    }

    #[test]
    fn what_is_not_there_cannot_be_written() {
        assert!(writable(&std::env::temp_dir()));
        assert!(!writable(Path::new("/nowhere")));
    }
}

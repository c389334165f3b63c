//! What a package that was removed has left: files, and programs in the kernel.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use lab::wait;
use nix::{errno::Errno, libc};

use crate::LIMIT;

/// Where packages put files.
const WALKED: [&str; 7] = ["/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var"];

/// What others change meanwhile: package managers, systemd, and who makes the service's user.
const OTHERS: [&str; 15] = [
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/usr/lib/sysimage/rpm",
    "/var/cache",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/systemd",
    "/var/log/dpkg.log",
    "/var/log/journal",
    "/var/tmp",
];

const PINS: &str = "/sys/fs/bpf";

/// Of `enum bpf_cmd` (`linux/bpf.h`).
const PROG_GET_NEXT_ID: libc::c_long = 11;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// Of `struct bpf_prog_info`, in numbers of 32 bits.
const CREATED_BY_UID: usize = 12;

/// The files that are there.
pub(crate) struct State(BTreeSet<PathBuf>);

impl State {
    pub(crate) fn now() -> Result<Self> {
        let mut files = BTreeSet::new();
        for directory in WALKED {
            walk(Path::new(directory), &mut files)?;
        }
        Ok(Self(files))
    }

    /// The paths that were not there at this state, without what is below another. Nothing may stay in the kernel.
    pub(crate) fn what_stays(&self) -> Result<Vec<String>> {
        wait::until("the programs to be gone", LIMIT, || {
            Ok(programs_of_users()?.is_empty().then_some(()))
        })?;
        ensure!(fs::read_dir(PINS)?.next().is_none(), "pinned in {PINS}");
        let now = Self::now()?.0;
        let new: BTreeSet<_> = now.difference(&self.0).collect();
        let is_below = |path: &Path| {
            path.ancestors()
                .skip(1)
                .any(|above| new.contains(&above.to_owned()))
        };
        let tops = new.iter().filter(|path| !is_below(path));
        Ok(tops.map(|path| path.display().to_string()).collect())
    }
}

fn walk(directory: &Path, into: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if OTHERS.iter().any(|other| path == Path::new(other)) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&path, into)?;
        }
        into.insert(path);
    }
    Ok(())
}

/// Numbers of the programs that another user than root has loaded. Those of the service manager are root's, and others after
/// each reload. Maps go with their programs.
pub(crate) fn programs_of_users() -> Result<Vec<u32>> {
    let mut found = Vec::new();
    // `start_id`, `next_id`, `open_flags`.
    let mut request = [0_u32; 3];
    while bpf(PROG_GET_NEXT_ID, &mut request)?.is_some() {
        let number = request[1];
        request = [number, 0, 0];
        if loaded_by(number)?.is_some_and(|user| user != 0) {
            found.push(number);
        }
    }
    Ok(found)
}

/// The user ID; `None` if the program is gone.
fn loaded_by(number: u32) -> Result<Option<u32>> {
    let Some(descriptor) = bpf(PROG_GET_FD_BY_ID, &mut [number, 0, 0])? else {
        return Ok(None);
    };
    // SAFETY: the kernel made it for this process.
    let program = unsafe { OwnedFd::from_raw_fd(descriptor.try_into()?) };
    let mut info = [0_u32; 32];
    let size = size_of_val(&info).try_into()?;
    let at = info.as_mut_ptr().expose_provenance() as u64;
    let [low, high] = [at as u32, (at >> 32) as u32];
    let of = program.as_raw_fd().cast_unsigned();
    bpf(OBJ_GET_INFO_BY_FD, &mut [of, size, low, high])?;
    Ok(Some(info[CREATED_BY_UID]))
}

/// What the kernel returns; `None` if there is no such thing.
fn bpf<const N: usize>(command: libc::c_long, request: &mut [u32; N]) -> Result<Option<i64>> {
    let size = size_of_val(request);
    // SAFETY: the kernel reads and writes these numbers, and what one of them points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, request.as_mut_ptr(), size) };
    match Errno::result(result) {
        Ok(result) => Ok(Some(result)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

//! What a package that was removed has left: files, and programs and maps in the kernel.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};
use lab::wait;
use nix::{errno::Errno, libc};

use crate::LIMIT;

/// Where packages put files.
const WALKED: [&str; 7] = ["/etc", "/home", "/opt", "/root", "/srv", "/usr", "/var"];

/// What others change meanwhile: package managers, systemd, and who makes the service's user.
const OTHERS: [&str; 14] = [
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
    "/var/log/journal",
    "/var/tmp",
];

const PINS: &str = "/sys/fs/bpf";

/// Of `enum bpf_cmd` (`linux/bpf.h`): the next number of a program, a map.
const NEXT: [libc::c_long; 2] = [11, 12];

pub(crate) struct State {
    files: BTreeSet<PathBuf>,
    /// Numbers of programs, of maps.
    kernel: [BTreeSet<u32>; 2],
}

impl State {
    pub(crate) fn now() -> Result<Self> {
        let mut files = BTreeSet::new();
        for directory in WALKED {
            walk(Path::new(directory), &mut files)?;
        }
        Ok(Self {
            files,
            kernel: numbers()?,
        })
    }

    /// The paths that were not there at this state, without what is below another. Nothing may stay in the kernel.
    pub(crate) fn what_stays(&self) -> Result<Vec<String>> {
        // systemd's own programs, for the addresses of a unit, go with its control group.
        wait::until("programs and maps to be gone", LIMIT, || {
            let now = numbers()?;
            let same = |which: usize| now[which].is_subset(&self.kernel[which]);
            Ok((same(0) && same(1)).then_some(()))
        })?;
        ensure!(fs::read_dir(PINS)?.next().is_none(), "pinned in {PINS}");
        let now = Self::now()?.files;
        let new: BTreeSet<_> = now.difference(&self.files).collect();
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

fn numbers() -> Result<[BTreeSet<u32>; 2]> {
    Ok([all(NEXT[0])?, all(NEXT[1])?])
}

fn all(next: libc::c_long) -> Result<BTreeSet<u32>> {
    let mut found = BTreeSet::new();
    let mut last = 0;
    loop {
        // `start_id`, `next_id`, `open_flags`.
        let mut request = [last, 0, 0_u32];
        // SAFETY: the kernel reads and writes these three numbers.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                next,
                request.as_mut_ptr(),
                size_of_val(&request),
            )
        };
        match Errno::result(result) {
            Ok(_) => last = request[1],
            Err(Errno::ENOENT) => return Ok(found),
            Err(error) => return Err(error.into()),
        }
        found.insert(last);
    }
}

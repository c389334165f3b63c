//! Whether a file can be made, kept and renamed without the right to write everybody's.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use nix::unistd::{Gid, Uid, getgroups};

/// The right to write, in one of the three digits of a mode; of a directory the right to use it too.
const WRITE: u32 = 0o2;
const WRITE_AND_SEARCH: u32 = 0o3;

/// Who asks.
struct User {
    id: u32,
    groups: Vec<u32>,
}

/// Whether this process's user may write the file, and make others beside it.
pub(super) fn is_ours(file: &Path) -> bool {
    let user = User::this();
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let is_writable = match fs::metadata(file) {
        Ok(file) => user.may(WRITE, &file),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    is_writable && fs::metadata(directory).is_ok_and(|it| user.may(WRITE_AND_SEARCH, &it))
}

impl User {
    fn this() -> Self {
        let groups = getgroups().unwrap_or_default();
        let own = std::iter::once(Gid::effective());
        Self {
            id: Uid::effective().as_raw(),
            groups: own.chain(groups).map(Gid::as_raw).collect(),
        }
    }

    /// As `acl_permission_check` in `fs/namei.c`, without access control lists.
    fn may(&self, wanted: u32, file: &Metadata) -> bool {
        self.may_by_mode(wanted, file.uid(), file.gid(), file.mode())
    }

    fn may_by_mode(&self, wanted: u32, owner: u32, group: u32, mode: u32) -> bool {
        let digit = if owner == self.id {
            mode >> 6
        } else if self.groups.contains(&group) {
            mode >> 3
        } else {
            mode
        };
        digit & wanted == wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digit_that_applies_decides() {
        let root = User {
            id: 0,
            groups: vec![0, 4],
        };
        // owner, group, mode -> may
        for (owner, group, mode, may) in [
            (0, 0, 0o755, true),
            (0, 0, 0o555, false),
            (1000, 1000, 0o755, false),
            (1000, 4, 0o775, true),
            (1000, 4, 0o757, false),
            (1000, 1000, 0o757, true),
            (1000, 1000, 0o1777, true),
        ] {
            let got = root.may_by_mode(WRITE_AND_SEARCH, owner, group, mode);
            assert_eq!(got, may, "{owner}:{group} {mode:o}");
        }
    }
}

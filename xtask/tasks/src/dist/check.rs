//! Whether a release is the same bytes when it is built again, elsewhere and from nothing.

use std::{env, fs, path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};

use super::{CHECKSUMS, LIMIT};
use crate::{machine::Machine, setup::workspace, ui::Step};

const BUILD_LIMIT: Duration = Duration::from_hours(1);

/// Fails unless a second build of the commit, from a clone in another directory, has the checksums of this release.
pub fn same_bytes(release: &Path, machines: &[Machine]) -> Result<()> {
    let step = Step::new("dist", "second build");
    let elsewhere = tempfile::tempdir_in(workspace().join("target"))?;
    let clone = elsewhere.path().join("clone-elsewhere");
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--no-hardlinks"])
        .arg(workspace())
        .arg(&clone);
    step.output("cloning", &mut git, LIMIT)?;
    // This program takes the clone for its own that cargo's variable names.
    let mut again = Command::new(env::current_exe()?);
    again
        .args(["dist", "--arch"])
        .arg(
            machines
                .iter()
                .map(|m| m.arch)
                .collect::<Vec<_>>()
                .join(","),
        )
        .env("CARGO_MANIFEST_DIR", clone.join("xtask/tasks"))
        .current_dir(&clone);
    Step::visible("building it again", &mut again, BUILD_LIMIT)?;
    let again = clone.join("target/dist");
    let checksums = |release: &Path| fs::read_to_string(release.join(CHECKSUMS));
    let (first, second) = (checksums(release)?, checksums(&again)?);
    let differing: Vec<_> = first
        .lines()
        .filter(|line| !second.contains(line))
        .collect();
    ensure!(
        first == second,
        "not the same bytes in a second build (are there changes that are not committed?):\n{}",
        differing.join("\n")
    );
    step.end(true, "the same bytes");
    Ok(())
}

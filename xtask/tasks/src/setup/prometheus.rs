//! Prometheus and its `promtool`, for the tests of metrics: those of the system, or Debian's package, unpacked into the cache
//! without root. Nothing is installed, and no service is started.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::prometheus::VARIABLE;

use super::{apt::PrivateApt, cache::cached, debian::codename, search_path::find};
use crate::ui::Step;

const PACKAGE: &str = "prometheus";
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

const LIMIT: Duration = Duration::from_mins(1);

/// The directory that has both programs: `VAULT_TRACER_PROMETHEUS`, the system's, from the cache, or downloaded now.
pub fn prometheus() -> Result<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE).filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        ensure!(
            PROGRAMS.iter().all(|name| given.join(name).is_file()),
            "{VARIABLE}={}: no {} there",
            given.display(),
            PROGRAMS.join(" and ")
        );
        return Ok(given);
    }
    if let Some(directory) = of_the_system() {
        return Ok(directory);
    }
    cached(
        "Prometheus",
        &format!("prometheus-{}-{}", codename(), env::consts::ARCH),
        "from Debian",
        format_args!(
            "see that apt's package sources can be reached and run this again, or set {VARIABLE} \
             to a directory with prometheus and promtool"
        ),
        unpack,
    )
}

/// Where the system has both, if in one place.
fn of_the_system() -> Option<PathBuf> {
    let [prometheus, promtool] = PROGRAMS.map(find);
    let directory = prometheus?.parent()?.to_owned();
    (promtool?.parent() == Some(&directory)).then_some(directory)
}

/// Keeps the two programs of the package. Of its dependencies they need only libc.
fn unpack(path: &Path, step: &Step) -> Result<()> {
    let apt = PrivateApt::new(path, None, step)?;
    let root = path.join("root");
    let packages = apt.fetch(&[PACKAGE.to_owned()], step)?;
    apt.unpack(&packages, &root, step)?;
    for name in PROGRAMS {
        fs::rename(root.join("usr/bin").join(name), path.join(name))
            .with_context(|| format!("the package has no {name}"))?;
        let mut version = Command::new(path.join(name));
        step.output("trying it", version.arg("--version"), LIMIT)?;
    }
    Ok(fs::remove_dir_all(root)?)
}

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

use super::{
    apt::{self, PrivateApt},
    cache::Cache,
    debian::codename,
    programs::find,
};
use crate::ui::{Remedy, Step};

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
    let step = Step::new("setup", "Prometheus");
    let name = format!("prometheus-{}-{}", codename(), env::consts::ARCH);
    let entry = Cache::open()?
        .entry(&name, &step, |path| unpack(path, &step))
        .remedy(
            "setup: Prometheus: cannot get Debian's package",
            format_args!(
                "see that apt's package sources can be reached and run this again, or set {VARIABLE} \
                 to a directory with prometheus and promtool"
            ),
        )?;
    step.end(entry.fresh, "from Debian");
    Ok(entry.path)
}

/// Where the system has both, if in one place.
fn of_the_system() -> Option<PathBuf> {
    let [prometheus, promtool] = PROGRAMS.map(find);
    let directory = prometheus?.parent()?.to_owned();
    (promtool?.parent() == Some(&directory)).then_some(directory)
}

/// All that is kept of the package are the two programs. They need nothing of what it depends on but libc.
fn unpack(path: &Path, step: &Step) -> Result<()> {
    ensure!(apt::available(), "no apt here");
    let private = path.join("apt");
    let (apt, updated) = PrivateApt::new(private.clone(), step)?;
    // Of several package sources some may have failed without harm.
    let files = match apt.fetch(&[PACKAGE.to_owned()], step) {
        Ok(files) => files,
        Err(error) => return updated.and(Err(error)),
    };
    let root = private.join("root");
    for file in &files {
        apt::unpack(file, &root, step)?;
    }
    for name in PROGRAMS {
        let program = root.join("usr/bin").join(name);
        fs::rename(&program, path.join(name))
            .with_context(|| format!("the package has no {name}"))?;
        let mut version = Command::new(path.join(name));
        step.output("trying it", version.arg("--version"), LIMIT)?;
    }
    Ok(fs::remove_dir_all(private)?)
}

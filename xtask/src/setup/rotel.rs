//! The OpenTelemetry collector Rotel, for the tests of what is sent to one: from PyPI, pinned by its hash. This version is
//! the last that runs on glibc 2.17 and without Python.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{cache::Cache, wheel::Wheel};
use crate::ui::{Remedy, Step};

const WHEEL: Wheel = Wheel {
    what: "Rotel 0.0.1a8 (4 MB)",
    requirement: "rotel==0.0.1a8 \
        --hash=sha256:1f46581987ab0e4571b8deaeb271d656d6ae07398ae01169249a0ce73b65eae7 \
        --hash=sha256:049e3992d251318e9638a014d3e6b2d697c28ae873e3a2c43e6878c670cb59a2\n",
};
/// Where the wheel has it.
const AGENT: &str = "rotel/rotel-agent";

const LIMIT: Duration = Duration::from_mins(1);

/// What the tests are told in, and where one may be given.
pub const VARIABLE: &str = "VAULT_TRACER_ROTEL";

/// The executable: as given, from the cache, or downloaded now.
pub fn rotel() -> Result<PathBuf> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(path);
        return path
            .canonicalize()
            .with_context(|| format!("{VARIABLE}={}", path.display()));
    }
    let step = Step::new("setup", "Rotel");
    let name = format!("rotel-0.0.1a8-{}", env::consts::ARCH);
    let entry = Cache::open()?
        .entry(&name, &step, |path| download(path, &step))
        .remedy(
            "setup: Rotel: cannot get the collector",
            format_args!(
                "see that PyPI can be reached and run this again, or set {VARIABLE}=/path/to/rotel-agent"
            ),
        )?;
    step.end(entry.fresh, "from PyPI");
    Ok(entry.path.join("rotel-agent"))
}

/// All that is kept of the wheel is the program.
fn download(path: &Path, step: &Step) -> Result<()> {
    let agent = path.join("rotel-agent");
    WHEEL.get(path, step, |unpacked| {
        fs::rename(unpacked.join(AGENT), &agent)
            .context("the wheel has no rotel-agent where it should be")?;
        let executable = fs::Permissions::from_mode(0o755);
        Ok(fs::set_permissions(&agent, executable)?)
    })?;
    step.output("trying it", Command::new(&agent).arg("--version"), LIMIT)
        .map(drop)
}

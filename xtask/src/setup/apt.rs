//! apt, in two ways: with private state and no root, to download packages for the cache; and as
//! root, to install the few system programs that have to be installed. Either way apt verifies
//! what it downloads by the signatures of the system's own package sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::unistd::Uid;

use super::programs::find as find_program;
use crate::ui::Step;

const UPDATE_LIMIT: Duration = Duration::from_mins(2);
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);
const UNPACK_LIMIT: Duration = Duration::from_mins(5);
const QUERY_LIMIT: Duration = Duration::from_mins(1);
/// apt's own: a server that says nothing for this long is given up.
const NETWORK: [&str; 4] = [
    "-oAcquire::Retries=2",
    "-oAcquire::http::Timeout=20",
    "-oAcquire::https::Timeout=20",
    "-q",
];

/// Whether this system has apt, with or without root.
pub fn available() -> bool {
    ["apt-get", "apt-cache", "dpkg-deb"]
        .iter()
        .all(|name| find_program(name).is_some())
}

/// apt with its lists and downloads in a private directory.
pub struct PrivateApt {
    directory: PathBuf,
    /// A list of package sources instead of the system's.
    sources: Option<PathBuf>,
}

impl PrivateApt {
    /// Prepares the directory and fetches the package lists. Some of the user's package sources may
    /// fail without harm, so a failure is returned beside the instance, for when nothing is found.
    pub fn new(directory: PathBuf, step: &Step) -> Result<(Self, Result<String>)> {
        Self::with(directory, None, step)
    }

    /// The same with this package source, in the words of `sources.list(5)`, instead of the system's.
    pub fn of_source(
        directory: PathBuf,
        source: &str,
        step: &Step,
    ) -> Result<(Self, Result<String>)> {
        fs::create_dir_all(&directory)?;
        let list = directory.join("sources.list");
        fs::write(&list, source)?;
        Self::with(directory, Some(list), step)
    }

    fn with(
        directory: PathBuf,
        sources: Option<PathBuf>,
        step: &Step,
    ) -> Result<(Self, Result<String>)> {
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let apt = Self { directory, sources };
        let mut update = apt.command("apt-get");
        // By default apt calls an update without any server's answer a success.
        update.args(["-oAPT::Update::Error-Mode=any", "update"]);
        let updated = step.output("reading Debian's package lists", &mut update, UPDATE_LIMIT);
        Ok((apt, updated))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(NETWORK)
            .arg(format!(
                "-oDir::State::Lists={}",
                self.directory.join("lists").display()
            ))
            .arg(format!(
                "-oDir::Cache={}",
                self.directory.join("cache").display()
            ))
            .args([
                "-oDebug::NoLocking=1",
                "-oAPT::Sandbox::User=",
                "-oAPT::Get::List-Cleanup=0",
            ])
            .env("LC_ALL", "C");
        if let Some(list) = &self.sources {
            command
                .arg(format!("-oDir::Etc::SourceList={}", list.display()))
                .arg("-oDir::Etc::SourceParts=/dev/null");
        }
        command
    }

    /// What `apt-cache show` says of the newest version of a package.
    pub fn show(&self, package: &str, step: &Step) -> Result<String> {
        let mut query = self.command("apt-cache");
        query.args(["show", "--no-all-versions", package]);
        step.output("looking for it", &mut query, QUERY_LIMIT)
    }

    /// Downloads exactly these packages.
    pub fn fetch(&self, packages: &[String], step: &Step) -> Result<Vec<PathBuf>> {
        let into = self.directory.join("fetched");
        fs::create_dir(&into)?;
        let mut download = self.command("apt-get");
        download.arg("download").args(packages).current_dir(&into);
        let what = format!("downloading {}", packages.join(" "));
        step.output(&what, &mut download, DOWNLOAD_LIMIT)?;
        packages_in(&into)
    }

    /// What `apt-cache madison` says of these packages.
    pub fn madison(&self, packages: &[&str], step: &Step) -> Result<String> {
        let mut query = self.command("apt-cache");
        step.output(
            "looking for a compiler",
            query.arg("madison").args(packages),
            QUERY_LIMIT,
        )
    }

    /// Downloads packages (`name=version`), with what they depend on and the system does not have.
    pub fn download(&self, packages: &[String], step: &Step) -> Result<Vec<PathBuf>> {
        let mut install = self.command("apt-get");
        install.args([
            "install",
            "-y",
            "--no-install-recommends",
            "--download-only",
            "--reinstall",
        ]);
        let what = format!("downloading {}", packages[0].replace('=', " "));
        step.output(&what, install.args(packages), DOWNLOAD_LIMIT)?;
        packages_in(&self.directory.join("cache/archives"))
    }
}

fn packages_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<_> = fs::read_dir(directory)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
    Ok(files)
}

/// The addresses of the system's package sources, one a line.
pub fn repositories(step: &Step) -> Result<String> {
    let mut query = Command::new("apt-get");
    query.args([
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ]);
    step.output("asking apt for its sources", &mut query, QUERY_LIMIT)
}

/// Unpacks a package below `root`, without installing it.
pub fn unpack(package: &Path, root: &Path, step: &Step) -> Result<()> {
    let name = package
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let mut command = Command::new("dpkg-deb");
    step.output(
        &format!("unpacking {name}"),
        command.arg("-x").arg(package).arg(root),
        UNPACK_LIMIT,
    )?;
    Ok(())
}

/// Whether packages can be installed by us: a system with apt, and root.
pub fn can_install() -> bool {
    available() && Uid::effective().is_root()
}

/// Installs packages on the system, having said so.
pub fn install(packages: &[&str], step: &Step) -> Result<()> {
    step.note(format_args!(
        "installing {} with apt-get",
        packages.join(" ")
    ));
    let attempt = || {
        let mut command = Command::new("apt-get");
        command
            .args(NETWORK)
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        step.output("installing", &mut command, DOWNLOAD_LIMIT)
    };
    if attempt().is_ok() {
        return Ok(());
    }
    // Package lists that are missing or out of date are the usual reason. What else it may be,
    // the second attempt tells.
    let mut update = Command::new("apt-get");
    let updated = step.output(
        "apt-get update",
        update.args(NETWORK).arg("update"),
        UPDATE_LIMIT,
    );
    let installed = attempt().map(drop);
    match updated {
        Err(error) => installed.context(error),
        Ok(_) => installed,
    }
}

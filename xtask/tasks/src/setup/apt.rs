//! apt with private state and without root, to download packages for the cache; and as root, to install system programs.
//! In both cases apt verifies the signatures of the package sources.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use nix::unistd::Uid;

use super::search_path::find as find_program;
use crate::{machine::Machine, ui::Step};

const UPDATE_LIMIT: Duration = Duration::from_mins(2);
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(10);
const UNPACK_LIMIT: Duration = Duration::from_mins(5);
const QUERY_LIMIT: Duration = Duration::from_mins(1);
/// Timeouts of apt itself for silent servers.
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
    /// Options for packages of another architecture.
    foreign: Vec<String>,
    /// Some of the user's package sources may fail without harm: an error counts only when nothing is found.
    update_error: Option<String>,
}

impl PrivateApt {
    /// Fetches the package lists into a directory below `path`. `source` replaces the system's package sources, in the
    /// format of `sources.list(5)`.
    pub fn new(path: &Path, source: Option<&str>, step: &Step) -> Result<Self> {
        Self::of(Machine::HERE, path, source, step)
    }

    /// The same for packages of an architecture. Of another than this host's none is installed.
    pub fn of(machine: Machine, path: &Path, source: Option<&str>, step: &Step) -> Result<Self> {
        ensure!(available(), "needs apt and dpkg-deb, which are not here");
        let directory = path.join("apt");
        for name in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(name))?;
        }
        let list = directory.join("sources.list");
        if let Some(source) = source {
            fs::write(&list, source)?;
        }
        let mut foreign = Vec::new();
        if !machine.is_here() {
            let installed = directory.join("status");
            fs::write(&installed, "")?;
            foreign = vec![
                format!("-oAPT::Architecture={}", machine.debian),
                format!("-oAPT::Architectures={}", machine.debian),
                format!("-oDir::State::status={}", installed.display()),
            ];
        }
        let mut apt = Self {
            directory,
            sources: source.map(|_| list),
            foreign,
            update_error: None,
        };
        let mut update = apt.command("apt-get");
        // By default apt calls an update without any server's answer a success.
        update.args(["-oAPT::Update::Error-Mode=any", "update"]);
        let updated = step.output("reading Debian's package lists", &mut update, UPDATE_LIMIT);
        apt.update_error = updated.err().map(|error| format!("{error:#}"));
        Ok(apt)
    }

    /// `error`, or that of the package lists if there was one.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        match &self.update_error {
            Some(update) => anyhow!("{update}"),
            None => error,
        }
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
            .args(&self.foreign)
            .env("LC_ALL", "C");
        if let Some(list) = &self.sources {
            command
                .arg(format!("-oDir::Etc::SourceList={}", list.display()))
                .arg("-oDir::Etc::SourceParts=/dev/null");
        }
        command
    }

    /// Every package that a package depends on, directly or not, one a line; lines that begin with a space are details.
    pub fn depends(&self, package: &str, step: &Step) -> Result<String> {
        const OTHERS: [&str; 6] = [
            "--no-recommends",
            "--no-suggests",
            "--no-conflicts",
            "--no-breaks",
            "--no-replaces",
            "--no-enhances",
        ];
        self.query(
            &[&["depends", "--recurse"], &OTHERS[..], &[package]].concat(),
            step,
        )
    }

    pub fn madison(&self, packages: &[&str], step: &Step) -> Result<String> {
        self.query(&[&["madison"], packages].concat(), step)
    }

    fn query(&self, arguments: &[&str], step: &Step) -> Result<String> {
        let mut query = self.command("apt-cache");
        let found = step.output("looking for packages", query.args(arguments), QUERY_LIMIT);
        found.map_err(|error| self.explain(error))
    }

    pub fn fetch(&self, packages: &[String], step: &Step) -> Result<Vec<PathBuf>> {
        let directory = self.directory.join("fetched");
        fs::create_dir(&directory)?;
        let mut download = self.command("apt-get");
        download.arg("download").current_dir(&directory);
        self.get(download, packages, &directory, step)
    }

    /// Downloads packages (`name=version`), with their dependencies that the system does not have.
    pub fn download(&self, packages: &[String], step: &Step) -> Result<Vec<PathBuf>> {
        let mut install = self.command("apt-get");
        install.args(["install", "-y", "--no-install-recommends"]);
        install.args(["--download-only", "--reinstall"]);
        let directory = self.directory.join("cache/archives");
        self.get(install, packages, &directory, step)
    }

    fn get(
        &self,
        mut command: Command,
        packages: &[String],
        directory: &Path,
        step: &Step,
    ) -> Result<Vec<PathBuf>> {
        let what = format!("downloading {}", packages.join(" "));
        step.output(&what, command.args(packages), DOWNLOAD_LIMIT)
            .map_err(|error| self.explain(error))?;
        let mut files: Vec<_> = fs::read_dir(directory)?
            .map(|entry| entry.map(|e| e.path()))
            .collect::<Result<_, _>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "deb"));
        Ok(files)
    }

    /// Unpacks downloaded packages below `root` without installing them, and removes the private directory.
    pub fn unpack(self, packages: &[PathBuf], root: &Path, step: &Step) -> Result<()> {
        for package in packages {
            let name = package.file_stem().unwrap_or_default().display();
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(package).arg(root);
            step.output(&format!("unpacking {name}"), &mut command, UNPACK_LIMIT)?;
        }
        Ok(fs::remove_dir_all(self.directory)?)
    }
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

/// Whether packages can be installed by us: a system with apt, and root.
pub fn can_install() -> bool {
    available() && Uid::effective().is_root()
}

/// Prints what it does, and installs packages on the system.
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
    // Package lists that are missing or out of date are the usual reason; the second attempt reports any other.
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

//! `cargo xtask dist`: what is released. Everything is a function of the commit and of pinned tools: times are the commit's, owners
//! are root, and names of directories of this machine are in none of it.

mod check;
mod executable;
mod image;
mod packages;
mod sbom;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::sys::stat::{Mode, umask};
use sha2::{Digest, Sha256};

use crate::{
    machine::{MACHINES, Machine},
    setup::{READELF, require, workspace},
    ui::Step,
};

/// Programs of the system, and the Debian packages that have them.
const PROGRAMS: &[(&str, &str)] = &[
    ("dpkg-deb", "dpkg"),
    ("rpmbuild", "rpm"),
    ("tar", "tar"),
    ("gzip", "gzip"),
    READELF,
];

const CHECKSUMS: &str = "SHA256SUMS";

/// A release's version: the workspace's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const LIMIT: Duration = Duration::from_mins(2);

#[derive(clap::Args)]
pub struct DistOptions {
    /// Architectures: amd64, arm64
    #[arg(long, value_delimiter = ',', default_value = "amd64,arm64", value_parser = Machine::named)]
    arch: Vec<Machine>,
    /// Then build the commit a second time, from a clone elsewhere, and fail unless all bytes are the same
    #[arg(long)]
    check: bool,
    /// Then install the packages in Debian 11 and 12 under QEMU, with systemd: start, read of a hang, upgrade, remove
    #[arg(long)]
    pub install_check: bool,
}

/// The oldest glibc that the executable runs on: RHEL 8's.
pub const GLIBC: &str = "2.28";

impl DistOptions {
    /// All architectures, and all checks.
    pub fn all_checked() -> Self {
        Self {
            arch: MACHINES.into(),
            check: true,
            install_check: true,
        }
    }
}

/// Builds the release, and returns its directory.
pub fn run(options: &DistOptions) -> Result<PathBuf> {
    let begun = Instant::now();
    let directory = build(&options.arch)?;
    for file in files(&directory)? {
        let size = fs::metadata(directory.join(&file))?.len();
        eprintln!("  {file} ({:.1} MB)", size as f64 / 1e6);
    }
    eprintln!("dist: {:.0} s", begun.elapsed().as_secs_f64());
    if options.check {
        check::same_bytes(&directory, &options.arch)?;
    }
    println!("{}", directory.display());
    Ok(directory)
}

/// The executable that is released for an architecture.
pub fn agent(machine: Machine) -> Result<PathBuf> {
    executable::build(&Release::of_this_clone(VERSION)?, machine)
}

/// How the names of packages end.
pub const ENDINGS: [&str; 2] = ["deb", "rpm"];

/// The packages for this host in a directory with some of this version, in the order of [`ENDINGS`].
pub fn packages_in(directory: &Path, version: &str) -> [PathBuf; 2] {
    let Machine { arch, debian, .. } = Machine::HERE;
    [
        format!("vault-tracer_{version}_{debian}.deb"),
        format!("vault-tracer-{version}-1.{arch}.rpm"),
    ]
    .map(|name| directory.join(name))
}

/// Makes packages for this host of the same files as a newer version, in a new directory.
pub fn newer(directory: &Path) -> Result<[PathBuf; 2]> {
    let release = Release::of_this_clone(&format!("{VERSION}.1"))?;
    let step = Step::new("dist", "a newer version");
    let agent = executable::build(&release, Machine::HERE)?;
    let tree = tree::fill(&release, &agent, &agent, directory, &step)?;
    packages::make(&release, Machine::HERE, &tree, directory, &step)?;
    step.end(true, "packages");
    Ok(packages_in(directory, &release.version))
}

fn build(machines: &[Machine]) -> Result<PathBuf> {
    require(PROGRAMS)?;
    let release = Release::of_this_clone(VERSION)?;
    let directory = release.root.join("target/dist");
    if directory.exists() {
        fs::remove_dir_all(&directory).context("cannot remove the last release")?;
    }
    fs::create_dir_all(&directory)?;
    // It writes the man pages of every architecture.
    let of_this_host = executable::build(&release, Machine::HERE)?;
    for machine in machines {
        let agent = if machine.is_here() {
            of_this_host.clone()
        } else {
            executable::build(&release, *machine)?
        };
        let step = Step::new("dist", machine.arch);
        let staging = tempfile::tempdir_in(release.root.join("target"))?;
        let tree = tree::fill(&release, &agent, &of_this_host, staging.path(), &step)?;
        packages::make(&release, *machine, &tree, &directory, &step)?;
        image::make(&release, *machine, &tree, &directory, &step)?;
        sbom::make(&release, *machine, &directory, &step)?;
        step.end(true, "packages, archive, image, SBOM");
    }
    fs::write(directory.join(CHECKSUMS), checksums(&directory)?)?;
    Ok(directory)
}

/// What all files are made from.
struct Release {
    /// The clone.
    root: PathBuf,
    /// Time of the commit, seconds: of all files (`SOURCE_DATE_EPOCH`).
    epoch: u64,
    /// Of the packages.
    version: String,
}

impl Release {
    fn of_this_clone(version: &str) -> Result<Self> {
        // Whatever the user's is: permissions are part of the packages.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let root = workspace();
        Ok(Self {
            epoch: commit_time(&root)?,
            root,
            version: version.to_owned(),
        })
    }

    /// A program whose output depends on nothing but its input.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command
            .env("SOURCE_DATE_EPOCH", self.epoch.to_string())
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command
    }

    /// `tar` that packs the directory `tree` as root's.
    fn tar(&self, tree: &Path, into: &Path) -> Command {
        let mut tar = self.program("tar");
        tar.args(["--create", "--format=ustar", "--sort=name"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .arg(format!("--mtime=@{}", self.epoch))
            .arg("--file")
            .arg(into)
            .arg("--directory")
            .arg(tree);
        tar
    }
}

fn commit_time(root: &Path) -> Result<u64> {
    let mut log = Command::new("git");
    log.args(["log", "-1", "--format=%ct"]).current_dir(root);
    let step = Step::new("dist", "commit");
    let time = step.output("reading the commit's time", &mut log, LIMIT);
    let time = time.context("a release is made from a clone")?;
    Ok(time.trim().parse()?)
}

/// Names of the files in a directory, in order.
fn files(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let files = entries.iter().filter(|entry| entry.path().is_file());
    let mut names: Vec<_> = files
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// As `sha256sum --check` reads them.
fn checksums(directory: &Path) -> Result<String> {
    let lines = files(directory)?.into_iter().map(|name| {
        let bytes = fs::read(directory.join(&name))?;
        Ok(format!("{}  {name}\n", sha256(&bytes)))
    });
    lines.collect()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits: Vec<_> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// Largest executable, bytes.
const MAX_EXECUTABLE: u64 = 15_000_000;

fn ensure_small(executable: &Path) -> Result<()> {
    let size = fs::metadata(executable)?.len();
    ensure!(
        size <= MAX_EXECUTABLE,
        "{} has {size} bytes, more than {MAX_EXECUTABLE}",
        executable.display()
    );
    Ok(())
}

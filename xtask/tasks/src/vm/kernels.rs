//! Debian's own kernels, downloaded and unpacked into the cache, not installed. They are found by the
//! names of metapackages: a package of one exact version vanishes when the next one is out.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use crate::{
    machine::Machine,
    setup::{
        apt::{self, PrivateApt},
        cache::Cache,
    },
    ui::{Remedy, Step},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its series, or `latest`.
    pub name: &'static str,
    /// Which of Debian's archives: `debian`, `debian-security`.
    archive: &'static str,
    suite: &'static str,
    /// Of the name of the metapackage, `linux-image-SERIEScloud-ARCH`.
    series: &'static str,
}

pub const CHOICES: [Choice; 4] = [
    Choice {
        name: "5.10",
        archive: "debian-security",
        suite: "bullseye-security",
        series: "",
    },
    Choice {
        name: "6.1",
        archive: "debian-security",
        suite: "bookworm-security",
        series: "",
    },
    Choice {
        name: "6.12",
        archive: "debian-security",
        suite: "bookworm-security",
        series: "6.12-",
    },
    Choice {
        name: "latest",
        archive: "debian",
        suite: "trixie-backports",
        series: "",
    },
];

/// Debian's keys, where the package `debian-archive-keyring` puts them.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Used where this system's package sources name no mirror.
const MIRROR: &str = "http://deb.debian.org/";

pub struct Kernel {
    pub machine: Machine,
    pub name: &'static str,
    pub image: PathBuf,
    modules: Vec<(String, PathBuf)>,
}

impl Kernel {
    /// The file of a module, if this kernel has it as one.
    pub fn module(&self, name: &str) -> Option<&Path> {
        let found = self.modules.iter().find(|(module, _)| module == name);
        found.map(|(_, path)| path.as_path())
    }

    fn unpacked(machine: Machine, name: &'static str, directory: &Path) -> Result<Self> {
        let files = files_below(directory)?;
        let is_image = |file: &&PathBuf| name_of(file).starts_with("vmlinuz");
        let image = files.iter().find(is_image).cloned();
        Ok(Self {
            machine,
            name,
            image: image.context("no vmlinuz among its files")?,
            modules: files
                .into_iter()
                .filter_map(|file| Some((module_name(&file)?, file)))
                .collect(),
        })
    }
}

fn files_below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory);
        for entry in entries.with_context(|| format!("cannot read {}", directory.display()))? {
            let entry = entry?;
            // A link out of the package is not followed.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// `.../nf_tables.ko.xz` -> `nf_tables`. The kernel takes `-` and `_` in names for the same.
fn module_name(path: &Path) -> Option<String> {
    let file = name_of(path);
    let (name, ending) = file.split_once(".ko")?;
    (ending.is_empty() || ending.starts_with('.')).then(|| name.replace('-', "_"))
}

/// The kernel, from the cache or downloaded now; `refresh` downloads it anew.
pub fn get(choice: &Choice, machine: Machine, refresh: bool) -> Result<Kernel> {
    let step = Step::new("vm", &format!("kernel {}", choice.name));
    let cache = Cache::open()?;
    let name = format!("linux-{}-{}", choice.name, machine.arch);
    if refresh {
        cache.discard(&name, &step)?;
    }
    let entry = cache
        .entry(&name, &step, |path| download(choice, machine, path, &step))
        .remedy(
            format_args!("vm: cannot get Debian's kernel {}", choice.name),
            format_args!("see that {MIRROR} can be reached and run this again"),
        )?;
    let kernel = Kernel::unpacked(machine, choice.name, &entry.path)?;
    let image = name_of(&kernel.image);
    step.end(entry.fresh, format_args!("{image} from Debian"));
    Ok(kernel)
}

fn download(choice: &Choice, machine: Machine, path: &Path, step: &Step) -> Result<()> {
    let source = source(machine, choice.archive, choice.suite, step)?;
    let apt = PrivateApt::of(machine, path, Some(&source), step)?;
    let metapackage = format!("linux-image-{}cloud-{}", choice.series, machine.debian);
    let packages = of_one_version(&apt.depends(&metapackage, step)?);
    ensure!(!packages.is_empty(), "{metapackage} depends on no kernel");
    let files = apt.fetch(&packages, step)?;
    apt.unpack(&files, &path.join("root"), step)?;
    Kernel::unpacked(machine, choice.name, path).map(drop)
}

/// The line of `sources.list(5)` for a suite of one of Debian's archives.
pub fn source(machine: Machine, archive: &str, suite: &str, step: &Step) -> Result<String> {
    ensure!(
        Path::new(KEYRING).exists(),
        "Debian's keys are not at {KEYRING} (package debian-archive-keyring)"
    );
    let (arch, mirror) = (machine.debian, mirror(archive, step));
    Ok(format!(
        "deb [arch={arch} signed-by={KEYRING}] {mirror}{archive} {suite} main\n"
    ))
}

/// The mirror that this system uses for Debian, else the usual one.
fn mirror(archive: &str, step: &Step) -> String {
    let targets = apt::repositories(step).unwrap_or_default();
    mirror_among(&targets, archive).unwrap_or(MIRROR).to_owned()
}

fn mirror_among<'a>(repositories: &'a str, archive: &str) -> Option<&'a str> {
    let base = |line: &'a str| {
        let base = line.trim_end_matches('/').strip_suffix(archive)?;
        base.ends_with('/').then_some(base)
    };
    repositories.lines().find_map(base)
}

/// The packages of one kernel version among the dependencies of a metapackage. Up to 6.x that is one; 7.x has its image
/// and its modules in two more.
fn of_one_version(depends: &str) -> Vec<String> {
    let parts = ["image", "binary", "modules", "base"].map(|part| format!("linux-{part}-"));
    let is_kernel = |package: &&str| {
        let version = parts.iter().find_map(|part| package.strip_prefix(&**part));
        version.is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit()))
    };
    let packages = depends.lines().filter(is_kernel);
    packages.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packages_of_one_version_are_the_kernel() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-7.3.4+deb13-cloud-amd64\n\
            linux-image-7.3.4+deb13-cloud-amd64\n  Depends: linux-base-7.3.4+deb13-cloud-amd64\n |Depends: kmod\n\
            linux-base-7.3.4+deb13-cloud-amd64\nlinux-base\nkmod\n<linux-initramfs-tool>\n";
        let found = of_one_version(depends);
        let all = ["image", "base"].map(|part| format!("linux-{part}-7.3.4+deb13-cloud-amd64"));
        assert_eq!(found, all);
        assert!(of_one_version("linux-base\n").is_empty());
    }

    #[test]
    fn the_systems_own_mirror_is_used() {
        let listed = "http://mirror.example/debian/\nhttp://mirror.example/debian-security/\nhttps://dl.example/apt/\n";
        assert_eq!(
            mirror_among(listed, "debian"),
            Some("http://mirror.example/")
        );
        assert_eq!(
            mirror_among(listed, "debian-security"),
            Some("http://mirror.example/")
        );
        assert_eq!(
            mirror_among("http://archive.example/ubuntu/\n", "debian"),
            None
        );
    }

    #[test]
    fn modules_are_known_by_their_names() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(name("/m/nf_tables.ko").as_deref(), Some("nf_tables"));
        assert_eq!(name("/m/cls-flow.ko.xz").as_deref(), Some("cls_flow"));
        assert_eq!(name("/m/modules.builtin"), None);
        assert_eq!(name("/m/x.kotlin"), None);
    }
}

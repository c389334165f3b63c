//! Tarball, Debian package and RPM of the same files.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{GLIBC, LIMIT, Machine, Release, tree::CONFIGURATION};
use crate::ui::Step;

const PACKAGES: &str = "contrib/packages";

pub fn make(
    release: &Release,
    machine: Machine,
    tree: &Path,
    into: &Path,
    step: &Step,
) -> Result<()> {
    tarball(release, machine, tree, into, step)?;
    rpm(release, machine, tree, into, step)?;
    deb(release, machine, tree, into, step)
}

/// For `tar --strip-components=1 --directory=/usr/local`.
fn tarball(
    release: &Release,
    machine: Machine,
    tree: &Path,
    into: &Path,
    step: &Step,
) -> Result<()> {
    let name = format!("vault-tracer-{}-{}", release.version, machine.arch);
    let plain = into.join(format!("{name}.tar"));
    let mut tar = release.tar(&tree.join("usr"), &plain);
    let transformed = tar.arg(format!("--transform=s,^\\.,{name},")).arg(".");
    step.output("tarball", transformed, LIMIT)?;
    let mut gzip = release.program("gzip");
    let compressed = gzip.args(["-9", "--no-name"]).arg(plain);
    step.output("tarball", compressed, LIMIT).map(drop)
}

/// Changes the tree: `DEBIAN` is added, and completions for zsh are where Debian has them.
fn deb(release: &Release, machine: Machine, tree: &Path, into: &Path, step: &Step) -> Result<()> {
    let zsh = tree.join("usr/share/zsh");
    fs::rename(zsh.join("site-functions"), zsh.join("vendor-completions"))?;
    let control = tree.join("DEBIAN");
    fs::create_dir(&control)?;
    let from = release.root.join(PACKAGES).join("deb");
    for name in super::files(&from)? {
        let file = control.join(&name);
        fs::copy(from.join(&name), &file)?;
        if name == "control" {
            let text = fs::read_to_string(&file)?;
            fs::write(&file, release.filled(&text, machine.debian))?;
        }
    }
    fs::write(control.join("conffiles"), format!("/{CONFIGURATION}\n"))?;
    let name = format!("vault-tracer_{}_{}.deb", release.version, machine.debian);
    let mut dpkg = release.program("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]);
    let built = dpkg.arg(tree).arg(into.join(name));
    step.output("Debian package", built, LIMIT).map(drop)
}

fn rpm(release: &Release, machine: Machine, tree: &Path, into: &Path, step: &Step) -> Result<()> {
    let work = tempfile::tempdir()?;
    let spec = work.path().join("vault-tracer.spec");
    let template = release.root.join(PACKAGES).join("vault-tracer.spec");
    let text = fs::read_to_string(&template).with_context(|| template.display().to_string())?;
    fs::write(&spec, release.filled(&text, machine.arch))?;
    let define = |name: &str, value: &str| format!("--define={name} {value}");
    let mut rpmbuild = release.program("rpmbuild");
    rpmbuild
        .args(["-bb", "--nodeps", "--target"])
        .arg(format!("{}-linux", machine.arch))
        .arg(define("_topdir", &work.path().to_string_lossy()))
        .arg(define("_rpmdir", &into.to_string_lossy()))
        .arg(define(
            "_rpmfilename",
            "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        ))
        .arg(define("tree", &tree.to_string_lossy()))
        .arg(define("_buildhost", "localhost"))
        .arg(define("use_source_date_epoch_as_buildtime", "1"))
        .arg(define("clamp_mtime_to_source_date_epoch", "1"))
        .arg(spec);
    step.output("RPM", &mut rpmbuild, LIMIT).map(drop)
}

impl Release {
    /// With the version and the names of this architecture.
    fn filled(&self, template: &str, arch: &str) -> String {
        let filled = template.replace("@VERSION@", &self.version);
        filled.replace("@ARCH@", arch).replace("@GLIBC@", GLIBC)
    }
}

//! The files of a package, where they lie on the host.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{LIMIT, Release};
use crate::ui::Step;

/// Files and directories of the clone, and where they are installed. Of a directory all files that it has directly.
const COPIED: &[(&str, &str)] = &[
    ("README.md", "usr/share/doc/vault-tracer"),
    ("CHANGELOG.md", "usr/share/doc/vault-tracer"),
    ("LICENSE-GPL", "usr/share/doc/vault-tracer"),
    ("LICENSE-MIT", "usr/share/doc/vault-tracer"),
    ("SECURITY.md", "usr/share/doc/vault-tracer"),
    ("contrib/packages/copyright", "usr/share/doc/vault-tracer"),
    ("docs", "usr/share/doc/vault-tracer/docs"),
    (
        "contrib/prometheus/alerts.yml",
        "usr/share/vault-tracer/prometheus",
    ),
    (
        "contrib/grafana/dashboard.json",
        "usr/share/vault-tracer/grafana",
    ),
];

/// The service: its files, and under which names and where they are installed.
const SERVICE: [(&str, &str); 3] = [
    (
        "vault-tracer.service",
        "usr/lib/systemd/system/vault-tracer.service",
    ),
    (
        "vault-tracer.sysusers",
        "usr/lib/sysusers.d/vault-tracer.conf",
    ),
    ("vault-tracer.default", CONFIGURATION),
];
const SYSTEMD: &str = "contrib/systemd";
/// What operators change, and an upgrade keeps.
pub const CONFIGURATION: &str = "etc/default/vault-tracer";

const SHELLS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/vault-tracer"),
    ("zsh", "usr/share/zsh/site-functions/_vault-tracer"),
    (
        "fish",
        "usr/share/fish/vendor_completions.d/vault-tracer.fish",
    ),
];

/// Fills a directory below `staging` with the files of the package, and returns it. `of_this_host` is the same program as
/// `agent`, and can run here.
pub fn fill(
    release: &Release,
    agent: &Path,
    of_this_host: &Path,
    staging: &Path,
    step: &Step,
) -> Result<PathBuf> {
    let tree = staging.join("tree");
    install(agent, &tree.join("usr/bin"), 0o755)?;
    for (from, to) in COPIED {
        let from = release.root.join(from);
        let to = tree.join(to);
        if from.is_dir() {
            for file in super::files(&from)? {
                install(&from.join(file), &to, 0o644)?;
            }
        } else {
            install(&from, &to, 0o644)?;
        }
    }
    service(&release.root.join(SYSTEMD), &tree)?;
    for (shell, path) in SHELLS {
        let mut command = release.program(&of_this_host.to_string_lossy());
        let text = step.output("completions", command.args(["completions", shell]), LIMIT)?;
        write(&tree.join(path), text.as_bytes())?;
    }
    let pages = tree.join("usr/share/man/man1");
    fs::create_dir_all(&pages)?;
    let mut man = release.program(&of_this_host.to_string_lossy());
    step.output("man pages", man.arg("man").arg(&pages), LIMIT)?;
    let mut gzip = release.program("gzip");
    gzip.args(["-9", "--no-name"]);
    gzip.args(super::files(&pages)?.iter().map(|page| pages.join(page)));
    step.output("man pages", &mut gzip, LIMIT)?;
    Ok(tree)
}

fn service(from: &Path, tree: &Path) -> Result<()> {
    for (file, to) in SERVICE {
        let bytes = fs::read(from.join(file)).with_context(|| file.to_owned())?;
        write(&tree.join(to), &bytes)?;
    }
    Ok(())
}

fn install(file: &Path, directory: &Path, mode: u32) -> Result<()> {
    let name = file.file_name().context("no name")?;
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let to = directory.join(name);
    write(&to, &bytes)?;
    Ok(fs::set_permissions(to, PermissionsExt::from_mode(mode))?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().context("no directory")?)?;
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, PermissionsExt::from_mode(0o644))?)
}

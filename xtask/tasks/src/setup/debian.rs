//! Debian's Rust compiler with its BPF `core`, unpacked into the cache without root. Debian ships
//! the two prebuilt beside each other: no nightly, no rust-src, no `-Zbuild-std`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};

use super::{
    active::{find_llvm, has_bpf_core},
    apt::PrivateApt,
    cache::{Cache, make_executable},
    toolchain::Compiler,
};
use crate::ui::{Remedy, Step};

/// Compiler, standard library, BPF core library: as in bookworm and trixie, and as in later suites.
pub(super) const FAMILIES: [[&str; 3]; 2] = [
    [
        "rustc-web",
        "libstd-rust-web-dev",
        "libstd-rust-web-dev-bpf",
    ],
    ["rustc", "libstd-rust-dev", "libstd-rust-dev-bpf"],
];

/// The oldest release that compiles the workspace.
const NEEDED: &str = env!("CARGO_PKG_RUST_VERSION");

/// rustc finds its own tree by its path, but not its LLVM.
const WRAPPER: &str = r#"#!/bin/sh
# rustc of the Debian packages unpacked beside this file.
here=${0%/*}/root/usr
for lib in "$here"/lib "$here"/lib/*-linux-gnu; do path=${path:+$path:}$lib; done
LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} exec "$here/bin/rustc" "$@"
"#;

/// Debian's compiler, from the cache or downloaded now.
pub fn compiler(cache: &Cache) -> Result<Compiler> {
    let step = Step::new("setup", "BPF compiler");
    let name = format!("rustc-{}-{NEEDED}-{}", codename(), env::consts::ARCH);
    let entry = cache.entry(&name, &step, |path| prepare(path, &step)).remedy(
        "setup: BPF compiler: cannot get Debian's compiler",
        "see that apt's package sources can be reached and run this again, or put rust-src into the \
         toolchain in use: `rustup component add rust-src`",
    )?;
    let compiler = describe(&entry.path, &step).remedy(
        "setup: BPF compiler: Debian's compiler, in the cache, does not work",
        format_args!("remove {} and run this again", entry.path.display()),
    )?;
    let result = format!("rustc {} from Debian", compiler.release());
    step.end(entry.fresh, result);
    Ok(compiler)
}

/// Packages of one suite may not run on another.
pub(super) fn codename() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    codename.unwrap_or("debian").trim_matches('"').into()
}

fn prepare(path: &Path, step: &Step) -> Result<()> {
    let apt = PrivateApt::new(path, None, step)?;
    let madison = apt.madison(FAMILIES.as_flattened(), step)?;
    let packages = choose(&madison, NEEDED)
        .ok_or_else(|| apt.explain(anyhow!("apt's package sources have none")))
        .with_context(|| {
            format!("no rustc >= {NEEDED} with a libstd-rust-*dev-bpf of the same version there")
        })?;
    let files = apt.download(&packages, step)?;
    check_libc(&files)?;
    apt.unpack(&files, &path.join("root"), step)?;
    write_script(&path.join("rustc"), WRAPPER)?;
    describe(path, step).map(drop)
}

/// A libc among the downloads means that the packages want a newer one than the system has: the
/// unpacked programs would not start.
fn check_libc(files: &[PathBuf]) -> Result<()> {
    let names = files.iter().filter_map(|file| file.file_name()?.to_str());
    let libc = names.into_iter().find(|name| name.starts_with("libc6_"));
    ensure!(
        libc.is_none(),
        "the packages want a newer libc ({}) than this system has; bring the system up to date first",
        libc.unwrap_or_default()
    );
    Ok(())
}

pub fn write_script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    make_executable(path)
}

fn describe(path: &Path, step: &Step) -> Result<Compiler> {
    let usr = path.join("root/usr");
    ensure!(
        has_bpf_core(&usr),
        "no core library for BPF in {}",
        usr.display()
    );
    let llvm = find_llvm(&[usr.join("lib")]).or_else(|| find_llvm(&["/usr/lib".into()]));
    let rustc = path.join("rustc");
    let mut ask = Command::new(&rustc);
    let verbose_version = step.output("trying it", ask.arg("-vV"), Duration::from_mins(1))?;
    Ok(Compiler {
        rustc,
        verbose_version,
        origin: "Debian".into(),
        build_std: false,
        llvm_library: llvm.context("no libLLVM beside it")?,
    })
}

#[derive(Clone, Copy)]
struct Offer<'a> {
    package: &'a str,
    version: &'a str,
}

impl Offer<'_> {
    /// `name=version`, as `apt-get install` takes it.
    fn pinned(&self) -> String {
        format!("{}={}", self.package, self.version)
    }
}

/// The newest release, not older than `needed`, of which compiler, library and BPF library are
/// offered in the same version; each pinned.
fn choose(madison: &str, needed: &str) -> Option<Vec<String>> {
    let offers: Vec<_> = madison.lines().filter_map(offer).collect();
    let candidates = FAMILIES
        .iter()
        .filter_map(|family| newest_agreeing(&offers, *family));
    let new_enough = candidates.filter(|chosen| upstream(chosen[0].version) >= upstream(needed));
    let newest = new_enough.max_by_key(|chosen| upstream(chosen[0].version))?;
    Some(newest.iter().map(Offer::pinned).collect())
}

fn offer(line: &str) -> Option<Offer<'_>> {
    let mut columns = line.split('|').map(str::trim);
    Some(Offer {
        package: columns.next()?,
        version: columns.next()?,
    })
}

/// The first offer of this release, pinned.
pub(super) fn of_release(madison: &str, release: &str) -> Option<String> {
    let mut offers = madison.lines().filter_map(offer);
    let found = offers.find(|offer| upstream(offer.version) == upstream(release))?;
    Some(found.pinned())
}

/// apt lists each package's versions newest first.
fn newest_agreeing<'a>(offers: &[Offer<'a>], family: [&str; 3]) -> Option<[Offer<'a>; 3]> {
    let of = |package| offers.iter().filter(move |offer| offer.package == package);
    of(family[0]).find_map(|compiler| {
        let same = |package| {
            of(package)
                .find(|o| source(o.version) == source(compiler.version))
                .copied()
        };
        Some([*compiler, same(family[1])?, same(family[2])?])
    })
}

/// The version without the suffix of a rebuild (`+b1`), which only some packages of a source get.
fn source(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((source, digits)) if digits.bytes().all(|byte| byte.is_ascii_digit()) => source,
        _ => version,
    }
}

/// `1.96.0+dfsg1-1~deb12u2` -> `[1, 96, 0]`.
fn upstream(version: &str) -> Vec<u32> {
    let end = version
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(version.len());
    version[..end]
        .split('.')
        .filter_map(|part| part.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOKWORM: &str = "\
 rustc-web | 1.96.0+dfsg1-1~deb12u2 | http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 rustc-web | 1.85.0+dfsg3-1~deb12u3 | http://deb.debian.org/debian bookworm/main amd64 Packages
libstd-rust-web-dev | 1.96.0+dfsg1-1~deb12u2 | http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
libstd-rust-web-dev | 1.85.0+dfsg3-1~deb12u3 | http://deb.debian.org/debian bookworm/main amd64 Packages
libstd-rust-web-dev-bpf | 1.96.0+dfsg1-1~deb12u2 | http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
     rustc | 1.63.0+dfsg1-2 | http://deb.debian.org/debian bookworm/main amd64 Packages
libstd-rust-dev | 1.63.0+dfsg1-2 | http://deb.debian.org/debian bookworm/main amd64 Packages
";

    fn madison(offers: &[(&str, &str)]) -> String {
        let line = |(package, version): &(&str, &str)| format!(" {package} | {version} | http://x");
        offers.iter().map(line).collect::<Vec<_>>().join("\n") + "\n"
    }

    #[test]
    fn bookworm_offers_rustc_web() {
        let v = "1.96.0+dfsg1-1~deb12u2";
        let all = FAMILIES[0].map(|package| format!("{package}={v}"));
        assert_eq!(choose(BOOKWORM, "1.95").unwrap(), all);
        assert_eq!(choose(BOOKWORM, "1.97"), None);
        assert_eq!(choose("", "1.95"), None);
    }

    #[test]
    fn a_library_is_of_the_compilers_release() {
        let found = of_release(BOOKWORM, "1.85.0").unwrap();
        assert!(found.ends_with("=1.85.0+dfsg3-1~deb12u3"), "{found}");
        assert_eq!(of_release(BOOKWORM, "1.86.0"), None);
    }

    #[test]
    fn a_rebuild_agrees_with_its_source() {
        let offers = madison(&[
            ("rustc-web", "1.96.0-1+b1"),
            ("libstd-rust-web-dev", "1.96.0-1+b1"),
            ("libstd-rust-web-dev-bpf", "1.96.0-1"),
        ]);
        let chosen = choose(&offers, "1.95").unwrap();
        assert_eq!(chosen[0], "rustc-web=1.96.0-1+b1");
        assert_eq!(chosen[2], "libstd-rust-web-dev-bpf=1.96.0-1");
    }

    #[test]
    fn a_newer_compiler_without_its_core_is_passed_over() {
        let offers = madison(&[
            ("rustc", "1.98.0-1"),
            ("rustc", "1.97.1-2"),
            ("libstd-rust-dev", "1.98.0-1"),
            ("libstd-rust-dev", "1.97.1-2"),
            ("libstd-rust-dev-bpf", "1.97.1-2"),
        ]) + BOOKWORM;
        assert_eq!(choose(&offers, "1.95").unwrap()[0], "rustc=1.97.1-2");
    }

    #[test]
    fn releases_compare_as_numbers() {
        assert!(upstream("1.100.0+dfsg1-1") > upstream("1.99.1-1"));
        assert!(upstream("1.95.0-1") >= upstream("1.95"));
        assert_eq!(source("1.96.0+bpo1"), "1.96.0+bpo1");
    }

    #[test]
    fn a_newer_libc_is_refused() {
        let error = check_libc(&["/c/libc6_2.41-12_amd64.deb".into()]).unwrap_err();
        assert!(error.to_string().contains("libc6_2.41-12_amd64.deb"));
        check_libc(&[
            "/c/libllvm22_22.1_amd64.deb".into(),
            "/c/libc6-dev_2.36_amd64.deb".into(),
        ])
        .unwrap();
    }
}

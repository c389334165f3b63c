//! Looks at the machine, as far as a task needs it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    kernel::{self, Tried},
    limited,
    needs::{Ability, Needs},
    package_sources::{self, Unreachable},
    paths,
};

/// Limit of a question to a program of this machine.
const LIMIT: Duration = Duration::from_secs(3);

/// What was found. `None`: not looked at, since nothing needs it or it could not be tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) system: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) rust: Rust,
    pub(crate) has_linker: bool,
    pub(crate) root: Root,
    pub(crate) tried: Option<Tried>,
    pub(crate) rights: Rights,
    pub(crate) has_btf: bool,
    pub(crate) spaces: Vec<Space>,
    pub(crate) unreachable: Vec<Unreachable>,
}

/// Major and minor version.
pub(crate) type Version = (u32, u32);

/// The compiler in use, and the one that the workspace asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rust {
    pub(crate) version: Option<Version>,
    pub(crate) needed: Option<Version>,
}

/// How root is to be had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Root {
    #[default]
    Is,
    /// sudo works, maybe after a password.
    BySudo,
    /// Neither, as this user.
    Cannot(u32),
}

/// Why root may be refused.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights {
    /// Capabilities for tracing that this process lacks.
    pub(crate) missing: Vec<&'static str>,
    /// Its users are those of a container.
    pub(crate) own_users: bool,
}

/// A file system that is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// The directories on it.
    pub(crate) directories: Vec<PathBuf>,
    pub(crate) writable: bool,
    /// In megabytes; `None` if it could not be asked.
    pub(crate) free: Option<u64>,
    pub(crate) needed: u64,
}

impl Space {
    /// Whether all that is needed can be written to it.
    pub(crate) fn has_room(&self) -> bool {
        self.writable && self.free.is_none_or(|free| free >= self.needed)
    }
}

/// Looks at all that this task needs, within 5 seconds.
pub(crate) fn observe(needs: &Needs) -> Observed {
    let spaces = spaces(needs);
    // Those who ask the package sources write to these disks: where one is full, what they say is of no use.
    let sources = spaces.iter().all(Space::has_room).then(|| {
        let needs = needs.clone();
        thread::spawn(move || package_sources::unreachable(&needs))
    });
    let root = if needs.uses(Ability::Root) {
        root()
    } else {
        Root::Is
    };
    let tried = (needs.uses(Ability::Bpf) || needs.uses(Ability::Namespaces))
        .then(|| try_kernel(&root))
        .flatten();
    Observed {
        system: env::consts::OS,
        architecture: env::consts::ARCH,
        rust: Rust {
            version: rustc_version(),
            needed: needed_version(),
        },
        has_linker: paths::has_program("cc") || env::var_os("RUSTFLAGS").is_some(),
        root,
        tried,
        rights: rights(),
        has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        spaces,
        unreachable: sources.map_or_else(Vec::new, |asked| asked.join().unwrap_or_default()),
    }
}

fn root() -> Root {
    match kernel::uid() {
        0 => Root::Is,
        _ if paths::has_program("sudo") => Root::BySudo,
        uid => Root::Cannot(uid),
    }
}

/// As root; else by sudo if that asks for no password now.
fn try_kernel(root: &Root) -> Option<Tried> {
    match root {
        Root::Is => Some(kernel::try_all()),
        Root::Cannot(_) => None,
        Root::BySudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "--"]).arg(env::current_exe().ok()?);
            let ended = limited::run(sudo.arg(kernel::TRY), LIMIT)?;
            Tried::parse(&ended.stdout)
        }
    }
}

fn rustc_version() -> Option<Version> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc = Command::new(rustc);
    // Where a toolchain file of the clone would count.
    rustc.arg("--version").current_dir(paths::root());
    version(limited::run(&mut rustc, LIMIT)?.stdout.split(' ').nth(1)?)
}

/// `rust-version` of the workspace.
fn needed_version() -> Option<Version> {
    let manifest = fs::read_to_string(paths::root().join("Cargo.toml")).ok()?;
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))?;
    version(line.trim_matches(|c| c == '"' || c == ' '))
}

/// `1.95.0`, `1.95.0-nightly` or `1.95`.
fn version(text: &str) -> Option<Version> {
    let mut numbers = text.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Of this process; under sudo only the container's part of it matters.
fn rights() -> Rights {
    // `include/uapi/linux/capability.h`
    const NEEDED: [(&str, u32); 3] = [("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    let missing = NEEDED
        .iter()
        .filter(|(_, bit)| effective >> bit & 1 == 0)
        .map(|(name, _)| *name)
        .collect();
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let map: Vec<_> = map.split_whitespace().collect();
    Rights {
        missing,
        own_users: !map.is_empty() && map != ["0", "0", "4294967295"],
    }
}

/// The file systems of the clone and of the cache, with what is still to be written to each.
fn spaces(needs: &Needs) -> Vec<Space> {
    let sums = needs
        .parts
        .iter()
        .filter(|part| !part.is_made())
        .map(|part| part.megabytes())
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let target = Some((paths::root().join("target"), sums.0));
    let cache = paths::cache().map(|cache| (cache, sums.1));
    let uses_cache = needs.parts.iter().any(|part| part.megabytes().1 > 0);
    let mut spaces: Vec<(u64, Space)> = Vec::new();
    for (directory, needed) in target.into_iter().chain(cache.filter(|_| uses_cache)) {
        let place = paths::existing(&directory);
        let device = device(&place);
        let writable = kernel::writable(&place);
        match spaces.iter_mut().find(|(known, _)| *known == device) {
            Some((_, space)) if space.writable == writable => {
                space.directories.push(directory);
                space.needed += needed;
            }
            _ => spaces.push((
                device,
                Space {
                    writable,
                    free: kernel::free_bytes(&place).map(|bytes| bytes >> 20),
                    directories: vec![directory],
                    needed,
                },
            )),
        }
    }
    spaces.into_iter().map(|(_, space)| space).collect()
}

#[cfg(unix)]
fn device(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::dev(&match path.metadata() {
        Ok(data) => data,
        Err(_) => return 0,
    })
}

#[cfg(not(unix))]
fn device(_: &Path) -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_two_numbers_that_count() {
        assert_eq!(version("1.95.0-nightly"), Some((1, 95)));
        assert_eq!(version("1.95"), Some((1, 95)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn this_machine_compiles_this() {
        let observed = observe(&Needs::of(&["budget".to_owned()]));
        assert!(
            observed.rust.version >= observed.rust.needed,
            "{observed:?}"
        );
        assert!(observed.rust.needed.is_some());
        assert!(observed.tried.is_none());
    }
}

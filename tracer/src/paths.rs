//! What of a request's path appears in outputs: a path may have a secret or a person in its name. Applied to events before
//! anything else sees them, so that it holds for recordings, for the core and for every output.

use std::{env, fmt::Write, fs::File, io::Read};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use sha2::{Digest, Sha256};
use tracer_model::{EntryHead, Event};

/// The environment variable that has the key of hashes.
const KEY: &str = "VAULT_TRACER_PATHS_KEY";
/// A shorter key can be guessed, bytes.
const SHORTEST_KEY: usize = 16;
/// Bytes of a hash that are shown.
const SHOWN: usize = 8;

/// How much of a path is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum PathsOption {
    /// As the audit log has it
    #[default]
    Full,
    /// The mount alone: secret/
    Mount,
    /// The mount and a hash of the rest: secret/hash-5f1b7a3c9d2e4f60. The key of the hash is random, and another one in each
    /// run, unless the environment variable `VAULT_TRACER_PATHS_KEY` has one
    Hash,
}

/// Shows paths in this way.
#[derive(Debug)]
pub enum PathRule {
    /// Whole.
    Full,
    /// The mount.
    Mount,
    /// The mount, and a hash with this key.
    Hash(Vec<u8>),
}

impl PathRule {
    /// With the key of the environment, or a random one, where one is needed.
    pub fn new(option: PathsOption) -> Result<Self> {
        Ok(match option {
            PathsOption::Full => Self::Full,
            PathsOption::Mount => Self::Mount,
            PathsOption::Hash => Self::Hash(match env::var_os(KEY) {
                Some(key) => given(key.as_encoded_bytes())?,
                None => random()?,
            }),
        })
    }

    /// Changes the paths of all requests that an event names.
    pub fn apply(&self, event: &mut Event) {
        if !matches!(self, Self::Full) {
            event.each_entry(|entry| self.apply_to(entry));
        }
    }

    /// Changes the path of a request.
    pub fn apply_to(&self, entry: &mut EntryHead) {
        if let Some(path) = &mut entry.path {
            match self {
                Self::Full => {}
                Self::Mount => path.truncate(mount(path).len()),
                Self::Hash(key) => *path = hashed(path, key),
            }
        }
    }
}

/// What of a path is its mount, as far as the path alone shows that: its first part; of an authentication method, the first two
/// (`vault/router.go`: methods are mounted below `auth/`).
fn mount(path: &str) -> &str {
    let parts = if path.starts_with("auth/") { 2 } else { 1 };
    let mut ends = path.match_indices('/').map(|(at, _)| at + 1);
    ends.nth(parts - 1).map_or(path, |end| &path[..end])
}

fn hashed(path: &str, key: &[u8]) -> String {
    let mount = mount(path);
    let rest = &path[mount.len()..];
    if rest.is_empty() {
        return path.to_owned();
    }
    // The length of the key is fixed for a run, and only the beginning of the digest is shown.
    let digest = Sha256::new()
        .chain_update(key)
        .chain_update(path)
        .finalize();
    let mut shown = format!("{mount}hash-");
    for byte in &digest[..SHOWN] {
        let _ = write!(shown, "{byte:02x}");
    }
    shown
}

fn given(key: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        key.len() >= SHORTEST_KEY,
        "{KEY} is shorter than {SHORTEST_KEY} bytes, so that hashes could be undone: set a longer one, for example of `openssl rand -hex 32`"
    );
    Ok(key.to_vec())
}

fn random() -> Result<Vec<u8>> {
    let mut key = vec![0; 32];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut key));
    read.with_context(|| format!("cannot read /dev/urandom for the key of hashes: set {KEY}"))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(rule: &PathRule, path: &str) -> String {
        let mut entry = EntryHead {
            path: Some(path.to_owned()),
            ..EntryHead::default()
        };
        rule.apply_to(&mut entry);
        entry.path.unwrap_or_default()
    }

    #[test]
    fn the_mount_is_the_first_part_and_of_a_method_the_first_two() {
        for (path, mount) in [
            ("secret/data/customers/smith", "secret/"),
            ("sys/mounts", "sys/"),
            ("sys", "sys"),
            ("auth/userpass/login/smith", "auth/userpass/"),
            ("auth/token", "auth/token"),
            ("auth/", "auth/"),
            ("/x/y", "/"),
            ("", ""),
            ("ü/ß", "ü/"),
        ] {
            assert_eq!(shown(&PathRule::Mount, path), mount, "{path}");
            assert_eq!(shown(&PathRule::Full, path), path);
            let hashed = shown(&PathRule::Hash(vec![1; 32]), path);
            assert!(hashed.starts_with(mount), "{path}: {hashed}");
            let is_whole = mount == path;
            assert_eq!(hashed == path, is_whole, "{path}: {hashed}");
            assert!(is_whole || hashed.len() == mount.len() + 5 + 2 * SHOWN);
        }
    }

    #[test]
    fn a_hash_depends_on_the_whole_path_and_on_the_key() {
        let [one, other] = [1, 2].map(|byte| PathRule::Hash(vec![byte; 32]));
        let path = "secret/data/a";
        assert_eq!(shown(&one, path), shown(&one, path));
        assert_ne!(shown(&one, path), shown(&other, path));
        assert_ne!(shown(&one, path), shown(&one, "secret/data/b"));
        let rest = |path| shown(&one, path).rsplit('/').next().map(str::to_owned);
        assert_ne!(rest("secret/data/a"), rest("kv/data/a"));
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused_and_random_ones_differ() {
        assert!(given(b"short").is_err());
        assert_eq!(given(&[7; 16]).expect("long enough"), [7; 16]);
        assert_ne!(random().expect("a key"), random().expect("a key"));
    }
}

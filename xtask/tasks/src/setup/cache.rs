//! The cache has complete directories only. Each is filled under another name and renamed when it is complete, so that an
//! interrupted set-up is never mistaken for a finished one.

use std::{
    env,
    ffi::OsString,
    fmt::Display,
    fs::{self, File, TryLockError},
    io::ErrorKind,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::unistd::{Uid, User};

use crate::ui::{Remedy, Step};

const STAGING: &str = ".staging-";
/// Longer than any set-up takes.
const LOCK_LIMIT: Duration = Duration::from_mins(30);

/// The directory `name` of the cache, which `make` fills now if it is missing. Prints which, with `origin`.
pub fn cached(
    title: &str,
    name: &str,
    origin: impl Display,
    remedy: impl Display,
    make: impl FnOnce(&Path, &Step) -> Result<()>,
) -> Result<PathBuf> {
    let step = Step::new("setup", title);
    let entry = Cache::open()?.entry(name, &step, |path| make(path, &step));
    let entry = entry.remedy(format_args!("setup: {title}: cannot get it"), remedy)?;
    step.end(entry.fresh, origin);
    Ok(entry.path)
}

/// The directory that outlives clones.
pub struct Cache(PathBuf);

/// A finished directory in the cache.
pub struct CacheEntry {
    pub path: PathBuf,
    pub fresh: bool,
}

impl Cache {
    /// Finds the cache directory, and creates it where there is none.
    pub fn open() -> Result<Self> {
        let path = locate(|name| env::var_os(name), invoking_user_cache())?;
        fs::create_dir_all(&path).with_context(|| {
            format!(
                "cannot create the cache {}; set VAULT_TRACER_CACHE to a writable directory",
                path.display()
            )
        })?;
        Ok(Self(path.canonicalize()?))
    }

    /// The directory `name`, which `make` fills if it does not exist yet. One at a time.
    pub fn entry(
        &self,
        name: &str,
        step: &Step,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<CacheEntry> {
        let path = self.0.join(name);
        if path.exists() {
            return Ok(CacheEntry { path, fresh: false });
        }
        let _lock = self.lock(step)?;
        if path.exists() {
            return Ok(CacheEntry { path, fresh: false });
        }
        self.remove_abandoned()?;
        let staging = tempfile::Builder::new()
            .prefix(STAGING)
            .tempdir_in(&self.0)?;
        make(staging.path())?;
        // Temporary directories are private; a finished one may be used by root and by the user.
        make_executable(staging.path())?;
        fs::rename(staging.path(), &path)
            .with_context(|| format!("cannot create {}", path.display()))?;
        // It was renamed, so there is nothing to remove.
        let _ = staging.keep();
        Ok(CacheEntry { path, fresh: true })
    }

    /// Removes the directory `name`, so that it is made again.
    pub fn discard(&self, name: &str, step: &Step) -> Result<()> {
        let _lock = self.lock(step)?;
        match fs::remove_dir_all(self.0.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed.with_context(|| format!("cannot remove {name} from the cache")),
        }
    }

    /// The directory `name`, for a program that keeps a cache of its own and survives interruptions.
    pub fn shared(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(path)
    }

    fn lock(&self, step: &Step) -> Result<File> {
        let path = self.0.join("lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("cannot write to {}", path.display()))?;
        if file.try_lock().is_err() {
            step.note("waiting for another set-up to finish");
        }
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock the cache");
                }
                Err(TryLockError::WouldBlock) if started.elapsed() > LOCK_LIMIT => bail!(
                    "another set-up has locked {} for too long; is it stuck?",
                    path.display()
                ),
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Removes directories of interrupted set-ups. The caller has the lock, so none is in use.
    fn remove_abandoned(&self) -> Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(STAGING) {
                // Failing to tidy up (somebody else's file) must not stop the set-up.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

/// Readable and executable for everybody.
pub fn make_executable(path: &Path) -> Result<()> {
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(path, mode).with_context(|| format!("cannot change {}", path.display()))
}

fn locate(
    variable: impl Fn(&str) -> Option<OsString>,
    invoking_user: Option<PathBuf>,
) -> Result<PathBuf> {
    let set = |name| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(path) = set("VAULT_TRACER_CACHE") {
        return Ok(std::path::absolute(path)?);
    }
    let own = set("XDG_CACHE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|path| path.join("vault-tracer"));
    invoking_user
        .or(own)
        .context("no place for the cache: set VAULT_TRACER_CACHE or HOME")
}

/// Under sudo, the cache that the user already has: no second download, and never a first one
/// that would leave root's files in the user's home.
fn invoking_user_cache() -> Option<PathBuf> {
    let uid = env::var("SUDO_UID")
        .ok()?
        .parse()
        .ok()
        .filter(|uid| *uid != 0)?;
    let user = Uid::effective()
        .is_root()
        .then(|| User::from_uid(Uid::from_raw(uid)))?;
    Some(user.ok()??.dir.join(".cache/vault-tracer")).filter(|path| path.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn located(variables: &[(&str, &str)], invoking_user: Option<&str>) -> Option<PathBuf> {
        let find = |name: &str| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| v.into())
        };
        locate(find, invoking_user.map(PathBuf::from)).ok()
    }

    #[test]
    fn the_cache_is_where_the_user_wants_it() {
        let home = ("HOME", "/home/u");
        let xdg = ("XDG_CACHE_HOME", "/x");
        assert_eq!(
            located(&[home], None),
            Some("/home/u/.cache/vault-tracer".into())
        );
        assert_eq!(located(&[home, xdg], None), Some("/x/vault-tracer".into()));
        assert_eq!(
            located(&[home, xdg, ("VAULT_TRACER_CACHE", "/c")], None),
            Some("/c".into())
        );
        assert_eq!(
            located(&[home], Some("/home/sudoer/c")),
            Some("/home/sudoer/c".into())
        );
        assert_eq!(
            located(&[home, ("XDG_CACHE_HOME", "relative")], None),
            located(&[home], None)
        );
        assert_eq!(located(&[("HOME", "")], None), None);
    }

    #[test]
    fn an_entry_exists_only_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache(directory.path().into());
        let step = Step::new("test", "cache");
        fs::create_dir(directory.path().join(".staging-abandoned")).unwrap();
        assert!(
            cache
                .entry("tool", &step, |_| bail!("interrupted"))
                .is_err()
        );
        assert!(!directory.path().join("tool").exists());
        let made = cache
            .entry("tool", &step, |path| Ok(fs::write(path.join("bin"), "")?))
            .unwrap();
        assert!(made.fresh && made.path.join("bin").exists());
        assert!(
            !cache
                .entry("tool", &step, |_| unreachable!())
                .unwrap()
                .fresh
        );
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 2, "the tool and the lock");
    }
}

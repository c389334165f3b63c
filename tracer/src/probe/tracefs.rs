//! tracefs, which has the numbers of perf events' tracepoints. Where it is not mounted, it is mounted for this process
//! alone: the host's mounts stay as they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use log::debug;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::availability::Availability;

/// Where it may be mounted, in the order in which aya looks.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// How it can be reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tracefs {
    /// It is mounted here.
    At(PathBuf),
    /// It is mounted here, and this process may not read it.
    Closed(PathBuf),
    /// It is not mounted, and could not be.
    #[default]
    NotMounted,
    /// The kernel is built without.
    Absent,
}

impl Tracefs {
    /// Finds it.
    pub fn find() -> Self {
        for place in PLACES.map(PathBuf::from) {
            match fs::read_dir(place.join("events")) {
                Ok(_) => return Self::At(place),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Self::Closed(place);
                }
                Err(_) => {}
            }
        }
        // The kernel makes the directory if it has what is to be mounted there.
        if Path::new(PLACES[0]).exists() {
            Self::NotMounted
        } else {
            Self::Absent
        }
    }

    /// Where it is not mounted, mounts it for this thread and those that it starts: call it before there are others, and while
    /// the process still may.
    pub fn provide() {
        if Self::find() == Self::NotMounted
            && let Err(error) = mount_privately()
        {
            debug!("cannot mount tracefs: {error}");
        }
    }

    /// Why it cannot be read; `None` if it can.
    pub fn refusal(&self) -> Option<Availability> {
        match self {
            Self::At(_) => None,
            Self::Closed(place) => Some(Availability::Forbidden(format!(
                "{} is for root to read",
                place.display()
            ))),
            Self::NotMounted => Some(Availability::Forbidden(
                "tracefs is not mounted, and this process may not mount it".to_owned(),
            )),
            Self::Absent => Some(Availability::No(
                "this kernel is built without tracefs (CONFIG_TRACING)".to_owned(),
            )),
        }
    }

    /// The directory of a tracepoint.
    pub fn event(category: &str, name: &str) -> PathBuf {
        let place = PLACES.map(|place| Path::new(place).join("events"));
        let events = place.iter().find(|events| events.exists());
        events.unwrap_or(&place[0]).join(category).join(name)
    }
}

fn mount_privately() -> io::Result<()> {
    const NOTHING: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Else it would show up outside where mounts are shared, as systemd has them. The host's further mounts still come here.
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_SLAVE,
        NOTHING,
    )?;
    mount(
        Some("tracefs"),
        PLACES[0],
        Some("tracefs"),
        MsFlags::empty(),
        NOTHING,
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_is_no_absence() {
        let closed = Tracefs::Closed("/sys/kernel/tracing".into()).refusal();
        assert!(
            matches!(closed, Some(Availability::Forbidden(_))),
            "{closed:?}"
        );
        let denied = Tracefs::NotMounted.refusal();
        assert!(
            matches!(denied, Some(Availability::Forbidden(_))),
            "{denied:?}"
        );
        assert!(matches!(
            Tracefs::Absent.refusal(),
            Some(Availability::No(_))
        ));
        let mounted = Tracefs::At("/sys/kernel/tracing".into());
        assert_eq!(mounted.refusal(), None);
    }

    #[test]
    fn nothing_is_mounted_for_others() {
        let mounts = || fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let before = mounts();
        // Of this process's first thread, which goes on without.
        let found = std::thread::spawn(|| {
            Tracefs::provide();
            Tracefs::find()
        });
        let found = found.join().expect("it does not fail");
        assert_eq!(mounts(), before, "{found:?}");
    }
}

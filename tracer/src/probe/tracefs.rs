//! tracefs, which has the numbers of perf events' tracepoints. Where it is not mounted, it is mounted for one thread of
//! this process only: the host's mounts stay as they are.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::host::Availability;

/// Where it may be mounted, in the order in which aya looks.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// How it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracefs {
    /// It is mounted here.
    At(PathBuf),
    /// It is not mounted, and can be for one thread.
    Private,
    /// It is mounted here, and this process may not read it.
    Closed(PathBuf),
    /// It is not mounted, and cannot be, for this reason.
    NotMounted(String),
    /// The kernel is built without.
    Absent,
}

impl Default for Tracefs {
    fn default() -> Self {
        Self::NotMounted("not examined".to_owned())
    }
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
        if !Path::new(PLACES[0]).exists() {
            return Self::Absent;
        }
        match privately(|| ()) {
            Ok(()) => Self::Private,
            Err(error) => Self::NotMounted(error.to_string()),
        }
    }

    /// Why it cannot be read; `None` if it can.
    pub fn refusal(&self) -> Option<Availability> {
        match self {
            Self::At(_) | Self::Private => None,
            Self::Closed(place) => Some(Availability::Forbidden(format!(
                "{} is for root to read",
                place.display()
            ))),
            Self::NotMounted(why) => Some(Availability::Forbidden(format!(
                "tracefs is not mounted, and this process may not ({why})"
            ))),
            Self::Absent => Some(Availability::No(
                "this kernel is built without tracefs (CONFIG_TRACING)".to_owned(),
            )),
        }
    }

    /// Runs `work` where tracefs is mounted.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Self::Private => privately(work),
            _ => Ok(work()),
        }
    }

    /// The directory of a tracepoint, to be used [within](Self::within).
    pub fn event(category: &str, name: &str) -> PathBuf {
        let place = PLACES.map(|place| Path::new(place).join("events"));
        let events = place.iter().find(|events| events.exists());
        events.unwrap_or(&place[0]).join(category).join(name)
    }
}

/// Runs `work` on a thread that has mounts of its own, tracefs among them. They end with the thread.
fn privately<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            mount_privately()?;
            Ok(work())
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn mount_privately() -> io::Result<()> {
    const NOTHING: Option<&str> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // Else it would show up outside where mounts are shared, as systemd has them.
    mount(
        NOTHING,
        "/",
        NOTHING,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
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
        let denied = Tracefs::NotMounted("EPERM".to_owned()).refusal();
        assert!(
            matches!(denied, Some(Availability::Forbidden(_))),
            "{denied:?}"
        );
        assert!(matches!(
            Tracefs::Absent.refusal(),
            Some(Availability::No(_))
        ));
        assert_eq!(Tracefs::Private.refusal(), None);
    }

    #[test]
    fn nothing_is_mounted_for_others() {
        let mounts = || fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
        let before = mounts();
        let found = Tracefs::find();
        assert_eq!(mounts(), before, "{found:?}");
    }
}

//! Notifies a service manager that the trace has begun, goes on, and ends (`sd_notify(3)`, `Type=notify`). A
//! datagram to the socket that the environment names; without one nothing happens.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::{Duration, Instant},
};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(super) struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// How often it expects a sign of life.
    watchdog: Option<Duration>,
    last: Option<Instant>,
}

impl ServiceManager {
    pub(super) fn from_environment() -> Self {
        let Some(name) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let socket = connect(&name).inspect_err(|error| {
            log::warn!("the service manager cannot be reached at $NOTIFY_SOCKET: {error}");
        });
        let number = |name: &str| env::var(name).ok()?.parse().ok();
        let own = u64::from(process::id());
        Self {
            socket: socket.ok(),
            watchdog: watchdog(number("WATCHDOG_USEC"), number("WATCHDOG_PID"), own),
            last: None,
        }
    }

    /// The probes are attached to this process.
    pub(super) fn tracing(&self, pid: i32) {
        self.send(&format!("READY=1\nSTATUS=Tracing PID {pid}"));
    }

    /// The server has ended, and the trace goes on when it is started again.
    pub(super) fn waiting(&self) {
        self.send("STATUS=Waiting for the server to be started again");
    }

    /// The trace ends.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The loop of the trace runs.
    pub(super) fn alive(&mut self, now: Instant) {
        let Some(interval) = self.watchdog else {
            return;
        };
        // Twice in that time.
        let is_due = |last: Instant| now.duration_since(last) >= interval / 2;
        if self.last.is_none_or(is_due) {
            self.last = Some(now);
            self.send("WATCHDOG=1");
        }
    }

    /// A manager that takes nothing is no reason to wait or to end.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// `WATCHDOG_USEC`, unless `WATCHDOG_PID` says that it is meant for another process.
fn watchdog(micros: Option<u64>, meant: Option<u64>, own: u64) -> Option<Duration> {
    let is_meant = meant.is_none_or(|meant| meant == own);
    micros
        .filter(|micros| is_meant && *micros > 0)
        .map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &OsStr, watchdog: Option<Duration>) -> ServiceManager {
        ServiceManager {
            socket: Some(connect(name).expect("connected")),
            watchdog,
            last: None,
        }
    }

    fn received(from: &UnixDatagram) -> Vec<String> {
        from.set_nonblocking(true).expect("set");
        let mut buffer = [0; 200];
        std::iter::from_fn(|| {
            let length = from.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
        })
        .collect()
    }

    #[test]
    fn beginning_and_end_are_notified() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let manager = manager(path.as_os_str(), None);
        manager.tracing(7);
        manager.waiting();
        manager.stopping();
        let expected = [
            "READY=1\nSTATUS=Tracing PID 7",
            "STATUS=Waiting for the server to be started again",
            "STOPPING=1",
        ];
        assert_eq!(received(&socket), expected);
    }

    #[test]
    fn the_watchdog_is_fed_twice_in_its_time() {
        let name = format!("@vault-tracer-test-{}", process::id());
        let address = SocketAddr::from_abstract_name(&name[1..]).expect("an address");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        let mut manager = manager(OsStr::new(&name), Some(Duration::from_secs(10)));
        let begin = Instant::now();
        for tenths in 0..=120 {
            manager.alive(begin + Duration::from_millis(100 * tenths));
        }
        assert_eq!(received(&socket), ["WATCHDOG=1"; 3]);
    }

    #[test]
    fn a_manager_that_is_gone_is_no_failure() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        let manager = manager(path.as_os_str(), None);
        drop(socket);
        manager.tracing(7);
        ServiceManager::default().tracing(7);
        assert!(connect(OsStr::new("/nonexistent/notify")).is_err());
    }

    #[test]
    fn the_watchdog_may_be_another_processs() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some(1_000_000), None, 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(7), 7), second);
        assert_eq!(watchdog(Some(1_000_000), Some(8), 7), None);
        assert_eq!(watchdog(Some(0), None, 7), None);
        assert_eq!(watchdog(None, Some(7), 7), None);
    }
}

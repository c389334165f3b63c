//! Under which paths the listener of a Unix socket was bound. The kernel shows a connection's peer by that path, which need
//! not be the one that an audit device is configured with: that may be a link to it, or a mount of it in a container.

use std::{
    collections::HashSet,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::fstat,
};
use tracer_model::{ConfiguredDevice, Device, SYSLOG_SOCKETS, Transport};
use tracer_proc::{Process, UnixEntry};

/// A file, whatever its path: device and inode number.
type FileId = (u64, u64);

/// A socket that was bound to a path, and what is there: as the server sees it, and as this process does.
type Bound = (String, [Option<FileId>; 2]);

/// Adds to each Unix socket the other paths that its peer may have, as far as they can be found; to a syslog device the path at
/// which the server finds its daemon, and then the others.
pub(crate) fn add_bound_paths(pid: i32, devices: &mut [ConfiguredDevice]) {
    let has_path =
        |device: &Device| matches!(device.transport, Transport::Unix | Transport::Syslog);
    if !devices.iter().any(|known| has_path(&known.device)) {
        return;
    }
    let bound = bound_sockets(pid);
    let of = |path: &str| Some(other_paths(path, seen_by_server(pid, path)?, &bound));
    for device in devices.iter_mut().map(|known| &mut known.device) {
        match device.transport {
            Transport::Unix => device.addresses = of(&device.address).unwrap_or_default(),
            Transport::Syslog => device.addresses = syslog_paths(of),
            _ => {}
        }
    }
}

/// Go connects to the first that is there (`log/syslog`, `unixSyslog`).
fn syslog_paths(others: impl Fn(&str) -> Option<Vec<String>>) -> Vec<String> {
    let mut found = SYSLOG_SOCKETS.iter().filter_map(|path| {
        let others = others(path)?;
        Some([vec![(*path).to_owned()], others].concat())
    });
    found.next().unwrap_or_default()
}

/// The same socket by the path that the kernel shows, if `--audit` has another one of the server's or of this process.
pub(crate) fn as_bound(pid: i32, device: &Device) -> Device {
    if device.transport != Transport::Unix {
        return device.clone();
    }
    let path = &*device.address;
    let file = seen_by_server(pid, path).or_else(|| seen_here(path));
    let others = file.map(|file| other_paths(path, file, &bound_sockets(pid)));
    match others.as_deref() {
        Some([path]) => Device::new(Transport::Unix, path.clone()),
        _ => device.clone(),
    }
}

/// Paths at which a socket with this file was bound, beside this one. A path that several sockets were bound to, in mount
/// namespaces of their own, shows none of them.
fn other_paths(path: &str, file: FileId, bound: &[Bound]) -> Vec<String> {
    let is_alone = |path: &str| bound.iter().filter(|(other, _)| other == path).count() == 1;
    let found = bound
        .iter()
        .filter(|(other, files)| other != path && files.contains(&Some(file)) && is_alone(other));
    let mut paths: Vec<_> = found.map(|(other, _)| other.clone()).collect();
    paths.truncate(Device::MAX_ADDRESSES);
    paths
}

/// Of the server's network namespace and of this one: a container's sockets may be bound on the host.
fn bound_sockets(pid: i32) -> Vec<Bound> {
    let of = |process: Process| process.unix().unwrap_or_default();
    let entries = of(Process::new(pid)).into_iter();
    let entries: HashSet<UnixEntry> = entries.chain(of(Process::myself())).collect();
    let bound = entries.into_iter().map(|UnixEntry { path, .. }| {
        let files = [seen_by_server(pid, &path), seen_here(&path)];
        (path, files)
    });
    bound.collect()
}

fn seen_by_server(pid: i32, path: &str) -> Option<FileId> {
    file_below(&Path::new("/proc").join(pid.to_string()).join("root"), path).ok()
}

fn seen_here(path: &str) -> Option<FileId> {
    file_below(Path::new("/"), path).ok()
}

/// Links lead from this root too, and not from that of this process.
fn file_below(root: &Path, path: &str) -> io::Result<FileId> {
    let root = File::open(root)?;
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = fstat(openat2(root, &PathBuf::from(path), how)?)?;
    Ok((file.st_dev, file.st_ino))
}

#[cfg(test)]
mod tests {
    use std::os::unix::{
        fs::symlink,
        net::{UnixDatagram, UnixListener},
    };

    use super::*;

    #[test]
    fn a_path_is_found_by_its_file() {
        let (a, b, c) = (Some((1, 1)), Some((1, 2)), Some((2, 1)));
        let bound = |path: &str, files| (path.to_owned(), files);
        let all = [
            bound("/run/a", [a, None]),
            bound("/host/b", [None, b]),
            // Two of the same path, each in a mount namespace of its own.
            bound("/run/c", [c, None]),
            bound("/run/c", [c, None]),
            bound("/gone", [None, None]),
        ];
        for (path, file, expected) in [
            ("/link", (1, 1), &["/run/a"][..]),
            ("/run/a", (1, 1), &[]),
            ("/mounted", (1, 2), &["/host/b"]),
            ("/link", (2, 1), &[]),
            ("/link", (2, 2), &[]),
        ] {
            assert_eq!(other_paths(path, file, &all), expected, "{path} {file:?}");
        }
    }

    #[test]
    fn a_syslog_device_has_the_first_path_that_is_there() {
        let journal = "/run/systemd/journal/dev-log";
        let found =
            |there: &str| syslog_paths(|path| (path == there).then(|| vec![journal.to_owned()]));
        assert_eq!(found("/dev/log"), ["/dev/log", journal]);
        assert_eq!(found("/var/run/log"), ["/var/run/log", journal]);
        assert_eq!(found("/elsewhere"), [""; 0]);
    }

    #[test]
    fn a_link_leads_to_where_its_socket_was_bound() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        let text = |name: &str| path(name).display().to_string();
        let _stream = UnixListener::bind(path("stream"))?;
        let _datagrams = UnixDatagram::bind(path("datagrams"))?;
        let me = std::process::id().cast_signed();
        for socket in ["stream", "datagrams"] {
            let link = format!("link-to-{socket}");
            symlink(path(socket), path(&link))?;
            let unix = |name: &str| Device::new(Transport::Unix, text(name));
            assert_eq!(as_bound(me, &unix(&link)), unix(socket));
            assert_eq!(as_bound(me, &unix(socket)), unix(socket));
            let mut devices = [ConfiguredDevice {
                path: "u/".to_owned(),
                device: unix(&link),
                takes_all: true,
            }];
            add_bound_paths(me, &mut devices);
            assert_eq!(devices[0].device, unix(&link));
            assert_eq!(devices[0].device.addresses, [text(socket)]);
        }
        let nobody = Device::new(Transport::Unix, text("nobody"));
        assert_eq!(as_bound(me, &nobody), nobody);
        Ok(())
    }
}

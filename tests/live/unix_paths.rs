//! Unix sockets that are configured by other paths than those they were bound to: a link, and a mount.

use std::{fs::File, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    AuditDevice, Endpoint, Family, Network, Server, Tracer, log_server::Options,
    scenario::BIG_REQUEST, server::bao_from_environment, tracer::agent_from_environment,
};
use nix::mount::{MsFlags, mount, umount};

/// What a request waits at least for a log server that does not read: longer than a busy machine makes others take.
const TIMEOUT: Duration = Duration::from_millis(1500);
const PATIENCE: usize = 200;

/// A file at a second path, unmounted when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn bind(file: &Path, at: &'a Path) -> Result<Self> {
        File::create(at)?;
        let none = None::<&str>;
        mount(Some(file), at, none, MsFlags::MS_BIND, none)?;
        Ok(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = umount(self.0) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

/// Neither is the only one that is left: their files show which is which.
#[test]
fn a_link_and_a_mount_are_the_devices_that_they_lead_to() -> Result<()> {
    let network = Network::create(0)?;
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name);
    let start = |name: &str| Options::new(Endpoint::Unix(path(name))).start_here();
    let (one, two) = (start("one.sock")?, start("two.sock")?);
    symlink(path("one.sock"), path("link.sock"))?;
    let at = path("mounted.sock");
    let _mounted = Mounted::bind(&path("two.sock"), &at)?;
    let device = |name: &str, file: &str| {
        let device = AuditDevice::socket(name, &Endpoint::Unix(path(file)));
        device.option("write_timeout", "1500ms")
    };
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(device("link", "link.sock"))
        .audit(device("mount", "mounted.sock"))
        .start(&network.vault)?;
    let client = server.client(Family::V4);
    // As an operator may name it too.
    let link = path("link.sock").display().to_string();
    let agent = agent_from_environment()?;
    let tracer = Tracer::attach(&agent, server.pid(), &["--audit", &link])?;
    for log in [&one, &two] {
        log.pause();
        let mut requests = 0;
        while client.get(BIG_REQUEST)?.duration < TIMEOUT {
            requests += 1;
            ensure!(requests < PATIENCE, "no request was blocked");
        }
        log.resume();
    }
    let trace = tracer.stop()?;
    let devices = trace.hangs().into_iter().map(|hang| &hang["device"]);
    let mut devices: Vec<_> = devices.cloned().collect();
    devices.dedup();
    let [first, second] = &devices[..] else {
        anyhow::bail!("{devices:?}: {}", trace.text);
    };
    for (device, name, file, bound) in [
        (first, "link/", "link.sock", "one.sock"),
        (second, "mount/", "mounted.sock", "two.sock"),
    ] {
        assert_eq!(device["path"], name, "{device}");
        let text = |name: &str| path(name).display().to_string();
        assert_eq!(device["address"], text(file).as_str(), "{device}");
        let addresses = device["addresses"].as_array().context("no addresses")?;
        assert!(addresses.contains(&text(bound).into()), "{device}");
    }
    Ok(())
}

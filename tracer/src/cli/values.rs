//! The values of options: times, devices, addresses to listen on.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::SignedDuration;
use nix::unistd::{Gid, Group};

use tracer_model::{Device, Transport};

/// `100ms`, `30s`, `1m 30s`
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let parsed: SignedDuration = text
        .parse()
        .map_err(|_| "expected a time such as 100ms, 30s or 5m".to_owned())?;
    Duration::try_from(parsed).map_err(|_| "a time cannot be negative".to_owned())
}

/// Below this, ordinary writes of healthy requests would be hangs.
const LEAST_THRESHOLD: Duration = Duration::from_millis(1);

pub(super) fn threshold(text: &str) -> Result<Duration, String> {
    let threshold = duration(text)?;
    if threshold < LEAST_THRESHOLD {
        return Err(
            "below 1ms the ordinary writes of healthy requests would be reported as hangs: give 1ms or more"
                .to_owned(),
        );
    }
    Ok(threshold)
}

/// An audit device that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declared {
    /// Where it is.
    Device(Device),
    /// `host:port`, where the host is a name to be looked up.
    Name(String),
}

/// `host:port`, `[v6]:port` or a path
pub(super) fn declared(text: &str) -> Result<Declared, String> {
    if text.starts_with(['/', '@']) {
        return Ok(Declared::Device(Device::new(Transport::Unix, text)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Declared::Device(Device::tcp(address)));
    }
    let name = text.rsplit_once(':').filter(|(host, port)| {
        let is_name = !host.is_empty() && !host.contains([':', '[', ']', '/', ' ']);
        is_name && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    match name {
        Some(_) => Ok(Declared::Name(text.to_owned())),
        None => Err("expected host:port, [v6]:port or the path of a Unix socket".to_owned()),
    }
}

/// Below this a file would hold hardly more than what its trace begins with.
const LEAST_SIZE: u64 = 64 << 10;

/// `64k`, `100M`, `1G`: in units of 1024
pub(super) fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes() {
        [digits @ .., b'k' | b'K'] => (digits, 10),
        [digits @ .., b'M'] => (digits, 20),
        [digits @ .., b'G'] => (digits, 30),
        digits => (digits, 0),
    };
    let number = str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    let size = number.and_then(|number: u64| number.checked_mul(1 << shift));
    let size = size.ok_or("expected a size such as 500k, 100M or 1G")?;
    if size < LEAST_SIZE {
        return Err(
            "a file of less than 64k would hold only a few records: give 64k or more".to_owned(),
        );
    }
    Ok(size)
}

/// Octal permission bits. The agent opens the file again, so its owner has to be able to write it.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    let mode = mode.ok_or("expected permissions in octal digits, such as 0640")?;
    if mode & 0o600 != 0o600 {
        return Err(
            "the owner has to be able to read and write the file: 0600 and what is added to it"
                .to_owned(),
        );
    }
    Ok(mode)
}

/// The name or the number of a group of this host.
pub(super) fn group(text: &str) -> Result<Gid, String> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found =
        Group::from_name(text).map_err(|errno| format!("cannot look the group up: {errno}"))?;
    let found = found.ok_or("there is no group of this name on this host")?;
    Ok(found.gid)
}

/// Standard output has the report, and a recording has to be found again.
pub(super) fn recording(text: &str) -> Result<PathBuf, String> {
    match text {
        "-" => Err("a recording is written to a file: give a name".to_owned()),
        name => Ok(name.into()),
    }
}

/// `host:port`, `[v6]:port`; `:port` and `port` are on the loopback address
pub(super) fn listener(text: &str) -> Result<SocketAddr> {
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse::<u16>() {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| "expected host:port, [v6]:port, or a port alone")?;
    addresses.next().context("the name has no address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        assert_eq!(duration("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert!(duration("soon").is_err());
        assert!(duration("-1s").is_err());
    }

    #[test]
    fn reads_sizes() {
        assert_eq!(size("64k"), Ok(64 << 10));
        assert_eq!(size("100M"), Ok(100 << 20));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("70000"), Ok(70_000));
        for wrong in ["", "k", "1", "63k", "1.5M", "-1G", "99999999999G", "10MB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_permissions() {
        assert_eq!(mode("0640"), Ok(0o640));
        assert_eq!(mode("660"), Ok(0o660));
        for wrong in ["", "0440", "0040", "1600", "rw", "0680"] {
            assert!(mode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn reads_groups() {
        assert_eq!(group("0"), Ok(Gid::from_raw(0)));
        assert_eq!(group("root"), Ok(Gid::from_raw(0)));
        assert!(group("no-such-group").is_err());
    }

    #[test]
    fn reads_devices() {
        let address = |text| match declared(text) {
            Ok(Declared::Device(device)) => Some((device.transport, device.address)),
            _ => None,
        };
        let tcp = |text: &str| Some((Transport::Tcp, text.to_owned()));
        assert_eq!(address("10.0.0.2:1515"), tcp("10.0.0.2:1515"));
        assert_eq!(address("[fd00::2]:1515"), tcp("[fd00::2]:1515"));
        assert_eq!(address("[::ffff:10.0.0.2]:1515"), tcp("10.0.0.2:1515"));
        let path = Some((Transport::Unix, "/run/log.sock".to_owned()));
        assert_eq!(address("/run/log.sock"), path);
        let name = |text| declared(text) == Ok(Declared::Name(String::from(text)));
        assert!(name("log:1515") && name("log.example.com:1515"));
        for wrong in [
            "10.0.0.2",
            "log",
            "log:",
            ":1515",
            "log:0",
            "log:70000",
            "a b:1",
            "fd00::2:1515",
            "[fd00::2]:x",
        ] {
            assert!(declared(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn metrics_listen_on_loopback_by_default() {
        let address = |text| listener(text).map(|a| a.to_string()).ok();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(address("9464"), some("127.0.0.1:9464"));
        assert_eq!(address(":9464"), some("127.0.0.1:9464"));
        assert_eq!(address("0.0.0.0:9464"), some("0.0.0.0:9464"));
        assert_eq!(address("[::1]:9464"), some("[::1]:9464"));
        assert_eq!(address("127.0.0.1"), None);
        assert_eq!(address("65536"), None);
        assert_eq!(address(""), None);
    }
}

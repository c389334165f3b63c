//! The values of options: times, devices, addresses to listen on.

use std::{
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    time::Duration,
};

use anyhow::{Context, Result};
use jiff::SignedDuration;

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

/// `host:port`, `[v6]:port` or a path
pub(super) fn device(text: &str) -> Result<Device> {
    if text.starts_with(['/', '@']) {
        return Ok(Device::new(Transport::Unix, text));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Device::tcp(address));
    }
    let mut addresses = text
        .to_socket_addrs()
        .with_context(|| "expected host:port, [v6]:port or the path of a Unix socket")?;
    let first = addresses.next().context("the name has no address")?;
    Ok(Device::tcp(first))
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
    fn reads_devices() {
        let address = |text| device(text).map(|d| (d.transport, d.address)).ok();
        let tcp = |text: &str| Some((Transport::Tcp, text.to_owned()));
        assert_eq!(address("10.0.0.2:1515"), tcp("10.0.0.2:1515"));
        assert_eq!(address("[fd00::2]:1515"), tcp("[fd00::2]:1515"));
        assert_eq!(address("[::ffff:10.0.0.2]:1515"), tcp("10.0.0.2:1515"));
        let path = Some((Transport::Unix, "/run/log.sock".to_owned()));
        assert_eq!(address("/run/log.sock"), path);
        assert_eq!(address("10.0.0.2"), None);
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

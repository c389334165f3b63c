//! Other devices than the one TCP socket, and more than one client.

use std::time::Duration;

use serde_json::json;

use super::{LONG_TIMEOUT, NOTHING, SHORT_TIMEOUT, State, ask, fill_and_more, until};
use crate::scenario::BIG_REQUEST;
use crate::server::usual_tie;
use crate::setup::{Devices, NO_NAMES};

/// Go looks at `/etc/hosts` again when what it knows is 5 s old (`net/hosts.go`, `cacheMaxAge`).
const HOSTS_AGE: Duration = Duration::from_millis(5500);

/// A Unix socket whose reader stops.
pub const UNIX_PEER_FULL: State = State {
    name: "unix-peer-full",
    devices: Devices::Unix,
    write_timeout: LONG_TIMEOUT,
    happen: |lab| {
        lab.log.pause();
        until(lab, LONG_TIMEOUT)
    },
    ..NOTHING
};

/// A UDP port with nobody behind it.
pub const UDP_DEAD_PORT: State = State {
    name: "udp-dead-port",
    devices: Devices::Udp,
    happen: |lab| {
        lab.log.stop();
        ask(lab, 4)
    },
    ..NOTHING
};

/// An entry that no datagram can hold: values are hashed, but not their names.
pub const UDP_TOO_LARGE: State = State {
    name: "udp-too-large",
    devices: Devices::Udp,
    happen: |lab| {
        let fields =
            (0..10).map(|number| (format!("{number}{}", "x".repeat(8000)), json!("value")));
        let data: serde_json::Map<_, _> = fields.collect();
        let large = lab
            .client
            .put("/v1/secret/data/large", &json!({ "data": data }))?;
        Ok([vec![large], ask(lab, 1)?].concat())
    },
    ..NOTHING
};

/// Two socket devices, both dead; their buffers need not be full at the same request.
pub const TWO_DEVICES: State = State {
    name: "two-devices",
    devices: Devices::Tcp(2),
    happen: |lab| {
        let _drop = lab.drop_output()?;
        if usual_tie()? == "lineage" {
            // Sinks dial side by side: that both are dead shows in no request's length, but is so after some more.
            return Ok([until(lab, SHORT_TIMEOUT * 4)?, ask(lab, 2)?].concat());
        }
        until(lab, SHORT_TIMEOUT * 8)
    },
    ..NOTHING
};

/// The only device is dead: the request that meets it, and the next, fail.
pub const NO_WORKING_DEVICE: State = State {
    name: "no-working-device",
    devices: Devices::TcpAlone,
    happen: |lab| {
        let _drop = lab.drop_output()?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// The device's name cannot be looked up any more.
pub const NAME_THAT_DOES_NOT_RESOLVE: State = State {
    name: "name-that-does-not-resolve",
    devices: Devices::NamedTcp,
    write_timeout: Duration::from_secs(1),
    happen: |lab| {
        std::fs::write(lab.server.hosts_file(), NO_NAMES)?;
        std::thread::sleep(HOSTS_AGE);
        lab.log.reset_connections()?;
        until(lab, Duration::from_millis(1500))
    },
    ..NOTHING
};

/// Four clients at once over one dead device.
pub const CONVOY: State = State {
    name: "convoy",
    happen: |lab| {
        let fault = lab.drop_output()?;
        lab.fill()?;
        let convoy = lab.client.get_concurrently(4, BIG_REQUEST)?;
        fault.lift()?;
        Ok(convoy)
    },
    ..NOTHING
};

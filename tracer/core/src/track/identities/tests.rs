//! Whose an address is, beside negative twins.

mod enabled;

use tracer_model::SocketId;

use super::*;

fn table(devices: &[(&str, Transport, &str)]) -> Vec<ConfiguredDevice> {
    let device = |(path, transport, address): &(&str, _, &str)| ConfiguredDevice {
        path: (*path).to_owned(),
        device: Device::configured(*transport, address),
        takes_all: true,
    };
    devices.iter().map(device).collect()
}

fn configured(devices: &[(&str, Transport, &str)]) -> Identities {
    let mut identities = Identities::default();
    assert!(identities.configure(&table(devices)).is_empty());
    identities
}

fn socket(transport: Transport, to: &str) -> Socket {
    Socket {
        id: SocketId { born: 1, slot: 0 },
        fd: None,
        accepted: false,
        transport,
        local: None,
        remote: to.parse().ok(),
        path: (transport == Unix).then(|| to.to_owned()),
    }
}

use Transport::{Http, Syslog, Tcp, Udp, Unix};

/// Devices that are configured, where an entry is written to, and whose that is.
type Row = (
    &'static [(&'static str, Transport, &'static str)],
    (Transport, &'static str),
    &'static str,
);

const OWNERS: [Row; 18] = [
    (
        &[("s/", Tcp, "log:1515")],
        (Tcp, "10.0.0.2:1515"),
        "s/ (tcp log:1515)",
    ),
    (
        &[("s/", Tcp, "log:1515")],
        (Tcp, "[fd00::2]:1515"),
        "s/ (tcp log:1515)",
    ),
    (
        &[("s/", Udp, "log:1515")],
        (Udp, "10.0.0.2:1515"),
        "s/ (udp log:1515)",
    ),
    // Another port, another transport, an address beside the one that is configured.
    (
        &[("s/", Tcp, "log:1515")],
        (Tcp, "10.0.0.2:1516"),
        "tcp 10.0.0.2:1516",
    ),
    (
        &[("s/", Udp, "log:1515")],
        (Tcp, "10.0.0.2:1515"),
        "tcp 10.0.0.2:1515",
    ),
    (
        &[("s/", Tcp, "10.0.0.3:1515")],
        (Tcp, "10.0.0.2:1515"),
        "tcp 10.0.0.2:1515",
    ),
    (
        &[("s/", Tcp, "10.0.0.2:1515")],
        (Tcp, "10.0.0.2:1515"),
        "s/ (tcp 10.0.0.2:1515)",
    ),
    // Two that it can be of.
    (
        &[("a/", Tcp, "one:1515"), ("b/", Tcp, "two:1515")],
        (Tcp, "10.0.0.2:1515"),
        "tcp 10.0.0.2:1515",
    ),
    (
        &[("a/", Tcp, "10.0.0.2:1515"), ("b/", Tcp, "two:1515")],
        (Tcp, "10.0.0.2:1515"),
        "a/ (tcp 10.0.0.2:1515)",
    ),
    // One address, two devices: which of them is unknown.
    (
        &[("a/", Tcp, "10.0.0.2:1515"), ("b/", Tcp, "10.0.0.2:1515")],
        (Tcp, "10.0.0.2:1515"),
        "a/ or b/ (tcp 10.0.0.2:1515)",
    ),
    (
        &[("a/", Tcp, "10.0.0.2:1515"), ("b/", Udp, "10.0.0.2:1515")],
        (Tcp, "10.0.0.2:1515"),
        "a/ (tcp 10.0.0.2:1515)",
    ),
    (
        &[("a/", Unix, "/a"), ("b/", Unix, "/a"), ("c/", Unix, "/c")],
        (Unix, "/a"),
        "a/ or b/ (unix /a)",
    ),
    (
        &[("h/", Http, "https://log")],
        (Tcp, "10.0.0.2:443"),
        "h/ (http https://log)",
    ),
    (
        &[("h/", Http, "http://[fd00::2]:8080")],
        (Tcp, "[fd00::2]:8080"),
        "h/ (http http://[fd00::2]:8080)",
    ),
    (
        &[("h/", Http, "http://log")],
        (Tcp, "10.0.0.2:443"),
        "tcp 10.0.0.2:443",
    ),
    // A link, or a bind mount.
    (
        &[("u/", Unix, "/var/run/log.sock")],
        (Unix, "/run/log.sock"),
        "u/ (unix /var/run/log.sock)",
    ),
    (
        &[("u/", Unix, "/a"), ("v/", Unix, "/b")],
        (Unix, "/c"),
        "unix /c",
    ),
    (
        &[("u/", Unix, "/a"), ("l/", Syslog, "")],
        (Unix, "/dev/log"),
        "l/ (unix /dev/log)",
    ),
];

/// What an entry says of where it was written to, with what it must not say beside it.
#[test]
fn an_entry_shows_whose_an_address_is() {
    for (devices, (transport, to), expected) in OWNERS {
        let mut identities = configured(devices);
        let socket = socket(transport, to);
        let _ = identities.entry_written(0, &socket);
        let mut device = identities.of(&socket).expect("an address");
        identities.describe(&mut device);
        assert_eq!(device.to_string(), expected, "{devices:?} {to}");
    }
}

#[test]
fn a_unix_socket_that_is_met_where_it_is_configured_is_not_met_elsewhere() {
    let mut identities = configured(&[("u/", Unix, "/a"), ("v/", Unix, "/b")]);
    assert_eq!(identities.entry_written(0, &socket(Unix, "/a")), None);
    let learnt = identities.entry_written(0, &socket(Unix, "/mnt/b"));
    let expected = (Device::new(Unix, "/mnt/b"), Device::new(Unix, "/b"));
    assert_eq!(learnt, Some(expected));
    assert_eq!(identities.entry_written(0, &socket(Unix, "/c")), None);
}

#[test]
fn a_stack_shows_whose_an_address_is_where_the_port_fits() {
    let mut identities = configured(&[("a/", Tcp, "one:1515"), ("b/", Tcp, "two:1515")]);
    let two = Device::new(Tcp, "two:1515");
    let mut waited = |to: &str, device: &Device| {
        let learnt = identities.waited_for(&Device::new(Tcp, to), device);
        learnt.map(|(_, owner)| owner)
    };
    assert_eq!(waited("10.0.0.2:1515", &two), Some(two.clone()));
    assert_eq!(waited("10.0.0.2:1515", &two), None, "no news");
    assert_eq!(waited("10.0.0.3:53", &two), None, "a name server");
    assert_eq!(
        waited("10.0.0.4:1515", &Device::new(Tcp, "three:1515")),
        None
    );
}

/// Two devices, the address at which a stack in the second one's code was met after the first, and what happens there is of whom.
#[test]
fn of_two_devices_that_were_met_at_one_address_both_are_named() {
    type Sharers = ((&'static str, &'static str), &'static str, &'static str);
    const ROWS: [Sharers; 6] = [
        (("10.0.0.2:1515", "log:1515"), "10.0.0.2:1515", "a/ or b/"),
        (("[fd00::2]:1515", "log:1515"), "[fd00::2]:1515", "a/ or b/"),
        (("one:1515", "two:1515"), "10.0.0.2:1515", "a/ or b/"),
        // Elsewhere; at another port; at an address that the second one cannot lead to.
        (("10.0.0.2:1515", "log:1515"), "10.0.0.3:1515", "a/"),
        (("10.0.0.2:1515", "log:1516"), "10.0.0.2:1515", "a/"),
        (("one:1515", "10.0.0.3:1515"), "10.0.0.2:1515", "a/"),
    ];
    for transport in [Tcp, Udp] {
        for ((one, two), met, expected) in ROWS {
            let devices = [("a/", transport, one), ("b/", transport, two)];
            let mut identities = configured(&devices);
            let [first, second] = [one, two].map(|address| Device::new(transport, address));
            let own = if one.starts_with("one") {
                "10.0.0.2:1515"
            } else {
                one
            };
            identities.waited_for(&Device::new(transport, own), &first);
            identities.waited_for(&Device::new(transport, met), &second);
            let mut device = identities.of(&socket(transport, own)).expect("an address");
            identities.describe(&mut device);
            assert_eq!(device.path.as_deref(), Some(expected), "{one} {two} {met}");
            identities.configure(&[]);
            assert_eq!(identities.kept(), 0);
        }
    }
}

#[test]
fn an_address_is_forgotten_with_its_device() {
    let mut identities = configured(&[("s/", Tcp, "log:1515"), ("h/", Http, "http://log")]);
    let to = socket(Tcp, "10.0.0.2:1515");
    let (_, device) = identities.entry_written(0, &to).expect("its address");
    let mut described = device.clone();
    identities.describe(&mut described);
    assert_eq!(described.addresses, ["10.0.0.2:1515"]);
    assert_eq!(
        identities.configure(&[]),
        [device, Device::new(Http, "http://log")]
    );
    assert_eq!(identities.of(&to), Device::of(&to));
    assert_eq!(identities.kept(), 0);
}

/// Each device with the paths that its peer may be met under, and the device that a path is of.
#[test]
fn a_path_to_a_file_that_one_device_leads_to_is_that_devices() {
    let unix = |path: &str, bound: &[&str]| ConfiguredDevice {
        takes_all: true,
        path: format!("of{path}"),
        device: Device {
            addresses: bound.iter().map(ToString::to_string).collect(),
            ..Device::new(Unix, path)
        },
    };
    for (devices, met, expected) in [
        (
            vec![unix("/a", &["/mnt/a"]), unix("/b", &["/mnt/b"])],
            "/mnt/b",
            Some("/b"),
        ),
        (vec![unix("/a", &["/mnt/a"])], "/mnt/b", None),
        // Two links to one socket.
        (
            vec![unix("/a", &["/mnt/a"]), unix("/b", &["/mnt/a"])],
            "/mnt/a",
            None,
        ),
        // A link to another device's own path.
        (vec![unix("/a", &["/b"]), unix("/b", &[])], "/b", Some("/b")),
    ] {
        let mut identities = Identities::default();
        identities.configure(&devices);
        let owner = identities.of(&socket(Unix, met)).expect("an address");
        let expected = expected.unwrap_or(met);
        assert_eq!(owner.address, expected, "{devices:?}");
        let read_again = identities.configure(&devices);
        assert!(read_again.is_empty(), "{read_again:?}");
        assert_eq!(identities.of(&socket(Unix, met)), Some(owner));
    }
}

/// On hosts with systemd `/dev/log` is a link.
#[test]
fn syslogs_socket_is_met_where_it_was_bound() {
    let bound = "/run/systemd/journal/dev-log";
    let syslog = ConfiguredDevice {
        takes_all: true,
        path: "syslog/".to_owned(),
        device: Device {
            addresses: vec!["/dev/log".to_owned(), bound.to_owned()],
            ..Device::new(Syslog, "")
        },
    };
    let other = ConfiguredDevice {
        takes_all: true,
        path: "u/".to_owned(),
        device: Device::new(Unix, "/run/other"),
    };
    let mut identities = Identities::default();
    identities.configure(&[syslog, other]);
    for (met, expected) in [
        (bound, "syslog/ (unix /dev/log)"),
        ("/dev/log", "syslog/ (unix /dev/log)"),
        ("/run/other", "u/ (unix /run/other)"),
    ] {
        let _ = identities.entry_written(0, &socket(Unix, met));
        let mut device = identities.of(&socket(Unix, met)).expect("an address");
        identities.describe(&mut device);
        assert_eq!(device.to_string(), expected, "{met}");
    }
    // What the server's log says of it is of the same socket.
    for (path, expected) in [("syslog/", "/dev/log"), ("u/", "/run/other")] {
        let meant = identities.meant(Some(path), None);
        assert_eq!(meant, Some(Device::new(Unix, expected)));
    }
}

//! Whose an address is when a device is enabled: the server writes to that before its table has it.

use super::*;

/// The server writes to a device before its table has it. Of two devices, the one that is configured first, the other one, where an
/// entry is written to before that, and whose that is then.
#[test]
fn whose_an_address_is_is_asked_again_when_a_device_is_enabled() {
    type Enabled = (
        (Transport, &'static str),
        (Transport, &'static str),
        (Transport, &'static str),
        &'static str,
    );
    const LOG: (Transport, &str) = (Tcp, "log:1515");
    const MET: (Transport, &str) = (Tcp, "10.0.0.3:1515");
    const ROWS: [Enabled; 14] = [
        (LOG, MET, MET, "b/ (tcp 10.0.0.3:1515)"),
        (
            LOG,
            (Http, "http://10.0.0.3:1515"),
            MET,
            "b/ (http http://10.0.0.3:1515)",
        ),
        (
            (Http, "http://log:1515"),
            MET,
            MET,
            "b/ (tcp 10.0.0.3:1515)",
        ),
        ((Unix, "/a"), (Unix, "/b"), (Unix, "/b"), "b/ (unix /b)"),
        // It may be either's.
        (LOG, (Tcp, "two:1515"), MET, "tcp 10.0.0.3:1515"),
        (LOG, (Http, "http://two:1515"), MET, "tcp 10.0.0.3:1515"),
        (
            (Udp, "log:1515"),
            (Udp, "two:1515"),
            (Udp, "10.0.0.3:1515"),
            "udp 10.0.0.3:1515",
        ),
        ((Unix, "/a"), (Unix, "/b"), (Unix, "/c"), "unix /c"),
        // The twins: what is enabled leads elsewhere.
        (LOG, (Tcp, "two:1516"), MET, "a/ (tcp log:1515)"),
        (LOG, (Udp, "two:1515"), MET, "a/ (tcp log:1515)"),
        (LOG, (Tcp, "10.0.0.4:1515"), MET, "a/ (tcp log:1515)"),
        (LOG, (Unix, "/a"), MET, "a/ (tcp log:1515)"),
        ((Unix, "/a"), (Syslog, ""), (Unix, "/c"), "a/ (unix /a)"),
        (
            (Unix, "/a"),
            (Tcp, "two:1515"),
            (Unix, "/c"),
            "a/ (unix /a)",
        ),
    ];
    for (first, second, met, expected) in ROWS {
        let devices = [("a/", first.0, first.1), ("b/", second.0, second.1)];
        let mut identities = configured(&devices[..1]);
        let to = socket(met.0, met.1);
        identities.entry_written(0, &to).expect("its address");
        for _ in 0..2 {
            assert!(identities.configure(&table(&devices)).is_empty());
            let mut device = identities.of(&to).expect("an address");
            identities.describe(&mut device);
            assert_eq!(device.to_string(), expected, "{devices:?}");
            let mut first = Device::configured(first.0, first.1);
            identities.describe(&mut first);
            assert_eq!(first.addresses.is_empty(), first != device, "{devices:?}");
        }
        assert_eq!(identities.configure(&[]).len(), 2);
        assert_eq!(identities.kept(), 0);
    }
}

/// Beside its twin, what only an entry showed, in the test above.
#[test]
fn what_a_stack_has_shown_stays_when_a_device_is_enabled() {
    let devices = [("a/", Tcp, "log:1515"), ("b/", Tcp, "two:1515")];
    let (address, log) = (
        Device::new(Tcp, "10.0.0.3:1515"),
        Device::new(Tcp, "log:1515"),
    );
    for is_written_before in [false, true] {
        let mut identities = configured(&devices[..1]);
        let to = socket(Tcp, "10.0.0.3:1515");
        if is_written_before {
            let _ = identities.entry_written(0, &to);
        }
        let _ = identities.waited_for(&address, &log);
        identities.configure(&table(&devices));
        assert_eq!(identities.of(&to), Some(log.clone()), "{is_written_before}");
    }
}

//! What each kernel is known to have, and what it is not: compared both ways with what its guest reports,
//! so that a probe that silently stops to attach fails as well as one that is said to be missing and is there.

use super::report::Results;

/// `6.3` is `(6, 3)`.
type Version = (u32, u32);

/// Something that kernels have, from this version on.
struct Known {
    name: &'static str,
    /// How it is attached; empty for a way of probing.
    kind: &'static str,
    from: Version,
}

const fn since(kind: &'static str, name: &'static str, from: Version) -> Known {
    Known { name, kind, from }
}

/// Older than any that is run.
const ALWAYS: Version = (0, 0);

/// Ways of probing: what is not known here is refused.
const WAYS: [Known; 5] = [
    since("", "auto", ALWAYS),
    since("", "function", ALWAYS),
    since("", "kprobe", ALWAYS),
    since("", "socket", (6, 3)),
    since("", "syscall", ALWAYS),
];

/// Probes that one of these ways attaches. What is in every kernel that can be chosen is [`ALWAYS`] there.
const PROBES: [Known; 46] = [
    // `include/trace/events/sock.h`, `tcp.h`, `skb.h`.
    since(RAW, "sock_send_length", (6, 3)),
    since(RAW, "sock_recv_length", (6, 3)),
    since(RAW, "inet_sk_error_report", (5, 14)),
    since(RAW, "inet_sock_set_state", ALWAYS),
    since(RAW, "kfree_skb", ALWAYS),
    since(RAW, "tcp_destroy_sock", ALWAYS),
    since(RAW, "tcp_receive_reset", ALWAYS),
    since(RAW, "tcp_retransmit_skb", ALWAYS),
    since("tracepoint", "sys_exit_connect", ALWAYS),
    since("tracepoint", "sys_exit_read", ALWAYS),
    since("tracepoint", "sys_exit_recvfrom", ALWAYS),
    since("tracepoint", "sys_exit_recvmsg", ALWAYS),
    since("tracepoint", "sys_exit_sendmsg", ALWAYS),
    since("tracepoint", "sys_exit_sendto", ALWAYS),
    since("tracepoint", "sys_exit_write", ALWAYS),
    since("tracepoint", "sys_exit_writev", ALWAYS),
    since("fentry", "__tcp_retransmit_skb", ALWAYS),
    since("fentry", "sock_def_error_report", ALWAYS),
    since("fentry", "tcp_send_probe0", ALWAYS),
    since("fexit", "tcp_recvmsg", ALWAYS),
    since("fexit", "tcp_sendmsg", ALWAYS),
    since("fexit", "tcp_v4_connect", ALWAYS),
    since("fexit", "tcp_v6_connect", ALWAYS),
    since("fexit", "udp_sendmsg", ALWAYS),
    since("fexit", "udpv6_sendmsg", ALWAYS),
    since("fexit", "unix_dgram_sendmsg", ALWAYS),
    since("fexit", "unix_stream_sendmsg", ALWAYS),
    since("kprobe", "__tcp_retransmit_skb", ALWAYS),
    since("kprobe", "sock_def_error_report", ALWAYS),
    since("kprobe", "tcp_send_probe0", ALWAYS),
    since("kprobe", "tcp_recvmsg", ALWAYS),
    since("kprobe", "tcp_sendmsg", ALWAYS),
    since("kprobe", "tcp_v4_connect", ALWAYS),
    since("kprobe", "tcp_v6_connect", ALWAYS),
    since("kprobe", "udp_sendmsg", ALWAYS),
    since("kprobe", "udpv6_sendmsg", ALWAYS),
    since("kprobe", "unix_dgram_sendmsg", ALWAYS),
    since("kprobe", "unix_stream_sendmsg", ALWAYS),
    since("kretprobe", "tcp_recvmsg", ALWAYS),
    since("kretprobe", "tcp_sendmsg", ALWAYS),
    since("kretprobe", "tcp_v4_connect", ALWAYS),
    since("kretprobe", "tcp_v6_connect", ALWAYS),
    since("kretprobe", "udp_sendmsg", ALWAYS),
    since("kretprobe", "udpv6_sendmsg", ALWAYS),
    since("kretprobe", "unix_dgram_sendmsg", ALWAYS),
    since("kretprobe", "unix_stream_sendmsg", ALWAYS),
];

const RAW: &str = "raw_tracepoint";

impl Known {
    fn on(&self, version: Version) -> bool {
        self.from <= version
    }
}

/// What differs, a sentence each. Nothing if the guest tried no way of probing.
pub fn differences(results: &Results) -> Vec<String> {
    let Some(version) = results.version() else {
        return vec!["the guest did not say which kernel it runs".to_owned()];
    };
    if results.ways.is_empty() {
        return Vec::new();
    }
    [ways(results, version), probes(results, version)].concat()
}

fn ways(results: &Results, version: Version) -> Vec<String> {
    let differs = |known: &Known| {
        let name = known.name;
        match (known.on(version), results.ways.get(name)) {
            (true, Some(None)) | (false, Some(Some(_))) => None,
            (_, None) => Some(format!("--probes {name} was not tried")),
            (true, Some(Some(error))) => Some(format!("--probes {name} was refused: {error}")),
            (false, Some(None)) => Some(format!("--probes {name} should have been refused")),
        }
    };
    WAYS.iter().filter_map(differs).collect()
}

fn probes(results: &Results, version: Version) -> Vec<String> {
    let known = |hook: &str, kind: &str| PROBES.iter().find(|k| (k.name, k.kind) == (hook, kind));
    let unknown = results.probes.keys().filter_map(|(hook, kind)| {
        let known = known(hook, kind).is_some_and(|known| known.on(version));
        (!known).then(|| format!("{kind} {hook} was attached, and is not known of this kernel"))
    });
    let missing = PROBES.iter().filter(|known| known.on(version));
    let missing = missing.filter_map(|Known { name, kind, .. }| {
        let found = results
            .probes
            .contains_key(&(name.to_string(), kind.to_string()));
        (!found).then(|| format!("{kind} {name} was not attached"))
    });
    unknown.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(release: &str, refused: &[&str], attached: &[&Known]) -> Results {
        let ways = WAYS.iter().map(|way| {
            let error = refused.contains(&way.name).then(|| "no".to_owned());
            (way.name.to_owned(), error)
        });
        let hooks = attached.iter();
        Results {
            release: Some(release.to_owned()),
            ways: ways.collect(),
            probes: hooks
                .map(|k| ((k.name.to_owned(), k.kind.to_owned()), Some(true)))
                .collect(),
            ..Results::default()
        }
    }

    fn all_of(version: Version) -> Vec<&'static Known> {
        PROBES.iter().filter(|known| known.on(version)).collect()
    }

    #[test]
    fn what_is_known_differs_in_nothing() {
        let old = results("6.1.0-5", &["socket"], &all_of((6, 1)));
        assert_eq!(differences(&old), [] as [&str; 0]);
        let new = results("6.12.9", &[], &all_of((6, 12)));
        assert_eq!(differences(&new), [] as [&str; 0]);
    }

    #[test]
    fn presence_and_absence_are_both_asserted() {
        let too_much = differences(&results("6.1.0-5", &[], &all_of((6, 12))));
        assert!(
            too_much[0].contains("socket should have been refused"),
            "{too_much:?}"
        );
        assert!(
            too_much
                .iter()
                .any(|d| d.contains("sock_send_length was attached"))
        );
        let too_little = differences(&results("6.12.9", &["socket"], &all_of((6, 1))));
        assert!(
            too_little[0].contains("socket was refused: no"),
            "{too_little:?}"
        );
        assert!(
            too_little
                .iter()
                .any(|d| d.contains("sock_send_length was not attached"))
        );
    }

    #[test]
    fn a_way_that_was_not_tried_is_told() {
        let mut some = results("6.12.9", &[], &all_of((6, 12)));
        some.ways.remove("kprobe");
        assert_eq!(differences(&some), ["--probes kprobe was not tried"]);
        assert_eq!(differences(&Results::default()).len(), 1);
    }
}

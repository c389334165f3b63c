//! What a trace cannot show if the kernel's BTF lacks a field.

use tracer_ebpf::layout::{ABSENT, KernelLayout};

/// A field that the programs read.
struct Field {
    name: &'static str,
    offset: fn(&KernelLayout) -> u32,
    /// What cannot be shown without it; `None` if nothing can.
    without: Option<&'static str>,
}

macro_rules! field {
    ($name:literal, $offset:ident, $without:expr) => {
        Field {
            name: $name,
            offset: |layout| layout.$offset,
            without: $without,
        }
    };
}

const IPV6: Option<&str> = Some("audit devices and clients over IPv6");
const ERRORS: Option<&str> = Some("errors that the network reports for a connection");
const DROPS: Option<&str> = Some("packets that this host drops (local_drop)");
const CLIENTS: Option<&str> = Some("clients' connections before their first request");
const DESCRIPTORS: Option<&str> =
    Some("sends and receives where the socket layer has no tracepoints (before Linux 6.3)");
const BYTES: Option<&str> = Some(
    "TCP's view of a stalled connection, unacknowledged entries, and warnings before a buffer is full",
);
const WINDOW: Option<&str> = Some("closed windows (zero_window)");
const BUFFER: Option<&str> = Some("how full a send buffer is, and warnings before it is");
const GOROUTINES: Option<&str> =
    Some("which goroutine acts, where the kernel has no bpf_task_pt_regs (before Linux 5.15)");
const UNIX: Option<&str> = Some("audit devices on Unix sockets");

/// Every field of [`KernelLayout`] that is one of the kernel's.
const FIELDS: &[Field] = &[
    field!("sock_common.skc_family", family, None),
    field!("sock_common.skc_num", num, None),
    field!("sock_common.skc_dport", dport, None),
    field!("sock_common.skc_daddr", daddr, None),
    field!("sock.sk_protocol", protocol, None),
    field!(
        "sock_common.skc_rcv_saddr",
        rcv_saddr,
        Some("this end of connections")
    ),
    field!("sock_common.skc_v6_rcv_saddr", v6_rcv_saddr, IPV6),
    field!("sock_common.skc_v6_daddr", v6_daddr, IPV6),
    field!(
        "sock_common.skc_state",
        state,
        Some("the state in which a segment was sent again")
    ),
    field!("sock_common.skc_net", net, CLIENTS),
    field!("net.ns.inum", net_inum, CLIENTS),
    field!("sock.sk_err", err, ERRORS),
    field!("sock.sk_err_soft", err_soft, ERRORS),
    field!("sk_buff.sk", skb_sk, DROPS),
    field!(
        "sk_buff.skb_iif",
        skb_iif,
        Some("whether dropped packets came in or went out")
    ),
    field!(
        "sk_buff.head",
        skb_head,
        Some("whether dropped packets came in or went out")
    ),
    field!(
        "sk_buff.network_header",
        skb_network_header,
        Some("whether dropped packets came in or went out")
    ),
    field!("task_struct.files", task_files, DESCRIPTORS),
    field!("files_struct.fdt", files_fdt, DESCRIPTORS),
    field!("fdtable.max_fds", fdt_max_fds, DESCRIPTORS),
    field!("fdtable.fd", fdt_fd, DESCRIPTORS),
    field!("file.f_inode", file_inode, DESCRIPTORS),
    field!("file.private_data", file_private_data, DESCRIPTORS),
    field!("inode.i_mode", inode_mode, DESCRIPTORS),
    field!("socket.sk", socket_sk, DESCRIPTORS),
    field!("tcp_sock.snd_una", snd_una, BYTES),
    field!("tcp_sock.snd_nxt", snd_nxt, BYTES),
    field!("tcp_sock.write_seq", write_seq, BYTES),
    field!("tcp_sock.snd_wnd", snd_wnd, WINDOW),
    field!("tcp_sock.mss_cache", mss_cache, WINDOW),
    field!("sock.sk_wmem_queued", wmem_queued, BUFFER),
    field!("sock.sk_sndbuf", sndbuf, BUFFER),
    field!("tcp_sock.srtt_us", srtt_us, Some("round-trip times")),
    field!(
        "tcp_sock.rcv_tstamp",
        rcv_tstamp,
        Some("when the peer last sent something")
    ),
    field!(
        "inet_connection_sock.icsk_rto",
        rto,
        Some("retransmission time-outs")
    ),
    field!(
        "inet_connection_sock.icsk_retransmits",
        retransmits,
        Some("whether a retransmit helped: each counts for no_ack")
    ),
    field!(
        "inet_connection_sock.icsk_probes_out",
        probes_out,
        Some("window probes without an answer")
    ),
    field!("unix_sock.peer", unix_peer, UNIX),
    field!("unix_sock.addr", unix_addr, UNIX),
    field!("unix_address.name", unix_address_name, UNIX),
    field!("task_struct.stack", task_stack, GOROUTINES),
    field!("pt_regs", user_regs, GOROUTINES),
    field!(
        "tcp_recvmsg",
        recvmsg_arguments,
        Some("receives by a probe on the kernel's function (--probes function)")
    ),
];

/// Fields that a layout lacks.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Fields without which nothing can be traced.
    pub indispensable: Vec<&'static str>,
    /// What cannot be shown, each with the missing fields.
    pub evidence: Vec<(&'static str, Vec<&'static str>)>,
}

/// The fields that `layout` lacks.
pub fn missing(layout: &KernelLayout) -> Missing {
    let mut missing = Missing::default();
    for field in FIELDS.iter().filter(|f| (f.offset)(layout) == ABSENT) {
        let Some(without) = field.without else {
            missing.indispensable.push(field.name);
            continue;
        };
        let mut evidence = missing.evidence.iter_mut();
        match evidence.find(|(what, _)| *what == without) {
            Some((_, fields)) => fields.push(field.name),
            None => missing.evidence.push((without, vec![field.name])),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every field is somewhere.
    fn whole() -> KernelLayout {
        let offsets = [8_u32; size_of::<KernelLayout>() / size_of::<u32>()];
        // SAFETY: `repr(C)` of `u32` only, of the same size.
        unsafe { std::mem::transmute(offsets) }
    }

    #[test]
    fn nothing_is_missing_of_a_whole_layout() {
        assert_eq!(missing(&whole()), Missing::default());
    }

    #[test]
    fn every_field_of_the_layout_is_known_here() {
        let missing = missing(&KernelLayout::ABSENT);
        let fields = missing.evidence.iter().flat_map(|(_, fields)| fields);
        // `tcp_first` and `tcp_bytes` say where others lie together.
        let known = missing.indispensable.len() + fields.count() + 2;
        assert_eq!(known, size_of::<KernelLayout>() / size_of::<u32>());
    }

    #[test]
    fn says_once_what_cannot_be_told_for_want_of_several_fields() {
        let doctored = KernelLayout {
            snd_wnd: ABSENT,
            mss_cache: ABSENT,
            rto: ABSENT,
            ..whole()
        };
        let missing = missing(&doctored);
        assert!(missing.indispensable.is_empty());
        let [(window, fields), (rto, _)] = missing.evidence.as_slice() else {
            panic!("{missing:?}");
        };
        assert_eq!(fields, &["tcp_sock.snd_wnd", "tcp_sock.mss_cache"]);
        assert!(window.contains("zero_window") && rto.contains("time-outs"));
    }

    #[test]
    fn an_indispensable_field_is_no_evidence() {
        let doctored = KernelLayout {
            dport: ABSENT,
            ..whole()
        };
        assert_eq!(missing(&doctored).indispensable, ["sock_common.skc_dport"]);
        assert!(missing(&doctored).evidence.is_empty());
    }
}

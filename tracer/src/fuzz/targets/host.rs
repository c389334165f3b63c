//! What the kernel describes: its types, and processes.

use tracer_proc::{Stat, TcpEntry, UnixEntry};

use super::{Limits, MB, Target};
use crate::{
    audit::file::flags,
    probe::{
        layout::{KernelTypes, addresses},
        types::Types,
    },
    server::placement::Placement,
};

pub(super) const KERNEL_TYPES: Target = Target {
    name: "",
    reads: "the kernel's types (BTF)",
    written_by: "the kernel; who made the file of --btf",
    run: |input| {
        if let Ok(types) = Types::parse(input) {
            KernelTypes::of(&types);
        }
    },
    seeds: || vec![types()],
    words: &[
        "sock_common",
        "skc_family",
        "tcp_recvmsg",
        "btf_trace_kfree_skb",
        "skb_drop_reason",
    ],
    // A copy of each type and name.
    limits: Limits {
        input: 64 << 10,
        fixed: 4 * MB,
        per_byte: 256,
    },
};

/// A few types of the kernel, as `Documentation/bpf/btf.rst` describes them.
fn types() -> Vec<u8> {
    let mut strings = vec![0];
    let mut name = |text: &str| {
        let at = strings.len() as u32;
        strings.extend(text.bytes().chain([0]));
        at
    };
    let kind = |kind: u32, vlen: u32| kind << 24 | vlen;
    let words = [
        // 1: int of 32 bits.
        vec![name("int"), kind(1, 0), 4, 32],
        // 2: a structure with a member, and one without a name.
        vec![
            name("sock_common"),
            kind(4, 2),
            16,
            name("skc_family"),
            1,
            0,
            0,
            3,
            32,
        ],
        // 3: a union.
        vec![0, kind(5, 1), 8, name("skc_daddr"), 1, 0],
        // 4: a function's prototype with two parameters; 5: the function; 6: a pointer to the prototype.
        vec![0, kind(13, 2), 1, name("sk"), 1, name("len"), 1],
        vec![name("tcp_recvmsg"), kind(12, 1), 4],
        vec![0, kind(2, 0), 4],
        // 7: what shows a tracepoint.
        vec![name("btf_trace_kfree_skb"), kind(8, 0), 6],
        // 8: an enumeration.
        vec![
            name("skb_drop_reason"),
            kind(6, 2),
            4,
            name("SKB_DROP_REASON_NO_SOCKET"),
            3,
            name("X"),
            4,
        ],
    ];
    let types: Vec<_> = words
        .concat()
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect();
    let lengths = [24, 0, types.len(), types.len(), strings.len()];
    let header = lengths.map(|length| (length as u32).to_le_bytes()).concat();
    [&[0x9f, 0xeb, 1, 0][..], &header, &types, &strings].concat()
}

pub(super) const PROC_FILES: Target = Target {
    name: "",
    reads: "files of /proc: stat, net/tcp, net/unix, fdinfo, cgroup, kallsyms",
    written_by: "the kernel; in them the names that processes choose",
    run: |input| {
        let text = String::from_utf8_lossy(input);
        Stat::parse(&text);
        flags(&text);
        Placement::of(&text);
        addresses(|| Ok(input), "nf_hook_slow");
        for line in text.lines() {
            TcpEntry::parse(line);
            UnixEntry::parse(line);
        }
    },
    seeds: || {
        let files = [
            "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 0 0",
            "   0: 0100007F:1F90 0200000A:D431 04 0000002A:00000007 01:00000014 00000003     0        0 18 2 0",
            "   1: 00000000000000000000000001000000:1F90 B80D0120000000000000000002000000:0001 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/log.sock",
            "pos:\t0\nflags:\t02102001\nmnt_id:\t29\n",
            "0::/kubepods.slice/kubepods-burstable-pod1f2e3d4c_5b6a_7980_9f8e_7d6c5b4a3f2e.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n",
            "ffffffff81000000 T _text\nffffffff81000a00 T nf_hook_slow\nffffffff81000b40 T nf_hook_next\n",
        ];
        files.map(|file| file.as_bytes().to_vec()).into()
    },
    words: &[
        "(",
        ")",
        ":",
        " ",
        "\n",
        "kubepods",
        "nf_hook_slow",
        "\u{e9}",
    ],
    limits: Limits {
        input: 8192,
        fixed: 64 << 10,
        per_byte: 64,
    },
};

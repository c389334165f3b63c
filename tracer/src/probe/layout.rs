//! Where the running kernel keeps the fields that the programs read: from its own BTF, since these
//! offsets move with every release and configuration.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use btf_rs::{Btf, BtfType, Type};
use log::warn;
use nix::time::{ClockId, clock_getres};
use tracer_ebpf::abi::{ABSENT, KernelLayout};

use super::missing::{Missing, missing};
use crate::{decode::Kernel, event::Nanos};

/// Where a kernel built with `CONFIG_DEBUG_INFO_BTF` describes itself.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const DROP_REASON: &str = "SKB_DROP_REASON_";

/// What the kernel says of its own types.
#[derive(Debug)]
pub struct KernelTypes {
    /// Offsets for the programs.
    pub layout: KernelLayout,
    /// What decoding needs.
    pub kernel: Kernel,
}

impl KernelTypes {
    /// Of the running kernel: as it describes itself, or as `btf`, a file made for it, says.
    pub fn of_this_kernel(btf: Option<&Path>) -> Result<Self> {
        ensure!(
            btf.is_some() || Path::new(VMLINUX).exists(),
            "this kernel does not describe its types ({VMLINUX} is missing), without which its structures cannot be read: give a BTF file made for it with --btf, or use a kernel built with CONFIG_DEBUG_INFO_BTF"
        );
        let path = btf.unwrap_or(Path::new(VMLINUX));
        let types = Btf::from_file(path)
            .with_context(|| format!("cannot read the kernel's types from {}", path.display()))?;
        let types = Self::of(&types);
        types.check(path)?;
        Ok(types)
    }

    /// Stops where nothing can be traced, and says what cannot be told.
    fn check(&self, path: &Path) -> Result<()> {
        let Missing {
            indispensable,
            evidence,
        } = missing(&self.layout);
        let path = path.display();
        ensure!(
            indispensable.is_empty(),
            "{path} does not say where the kernel keeps {}, without which no socket can be told: give a BTF file made for this kernel with --btf",
            indispensable.join(", ")
        );
        for (what, fields) in evidence {
            warn!(
                "cannot tell {what}: {path} does not know {}",
                fields.join(", ")
            );
        }
        Ok(())
    }

    /// As this BTF says. Fields it does not know are [`ABSENT`].
    pub fn of(btf: &Btf) -> Self {
        Self {
            layout: layout(btf),
            kernel: Kernel {
                drop_reasons: drop_reasons(btf),
                jiffy: jiffy(),
            },
        }
    }
}

fn layout(btf: &Btf) -> KernelLayout {
    let at = |structure, field| offset(btf, structure, field).unwrap_or(ABSENT);
    KernelLayout {
        family: at("sock_common", "skc_family"),
        num: at("sock_common", "skc_num"),
        dport: at("sock_common", "skc_dport"),
        rcv_saddr: at("sock_common", "skc_rcv_saddr"),
        daddr: at("sock_common", "skc_daddr"),
        v6_rcv_saddr: at("sock_common", "skc_v6_rcv_saddr"),
        v6_daddr: at("sock_common", "skc_v6_daddr"),
        state: at("sock_common", "skc_state"),
        net: at("sock_common", "skc_net"),
        protocol: at("sock", "sk_protocol"),
        err: at("sock", "sk_err"),
        err_soft: at("sock", "sk_err_soft"),
        skb_sk: at("sk_buff", "sk"),
        net_inum: nested(btf, "net", "ns", "ns_common", "inum"),
        task_files: at("task_struct", "files"),
        files_fdt: at("files_struct", "fdt"),
        fdt_max_fds: at("fdtable", "max_fds"),
        fdt_fd: at("fdtable", "fd"),
        file_inode: at("file", "f_inode"),
        file_private_data: at("file", "private_data"),
        inode_mode: at("inode", "i_mode"),
        socket_sk: at("socket", "sk"),
        skb_iif: at("sk_buff", "skb_iif"),
        snd_una: at("tcp_sock", "snd_una"),
        snd_nxt: at("tcp_sock", "snd_nxt"),
        write_seq: at("tcp_sock", "write_seq"),
        snd_wnd: at("tcp_sock", "snd_wnd"),
        mss_cache: at("tcp_sock", "mss_cache"),
        srtt_us: at("tcp_sock", "srtt_us"),
        rcv_tstamp: at("tcp_sock", "rcv_tstamp"),
        wmem_queued: at("sock", "sk_wmem_queued"),
        sndbuf: at("sock", "sk_sndbuf"),
        rto: at("inet_connection_sock", "icsk_rto"),
        retransmits: at("inet_connection_sock", "icsk_retransmits"),
        probes_out: at("inet_connection_sock", "icsk_probes_out"),
        unix_peer: at("unix_sock", "peer"),
        unix_addr: at("unix_sock", "addr"),
        unix_address_name: at("unix_address", "name"),
    }
}

fn nested(btf: &Btf, outer: &str, field: &str, inner: &str, inner_field: &str) -> u32 {
    match (offset(btf, outer, field), offset(btf, inner, inner_field)) {
        (Some(outer), Some(inner)) => outer + inner,
        _ => ABSENT,
    }
}

/// Byte offset of a field in a structure, looking into its unnamed members too.
fn offset(btf: &Btf, structure: &str, field: &str) -> Option<u32> {
    let types = btf.resolve_types_by_name(structure).ok()?;
    let bits = types.iter().find_map(|ty| bit_offset(btf, ty, field))?;
    Some(bits / 8)
}

fn bit_offset(btf: &Btf, ty: &Type, field: &str) -> Option<u32> {
    let (Type::Struct(members) | Type::Union(members)) = ty else {
        return None;
    };
    members
        .members
        .iter()
        .find_map(|member| match btf.resolve_name(member).ok()?.as_str() {
            "" => {
                let inner = btf.resolve_chained_type(member).ok()?;
                Some(member.bit_offset() + bit_offset(btf, &inner, field)?)
            }
            name => (name == field).then(|| member.bit_offset()),
        })
}

/// The coarse clocks move once a jiffy, and that is the resolution they report (`kernel/time/posix-timers.c`).
fn jiffy() -> Nanos {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |time| time.tv_nsec().unsigned_abs())
}

fn drop_reasons(btf: &Btf) -> BTreeMap<u32, String> {
    let types = btf.resolve_types_by_name("skb_drop_reason");
    let mut reasons = BTreeMap::new();
    for ty in types.into_iter().flatten() {
        let Type::Enum(values) = ty else { continue };
        for value in &values.members {
            let name = btf.resolve_name(value as &dyn BtfType).unwrap_or_default();
            let name = name.strip_prefix(DROP_REASON).unwrap_or(&name);
            reasons.insert(value.val(), name.to_owned());
        }
    }
    reasons
}

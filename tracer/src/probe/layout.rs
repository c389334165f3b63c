//! Offsets of the kernel fields that the programs read, from the running kernel's BTF: they differ by release and
//! configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufRead, BufReader},
    ops::Range,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use btf_rs::Type;
use log::warn;
use nix::time::{ClockId, clock_getres};
use nix::unistd::{SysconfVar, sysconf};
use tracer_ebpf::{
    abi::ENTRY_BYTES,
    layout::{ABSENT, KernelLayout},
};

use super::missing::{Missing, missing};
use super::{
    specs::{Hook, hooks},
    types::{Types, VMLINUX},
};
use crate::decode::Kernel;
use tracer_model::Nanos;

const DROP_REASON: &str = "SKB_DROP_REASON_";

/// What the kernel's BTF says.
#[derive(Debug)]
pub struct KernelTypes {
    /// Offsets for the programs.
    pub layout: KernelLayout,
    /// For decoding.
    pub kernel: Kernel,
    /// Tracepoints among those that `specs` names, with their number of arguments.
    pub tracepoints: BTreeMap<String, usize>,
    /// Functions among those that `specs` names.
    pub functions: BTreeSet<String>,
}

impl KernelTypes {
    /// Of the running kernel: from its own BTF, or from the file `btf` made for it.
    pub fn of_this_kernel(btf: Option<&Path>) -> Result<Self> {
        ensure!(
            btf.is_some() || Path::new(VMLINUX).exists(),
            "this kernel does not describe its types ({VMLINUX} is missing), without which its structures cannot be read: give a BTF file made for it with --btf, or use a kernel built with CONFIG_DEBUG_INFO_BTF"
        );
        let path = btf.unwrap_or(Path::new(VMLINUX));
        let types = Types::read(path)
            .with_context(|| format!("cannot read the kernel's types from {}", path.display()))?;
        let types = Self::of(&types);
        types.check(path)?;
        Ok(types)
    }

    /// Fails if an indispensable field is missing; warns of other missing fields.
    fn check(&self, path: &Path) -> Result<()> {
        let Missing {
            indispensable,
            evidence,
        } = missing(&self.layout);
        let path = path.display();
        ensure!(
            indispensable.is_empty(),
            "{path} does not say where the kernel keeps {}, without which sockets cannot be identified: give a BTF file made for this kernel with --btf",
            indispensable.join(", ")
        );
        for (what, fields) in evidence {
            warn!(
                "not seen: {what}: {path} does not describe {}",
                fields.join(", ")
            );
        }
        Ok(())
    }

    /// Fields that it does not have are [`ABSENT`].
    pub(crate) fn of(btf: &Types) -> Self {
        let drop_reasons = drop_reasons(btf);
        Self {
            layout: layout(btf),
            kernel: Kernel {
                netfilter: drop_reasons.is_empty().then(netfilter).flatten(),
                drop_reasons,
                jiffy: jiffy(),
            },
            tracepoints: tracepoints(btf),
            functions: functions(btf),
        }
    }
}

/// Each has a type `void (*btf_trace_NAME)(void *, arguments...)` (`include/trace/bpf_probe.h`, Linux 5.5).
fn tracepoints(btf: &Types) -> BTreeMap<String, usize> {
    let arguments = |name: &str| {
        let declared = format!("btf_trace_{name}");
        let pointer = btf.named(&declared).find_map(|ty| match ty {
            Type::Typedef(typedef) => btf.chained(&typedef),
            _ => None,
        })?;
        let prototype = btf.chained(pointer.as_btf_type()?)?;
        let count = parameters(&prototype)?;
        Some((name.to_owned(), count.saturating_sub(1)))
    };
    let raw = hooks().filter(|hook| matches!(hook, Hook::RawTracepoint { .. }));
    raw.filter_map(|hook| arguments(hook.name())).collect()
}

fn functions(btf: &Types) -> BTreeSet<String> {
    let described = |name: &&str| function(btf, name).is_some();
    let named = hooks().filter(|hook| {
        !matches!(
            hook,
            Hook::RawTracepoint { .. } | Hook::SyscallExit(_) | Hook::UProbe(_)
        )
    });
    named
        .map(Hook::name)
        .filter(described)
        .map(str::to_owned)
        .collect()
}

/// The prototype of a function of this name.
fn function(btf: &Types, name: &str) -> Option<Type> {
    btf.named(name).find_map(|ty| match ty {
        Type::Func(function) => btf.chained(&function),
        _ => None,
    })
}

fn parameters(prototype: &Type) -> Option<usize> {
    match prototype {
        Type::FuncProto(prototype) => Some(prototype.parameters.len()),
        _ => None,
    }
}

/// Addresses of `nf_hook_slow`, which drops what a netfilter rule says (`net/netfilter/core.c`). `None`
/// if the kernel hides its addresses from this process.
fn netfilter() -> Option<Range<u64>> {
    let symbols = || Ok(BufReader::new(File::open("/proc/kallsyms")?));
    addresses(symbols, "nf_hook_slow")
}

/// From the symbol of this name to the next higher one. Read twice rather than kept: a kernel has 10 MB of symbols.
pub(crate) fn addresses<R: BufRead>(
    symbols: impl Fn() -> io::Result<R>,
    name: &str,
) -> Option<Range<u64>> {
    let lines = || Some(symbols().ok()?.lines().map_while(Result::ok));
    let address = |line: &str| u64::from_str_radix(line.split(' ').next()?, 16).ok();
    let mut named = lines()?.filter(|line| line.split(' ').nth(2) == Some(name));
    let start = named.find_map(|line| address(&line));
    let start = start.filter(|start| *start != 0)?;
    let all = lines()?.filter_map(|line| address(&line));
    Some(start..all.filter(|at| *at > start).min()?)
}

fn layout(btf: &Types) -> KernelLayout {
    let layout = fields(btf);
    let (tcp_first, tcp_bytes) = tcp_range(&layout).unwrap_or((ABSENT, 0));
    KernelLayout {
        tcp_first,
        tcp_bytes,
        ..layout
    }
}

/// Offset and length of the range with all fields of a [`Tcp`](tracer_ebpf::abi::Tcp); `None` if it is too long to be
/// copied at once.
fn tcp_range(layout: &KernelLayout) -> Option<(u32, u32)> {
    let words = [
        layout.snd_una,
        layout.snd_nxt,
        layout.write_seq,
        layout.snd_wnd,
        layout.mss_cache,
        layout.srtt_us,
        layout.rcv_tstamp,
        layout.wmem_queued,
        layout.sndbuf,
        layout.rto,
        layout.err_soft,
    ];
    // The programs read these without a check.
    let needed = [
        layout.snd_una,
        layout.snd_nxt,
        layout.write_seq,
        layout.err_soft,
    ];
    let bytes = [layout.retransmits, layout.probes_out];
    let known = |offset: &u32| *offset != ABSENT;
    let all = || words.into_iter().chain(bytes).filter(known);
    let end = all().max()? + 4;
    let first = all().min()?;
    let fits = needed.iter().all(known) && end - first <= ENTRY_BYTES as u32;
    fits.then_some((first, end - first))
}

fn fields(btf: &Types) -> KernelLayout {
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
        skb_head: at("sk_buff", "head"),
        skb_network_header: at("sk_buff", "network_header"),
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
        task_stack: at("task_struct", "stack"),
        user_regs: user_regs(size(btf, "pt_regs")).unwrap_or(ABSENT),
        recvmsg_arguments: function(btf, "tcp_recvmsg")
            .and_then(|prototype| parameters(&prototype))
            .map_or(ABSENT, |count| count as u32),
        ..KernelLayout::ABSENT
    }
}

/// Where a task's kernel stack has `struct pt_regs`, of this size: at its end. `THREAD_SIZE` is 16 kB (`page_64_types.h` of x86),
/// on arm64 not less than a page (`memory.h`), which may have 64 kB. With KASAN it is larger: the programs notice.
fn user_regs(size: Option<u32>) -> Option<u32> {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten()?;
    at_end_of_stack(size?, page.try_into().ok()?)
}

fn at_end_of_stack(size: u32, page: u32) -> Option<u32> {
    page.max(16 << 10).checked_sub(size)
}

fn size(btf: &Types, structure: &str) -> Option<u32> {
    btf.named(structure).find_map(|ty| match ty {
        Type::Struct(members) => Some(members.size() as u32),
        _ => None,
    })
}

fn nested(btf: &Types, outer: &str, field: &str, inner: &str, inner_field: &str) -> u32 {
    match (offset(btf, outer, field), offset(btf, inner, inner_field)) {
        (Some(outer), Some(inner)) => outer + inner,
        _ => ABSENT,
    }
}

/// Byte offset of a field in a structure, looking into its unnamed members too.
fn offset(btf: &Types, structure: &str, field: &str) -> Option<u32> {
    let mut types = btf.named(structure);
    let bits = types.find_map(|ty| bit_offset(btf, &ty, field))?;
    Some(bits / 8)
}

fn bit_offset(btf: &Types, ty: &Type, field: &str) -> Option<u32> {
    let (Type::Struct(members) | Type::Union(members)) = ty else {
        return None;
    };
    members
        .members
        .iter()
        .find_map(|member| match btf.name(member).as_str() {
            "" => {
                let inner = btf.chained(member)?;
                Some(member.bit_offset() + bit_offset(btf, &inner, field)?)
            }
            name => (name == field).then(|| member.bit_offset()),
        })
}

/// The coarse clocks move once a jiffy, and that is the resolution they report (`kernel/time/posix-timers.c`).
fn jiffy() -> Nanos {
    clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |time| time.tv_nsec().unsigned_abs())
}

fn drop_reasons(btf: &Types) -> BTreeMap<u32, String> {
    let mut reasons = BTreeMap::new();
    for ty in btf.named("skb_drop_reason") {
        let Type::Enum(values) = ty else { continue };
        for value in &values.members {
            let name = btf.name(value);
            let name = name.strip_prefix(DROP_REASON).unwrap_or(&name);
            reasons.insert(value.val(), name.to_owned());
        }
    }
    reasons
}

#[cfg(test)]
mod tests;

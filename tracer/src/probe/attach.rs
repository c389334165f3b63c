//! Loads and attaches the programs, through file descriptors of this process: the kernel detaches them when the process
//! ends, however it ends.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Result, bail};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Map, MapData, PerCpuArray},
};
use log::warn;
use tracer_ebpf::{
    abi::Kind,
    capture::{Mode, Peers},
    layout::{GoLayout, KernelLayout},
};

use super::{
    hooks::{Hooks, chain},
    host::Host,
    plan::{Plan, Preference},
    privilege::locked_memory,
    specs::Fallback,
};
use crate::{
    sandbox,
    source::{
        capture::{
            KernelSide,
            maps::{BufferMaps, Sizes, take},
        },
        listening::ListeningPorts,
    },
};
use tracer_model::Probe;

/// The eBPF object, where this build has one (see `build.rs`).
#[cfg(ebpf_object)]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!(
    "VAULT_TRACER_EBPF_OBJECT"
)));
#[cfg(not(ebpf_object))]
static OBJECT: Option<&[u8]> = None;

/// Facts that the programs get before they load.
#[derive(Debug)]
pub struct Facts {
    /// The server's thread group, and the PID namespace in which that is its number.
    pub tgid: u32,
    /// Device and inode number of that namespace; `None` for the host's own.
    pub pid_namespace: Option<(u64, u64)>,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Offsets of kernel fields.
    pub kernel: KernelLayout,
    /// Offsets in Go's `runtime.g`.
    pub go: GoLayout,
    /// TCP ports the server listens on, and who connects there.
    pub listening: Vec<(u16, Peers)>,
    /// Number of its open sockets.
    pub sockets: usize,
    /// Whether it writes entries in the goroutines that work on requests: those that read no connection are HTTP/2
    /// streams.
    pub counts_streams: bool,
    /// Whether the programs buffer normal traffic from the beginning.
    pub buffers: bool,
}

#[derive(Clone, Copy)]
#[repr(transparent)]
struct AsPod<T>(T);
// SAFETY: `repr(C)` structures of `u32` only: no padding, any bytes are valid.
unsafe impl Pod for AsPod<KernelLayout> {}
// SAFETY: as above.
unsafe impl Pod for AsPod<GoLayout> {}

/// Attached probes. Dropping it detaches them.
pub struct Attached {
    /// The attached probes, for the trace.
    pub probes: Vec<Probe>,
    /// Why these are attached.
    pub plan: Plan,
    /// The object: its programs, and the map that aya-log reads.
    pub object: Ebpf,
    lost: PerCpuArray<MapData, u64>,
    counted: [u64; Kind::ALL.len()],
}

/// Where the records come from.
pub(crate) struct Sources {
    /// Records that the programs send: the map of the ring buffer.
    pub(crate) ring: OwnedFd,
    /// Records that they buffer.
    pub(crate) maps: BufferMaps,
    /// On which the server listens.
    pub(crate) ports: ListeningPorts,
}

/// Loads the programs and attaches the best strategies of this host. What the kernel refuses is added to `host`.
pub(crate) fn attach(
    facts: &Facts,
    host: &mut Host,
    preference: Preference,
) -> Result<(Attached, Sources)> {
    let sizes = Sizes::of(facts.sockets)?;
    let mut object = load(facts, host.task_pt_regs, &sizes)?;
    let mut ports = ListeningPorts::new(&mut object)?;
    for (port, peers) in &facts.listening {
        ports.decide(*port, *peers)?;
    }
    let mut maps = BufferMaps::new(&mut object, sizes, facts.counts_streams)?;
    maps.set_mode(if facts.buffers {
        Mode::Buffer
    } else {
        Mode::Stream
    })?;
    let mut hooks = Hooks::new(object);
    let plan = hooks.attach_best(host, preference)?;
    let probes = hooks.probes();
    let mut object = hooks.into_object();
    let Map::RingBuf(events) = take(&mut object, "EVENTS")? else {
        bail!("EVENTS is no ring buffer");
    };
    let ring = events.fd().as_fd().try_clone_to_owned()?;
    let lost = PerCpuArray::try_from(take(&mut object, "LOST")?)?;
    let attached = Attached {
        probes,
        plan,
        object,
        lost,
        counted: [0; Kind::ALL.len()],
    };
    Ok((attached, Sources { ring, maps, ports }))
}

/// Warns of what the plan cannot show and of what it costs other processes.
pub fn warn_of(plan: &Plan, preference: Preference) {
    for choice in &plan.choices {
        if let (None, Fallback::Warn(without)) = (choice.chosen(), choice.capability.fallback) {
            let (gives, reasons) = (choice.capability.shows, choice.reasons());
            warn!("cannot see {gives} on this kernel, so {without} ({reasons})");
        }
    }
    if let Some(strategy) = plan.slows_host().filter(|_| preference == Preference::Auto) {
        warn!(
            "this kernel shows sends and receives only at its system calls ({}), which makes every one on this host slower while the trace runs",
            strategy.name
        );
    }
}

fn load(facts: &Facts, task_pt_regs: bool, sizes: &Sizes) -> Result<Ebpf> {
    let Some(object) = OBJECT else {
        bail!(
            "this vault-tracer was built without its eBPF programs: build it with `cargo xtask build`"
        );
    };
    let (task_pt_regs, streams) = (u32::from(task_pt_regs), u32::from(facts.counts_streams));
    let namespace = facts.pid_namespace.map_or([0; 2], |(dev, ino)| [dev, ino]);
    // It would read the kernel's types, for relocations that the programs do not have: 20 MB of memory, for a moment.
    let mut loader = sandbox::without_files(EbpfLoader::new);
    sizes.set(&mut loader);
    loader
        .override_global("TGID", &facts.tgid, true)
        .override_global("PID_NAMESPACE", &namespace, true)
        .override_global("NETNS", &facts.netns, true)
        .override_global("KERNEL", &AsPod(facts.kernel), true)
        .override_global("GO", &AsPod(facts.go), true)
        .override_global("TASK_PT_REGS", &task_pt_regs, true)
        .override_global("COUNT_STREAMS", &streams, true)
        .load(object)
        .map_err(|error| {
            let error = chain(&error).context("the kernel does not take the eBPF maps");
            match locked_memory() {
                Some(limit) => error.context(limit),
                None => error,
            }
        })
}

impl Attached {
    /// Records lost since the last call, by kind.
    pub fn lost(&mut self) -> Result<Vec<(Kind, u64)>> {
        let mut lost = Vec::new();
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            let total: u64 = self.lost.get(&(index as u32), 0)?.iter().sum();
            let more = total - self.counted[index];
            self.counted[index] = total;
            if more > 0 {
                lost.push((kind, more));
            }
        }
        Ok(lost)
    }
}

//! Loading and attaching. Everything is attached through file descriptors of this process: the
//! kernel detaches it all when the process ends, however it ends.

use std::io;

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{HashMap, MapData, PerCpuArray, RingBuf},
    programs::{ProgramError, RawTracePoint},
};
use log::{debug, warn};
use tracer_ebpf::abi::{GoLayout, KernelLayout, Kind};

use super::specs::{NEEDS, Need, Spec, Way};
use crate::event::Probe;

/// The eBPF object, where this build has one (see `build.rs`).
#[cfg(ebpf_object)]
static OBJECT: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!(
    "VAULT_TRACER_EBPF_OBJECT"
)));
#[cfg(not(ebpf_object))]
static OBJECT: Option<&[u8]> = None;

/// What the programs are told before they load.
#[derive(Debug)]
pub struct Facts {
    /// The server's thread group.
    pub tgid: u32,
    /// Inode number of its network namespace.
    pub netns: u32,
    /// Where this kernel keeps things.
    pub kernel: KernelLayout,
    /// Where this Go keeps things.
    pub go: GoLayout,
    /// TCP ports the server listens on.
    pub listening: Vec<u16>,
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
    /// What is attached, for the trace.
    pub probes: Vec<Probe>,
    /// The object: its programs, and what aya-log reads.
    pub object: Ebpf,
    lost: PerCpuArray<MapData, u64>,
    counted: [u64; Kind::ALL.len()],
}

/// Loads the programs and attaches what this kernel has. `way` restricts the choice of ways that
/// have that name among others.
pub fn attach(facts: &Facts, way: Option<&str>) -> Result<(Attached, RingBuf<MapData>)> {
    let mut object = load(facts)?;
    listening(&mut object, &facts.listening)?;
    let mut probes = Vec::new();
    for need in NEEDS {
        probes.extend(satisfy(&mut object, need, way)?);
    }
    let events = RingBuf::try_from(take(&mut object, "EVENTS")?)?;
    let lost = PerCpuArray::try_from(take(&mut object, "LOST")?)?;
    let attached = Attached {
        probes,
        object,
        lost,
        counted: [0; Kind::ALL.len()],
    };
    Ok((attached, events))
}

fn load(facts: &Facts) -> Result<Ebpf> {
    let Some(object) = OBJECT else {
        bail!(
            "this vault-tracer was built without its eBPF programs: build it with `cargo xtask build`"
        );
    };
    EbpfLoader::new()
        .override_global("TGID", &facts.tgid, true)
        .override_global("NETNS", &facts.netns, true)
        .override_global("KERNEL", &AsPod(facts.kernel), true)
        .override_global("GO", &AsPod(facts.go), true)
        .load(object)
        .map_err(|error| anyhow!("the kernel does not take the eBPF maps: {}", chain(&error)))
}

fn take(object: &mut Ebpf, map: &str) -> Result<aya::maps::Map> {
    object
        .take_map(map)
        .with_context(|| format!("the eBPF object has no map {map}"))
}

fn listening(object: &mut Ebpf, ports: &[u16]) -> Result<()> {
    let map = object
        .map_mut("LISTENING")
        .context("the eBPF object has no map LISTENING")?;
    let mut map = HashMap::<_, u16, u8>::try_from(map)?;
    for port in ports {
        map.insert(port, 1, 0)?;
    }
    Ok(())
}

/// Attaches the best way that this kernel has.
fn satisfy(object: &mut Ebpf, need: &Need, way: Option<&str>) -> Result<Vec<Probe>> {
    let named = |candidate: &&Way| way.is_none_or(|name| candidate.name == name);
    let restricted = need.ways.iter().any(|w| way == Some(w.name));
    let mut failures = Vec::new();
    for way in need.ways.iter().filter(|w| !restricted || named(w)) {
        match try_way(object, way) {
            Ok(probes) => return Ok(probes),
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    let failures = failures.join("; ");
    let Some(without) = need.without else {
        bail!("cannot see {} on this kernel: {failures}", need.gives);
    };
    warn!(
        "cannot see {} on this kernel, so {without} ({failures})",
        need.gives
    );
    Ok(Vec::new())
}

/// All probes of a way or none: half of one beside another would report the same thing twice.
fn try_way(object: &mut Ebpf, way: &Way) -> Result<Vec<Probe>> {
    let attached: Result<_> = way.probes.iter().map(|spec| one(object, spec)).collect();
    if attached.is_err() {
        for spec in way.probes {
            if let Ok(program) = raw_tracepoint(object, spec) {
                // Fails where it had not been loaded, which is what is wanted.
                let _ = program.unload();
            }
        }
    }
    attached
}

fn one(object: &mut Ebpf, spec: &Spec) -> Result<Probe> {
    let program = raw_tracepoint(object, spec)?;
    program.load().map_err(|error| refused(spec, &error))?;
    program
        .attach(spec.hook)
        .map_err(|error| refused(spec, &error))?;
    debug!("attached {} to raw tracepoint {}", spec.program, spec.hook);
    Ok(Probe {
        hook: spec.hook.to_owned(),
        kind: "raw_tracepoint".to_owned(),
    })
}

fn raw_tracepoint<'a>(object: &'a mut Ebpf, spec: &Spec) -> Result<&'a mut RawTracePoint> {
    let program = object
        .program_mut(spec.program)
        .with_context(|| format!("the eBPF object has no program {}", spec.program))?;
    Ok(program.try_into()?)
}

/// The verifier's log is long, and of use only to who works on the programs.
fn refused(spec: &Spec, error: &ProgramError) -> anyhow::Error {
    debug!("{}: {}", spec.program, chain(error));
    match error {
        ProgramError::LoadError { io_error, .. } => {
            anyhow!(
                "{}: the kernel refused the program: {io_error} (-v shows its log)",
                spec.hook
            )
        }
        ProgramError::SyscallError(error) if is_absent(&error.io_error) => {
            anyhow!("{}: this kernel has no such tracepoint", spec.hook)
        }
        other => anyhow!("{}: {}", spec.hook, chain(other)),
    }
}

/// `bpf_raw_tracepoint_open`: unknown name, or one with fewer arguments than the program reads.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::ENOENT | nix::libc::EINVAL)
    )
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
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

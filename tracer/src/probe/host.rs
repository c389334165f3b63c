//! Facts about this host that the choice of probes depends on: found here, used by `plan`, shown by `doctor`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    num::NonZeroU32,
    path::Path,
};

use anyhow::{Result, bail};
use aya::{
    maps::MapType,
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported, is_map_supported, is_program_supported},
};

use crate::sandbox::{self, Privilege};

use super::{
    availability::{Availability, tried},
    layout::KernelTypes,
    privilege,
    specs::{Hook, Spec, hooks},
    tracefs::Tracefs,
};

/// Exists where the kernel can place a breakpoint for a perf event (Linux 4.17, `CONFIG_KPROBE_EVENTS`).
const KPROBE_EVENTS: &str = "/sys/bus/event_source/devices/kprobe/type";

/// Exits of single system calls (`syscalls:sys_exit_*`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyscallExits {
    /// Whether they can be looked up.
    pub answer: Availability,
    /// Those that exist.
    pub names: BTreeSet<String>,
}

/// One thing that the kernel refused when it was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whether permission was missing.
    pub forbidden: bool,
    /// The reason, for the operator.
    pub why: String,
}

/// A function of the traced server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeLocation {
    /// The server.
    pub pid: NonZeroU32,
    /// Its first instruction's offset in the executable, bytes.
    pub offset: u64,
}

/// The facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Capabilities that tracing needs and this process does not have.
    pub missing: Vec<&'static str>,
    /// The ring buffer for records (Linux 5.8).
    pub ring_buffer: Availability,
    /// Tracepoints among those of `specs`, with their number of arguments; `None` if unknown.
    pub tracepoints: Option<BTreeMap<String, usize>>,
    /// Functions among those of `specs` that the kernel describes; `None` if it describes none.
    pub functions: Option<BTreeSet<String>>,
    /// System calls' own tracepoints.
    pub syscall_exits: SyscallExits,
    /// Programs run by a function's trampoline.
    pub trampolines: Availability,
    /// Breakpoints in the kernel.
    pub kprobes: Availability,
    /// Whether the kernel has `bpf_task_pt_regs`.
    pub task_pt_regs: bool,
    /// Where tracefs is.
    pub tracefs: Tracefs,
    /// Where the server's function is that writes its log; `None` without a server, or where it cannot be found.
    pub log_writer: Option<CodeLocation>,
    /// Whether this process lacks what breakpoints in programs take.
    pub uprobes_forbidden: bool,
    /// Strategies that failed, by capability and name.
    pub refused: BTreeMap<(&'static str, &'static str), Refusal>,
    /// Optional probes that failed.
    pub failed_optional: BTreeMap<Spec, String>,
}

impl Host {
    /// Finds out by harmless tries.
    pub fn detect(kernel: &KernelTypes) -> Self {
        let tracefs = Tracefs::find();
        Self {
            missing: privilege::missing_here().unwrap_or_default(),
            ring_buffer: ring_buffer(),
            // A BTF file may have been reduced to structures: then nothing is known of functions and tracepoints.
            tracepoints: Some(kernel.tracepoints.clone()).filter(|all| !all.is_empty()),
            functions: Some(kernel.functions.clone()).filter(|all| !all.is_empty()),
            syscall_exits: syscall_exits(&tracefs),
            trampolines: tried(
                // It would read the kernel's types, 20 MB of memory, for a function to try; it does without too.
                sandbox::without_files(|| is_program_supported(ProgramType::Tracing)),
                "this kernel has none: it takes Linux 5.5 on x86-64, 6.4 on arm64",
            ),
            kprobes: kprobes(Path::new(KPROBE_EVENTS)),
            task_pt_regs: is_helper_supported(
                ProgramType::RawTracePoint,
                BpfHelper::BPF_FUNC_task_pt_regs,
            )
            // If it cannot be tried, nothing can be loaded, and loading reports the error.
            .unwrap_or(true),
            tracefs,
            uprobes_forbidden: !sandbox::may_raise(Privilege::SysAdmin),
            ..Self::default()
        }
    }

    /// Whether a probe can be attached, as far as that can be known without trying.
    pub fn answer(&self, spec: &Spec) -> Availability {
        match self.presence(spec.hook) {
            Availability::No(why) => Availability::No(why),
            _ if !self.lacks().is_empty() => {
                Availability::Forbidden(format!("it takes {}", self.lacks().join(", ")))
            }
            presence => presence,
        }
    }

    /// The capabilities that probes take, of those that are missing.
    fn lacks(&self) -> Vec<&'static str> {
        let for_probes = |name: &&&str| ["CAP_BPF", "CAP_PERFMON"].contains(*name);
        self.missing.iter().filter(for_probes).copied().collect()
    }

    fn presence(&self, hook: Hook) -> Availability {
        match hook {
            Hook::RawTracepoint { name, reads } => self.tracepoint(name, reads),
            Hook::SyscallExit(name) => match &self.syscall_exits.answer {
                Availability::Yes if !self.syscall_exits.names.contains(name) => {
                    Availability::No(format!("this kernel has no tracepoint {name}"))
                }
                answer => answer.clone(),
            },
            Hook::FEntry(name) | Hook::FExit(name) => match &self.trampolines {
                Availability::Yes => self.described(name),
                answer => answer.clone(),
            },
            // The kernel's own BTF leaves out functions of modules, which can be probed.
            Hook::KProbe(name) | Hook::KRetProbe(name) => match (&self.kprobes, &self.functions) {
                (Availability::Yes, Some(functions)) if !functions.contains(name) => {
                    Availability::Unknown(format!("{name} may be in a module, or inlined"))
                }
                (answer, _) => answer.clone(),
            },
            Hook::UProbe(name) => match &self.log_writer {
                Some(_) if self.uprobes_forbidden => {
                    Availability::Forbidden("it takes CAP_SYS_ADMIN".to_owned())
                }
                Some(_) => Availability::Yes,
                None => Availability::No(format!("no server with the function {name} was found")),
            },
        }
    }

    fn tracepoint(&self, name: &str, reads: usize) -> Availability {
        let Some(tracepoints) = &self.tracepoints else {
            return Availability::Unknown("the kernel does not list its tracepoints".to_owned());
        };
        match tracepoints.get(name) {
            None => Availability::No(format!("this kernel has no tracepoint {name}")),
            Some(arguments) if *arguments < reads => Availability::No(format!(
                "this kernel's tracepoint {name} has {arguments} arguments, not the expected ones"
            )),
            Some(_) => Availability::Yes,
        }
    }

    fn described(&self, function: &str) -> Availability {
        match &self.functions {
            None => {
                Availability::No("this kernel does not describe its functions (BTF)".to_owned())
            }
            Some(functions) if !functions.contains(function) => Availability::No(format!(
                "this kernel does not describe {function}: it is inlined, or in a module"
            )),
            Some(_) => Availability::Yes,
        }
    }
}

/// Fails if the kernel has no ring buffer. Checked first, since no strategy works without.
pub fn check_ring_buffer() -> Result<()> {
    match ring_buffer() {
        Availability::No(why) => bail!("vault-tracer needs eBPF's ring buffer, and {why}"),
        _ => Ok(()),
    }
}

fn ring_buffer() -> Availability {
    let supported = is_map_supported(MapType::RingBuf);
    tried(supported, "this kernel has none: use Linux 5.8 or newer")
}

fn kprobes(events: &Path) -> Availability {
    match fs::metadata(events) {
        Ok(_) => Availability::Yes,
        Err(_) if !events.ancestors().nth(2).is_some_and(Path::exists) => {
            Availability::Unknown("/sys is not mounted".to_owned())
        }
        Err(_) => {
            Availability::No("this kernel is built without (CONFIG_KPROBE_EVENTS)".to_owned())
        }
    }
}

fn syscall_exits(tracefs: &Tracefs) -> SyscallExits {
    if let Some(answer) = tracefs.refusal() {
        let names = BTreeSet::new();
        return SyscallExits { answer, names };
    }
    let exists = |hook: &Hook| Tracefs::event("syscalls", hook.name()).exists();
    let wanted = hooks().filter(|hook| matches!(hook, Hook::SyscallExit(_)));
    let names = wanted
        .filter(exists)
        .map(|hook| hook.name().to_owned())
        .collect();
    SyscallExits {
        answer: Availability::Yes,
        names,
    }
}

//! Attaches programs to their hooks as planned. If the kernel refuses one, that becomes a fact about the host, and a
//! new plan is made.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use anyhow::{Context, Result, anyhow, bail};
use aya::{
    Btf, Ebpf,
    programs::{
        FEntry, FExit, KProbe, Program, ProgramError, RawTracePoint, TracePoint, UProbe,
        uprobe::UProbeScope,
    },
};
use log::debug;

use crate::sandbox::{self, Privilege};

use super::{
    host::{Host, Refusal},
    plan::{Choice, Plan, Preference, plan},
    specs::{Capability, Hook, Spec, Strategy},
};
use tracer_model::Probe;

/// The programs and their hooks.
pub struct Hooks {
    object: Ebpf,
    /// The kernel's description of itself, once it is needed.
    btf: Option<Btf>,
    /// Programs that are loaded, each with its hooks.
    loaded: BTreeMap<&'static str, BTreeSet<Spec>>,
}

/// A strategy that failed.
struct Failed {
    capability: &'static Capability,
    strategy: &'static Strategy,
    refusal: Refusal,
}

impl Hooks {
    /// Attaches nothing yet.
    pub fn new(object: Ebpf) -> Self {
        Self {
            object,
            btf: None,
            loaded: BTreeMap::new(),
        }
    }

    /// Attaches the best strategies. Each failure excludes one, so this ends.
    pub fn attach_best(&mut self, host: &mut Host, preference: Preference) -> Result<Plan> {
        loop {
            let plan = plan(host, preference);
            if let Some(choice) = plan.missing_essential() {
                bail!(
                    "cannot see {} on this kernel: {}",
                    choice.capability.shows,
                    choice.reasons()
                );
            }
            let failed_optional = host.failed_optional.len();
            match self.apply(host, &plan) {
                Ok(()) if host.failed_optional.len() == failed_optional => return Ok(plan),
                Ok(()) => {}
                Err(Failed {
                    capability,
                    strategy,
                    refusal,
                }) => {
                    debug!("{} by {}: {}", capability.shows, strategy.name, refusal.why);
                    host.refused
                        .insert((capability.shows, strategy.name), refusal);
                }
            }
        }
    }

    /// Attaches all probes of a strategy or none: half of one beside another would report everything twice.
    fn apply(&mut self, host: &mut Host, plan: &Plan) -> Result<(), Failed> {
        let chosen = |choice: &Choice| {
            choice
                .chosen()
                .map(|strategy| (choice.capability, strategy))
        };
        let strategies: Vec<_> = plan.choices.iter().filter_map(chosen).collect();
        self.keep(
            &strategies
                .iter()
                .flat_map(|(_, strategy)| strategy.probes)
                .copied()
                .collect(),
        );
        // What explains a wait is attached before what shows that one begins: a SYN that was dropped in between would pass for one
        // that nobody answers.
        for (capability, strategy) in strategies.into_iter().rev() {
            for spec in strategy.probes {
                if self.has(spec) || host.failed_optional.contains_key(spec) {
                    continue;
                }
                let Err(refusal) = self.attach(host, spec) else {
                    continue;
                };
                if spec.if_missing.is_none() {
                    return Err(Failed {
                        capability,
                        strategy,
                        refusal,
                    });
                }
                debug!("{}", refusal.why);
                host.failed_optional.insert(*spec, refusal.why);
            }
        }
        Ok(())
    }

    fn has(&self, spec: &Spec) -> bool {
        let hooks = self.loaded.get(spec.program);
        hooks.is_some_and(|hooks| hooks.contains(spec))
    }

    /// Unloads the programs of a strategy that failed after some had been attached.
    fn keep(&mut self, wanted: &BTreeSet<Spec>) {
        let is_wanted = |program: &str| wanted.iter().any(|spec| spec.program == program);
        let gone = self.loaded.extract_if(.., |program, _| !is_wanted(program));
        for (name, _) in gone {
            if let Some(program) = self.object.program_mut(name) {
                unload(program);
            }
        }
    }

    fn attach(&mut self, host: &Host, spec: &Spec) -> Result<(), Refusal> {
        let fresh = !self.loaded.contains_key(spec.program);
        let attached = self.try_attach(host, spec, fresh);
        let attached = attached.map_err(|error| refusal(spec.hook, &error));
        if attached.is_ok() {
            debug!(
                "attached {} to {} {}",
                spec.program,
                spec.hook.kind(),
                spec.hook.name()
            );
            let hooks = self.loaded.entry(spec.program).or_default();
            hooks.insert(*spec);
        } else if fresh && let Some(program) = self.object.program_mut(spec.program) {
            unload(program);
        }
        attached
    }

    fn try_attach(&mut self, host: &Host, spec: &Spec, fresh: bool) -> Result<()> {
        if matches!(spec.hook, Hook::FEntry(_) | Hook::FExit(_)) && self.btf.is_none() {
            self.btf = Some(Btf::from_sys_fs()?);
        }
        let program = self
            .object
            .program_mut(spec.program)
            .with_context(|| format!("the eBPF object has no program {}", spec.program))?;
        match spec.hook {
            Hook::SyscallExit(name) => {
                let program: &mut TracePoint = program.try_into()?;
                load(fresh, || program.load())?;
                sandbox::raised(Privilege::SysAdmin, || program.attach("syscalls", name))??;
            }
            Hook::UProbe(_) => {
                let at = host.log_writer.as_ref();
                let at = at.context("no server was found")?;
                let program: &mut UProbe = program.try_into()?;
                load(fresh, || program.load())?;
                // The kernel follows it to the right file also in a container, or where it was replaced.
                let executable = format!("/proc/{}/exe", at.pid);
                sandbox::raised(Privilege::SysAdmin, || {
                    program.attach(at.offset, executable, UProbeScope::OneProcess(at.pid))
                })??;
            }
            hook => onto(program, hook, fresh, self.btf.as_ref())?,
        }
        Ok(())
    }

    /// The attached probes.
    pub fn probes(&self) -> Vec<Probe> {
        let hooks: BTreeSet<_> = self
            .loaded
            .values()
            .flatten()
            .map(|spec| spec.hook)
            .collect();
        let probe = |hook: Hook| Probe {
            hook: hook.name().to_owned(),
            kind: hook.kind().to_owned(),
        };
        hooks.into_iter().map(probe).collect()
    }

    /// The object with the attached programs.
    pub fn into_object(self) -> Ebpf {
        self.object
    }
}

fn onto(program: &mut Program, hook: Hook, fresh: bool, btf: Option<&Btf>) -> Result<()> {
    match (hook, btf) {
        (Hook::RawTracepoint { name, .. }, _) => {
            let program: &mut RawTracePoint = program.try_into()?;
            load(fresh, || program.load())?;
            program.attach(name)?;
        }
        (Hook::FEntry(name), Some(btf)) => {
            let program: &mut FEntry = program.try_into()?;
            load(fresh, || program.load(name, btf))?;
            program.attach()?;
        }
        (Hook::FExit(name), Some(btf)) => {
            let program: &mut FExit = program.try_into()?;
            load(fresh, || program.load(name, btf))?;
            program.attach()?;
        }
        (Hook::KProbe(name) | Hook::KRetProbe(name), _) => {
            let program: &mut KProbe = program.try_into()?;
            load(fresh, || program.load())?;
            sandbox::raised(Privilege::SysAdmin, || program.attach(name, 0))??;
        }
        (hook, _) => bail!("no way to attach to {hook:?}"),
    }
    Ok(())
}

/// A program is loaded once, however many hooks it goes to.
fn load(fresh: bool, load: impl FnOnce() -> Result<(), ProgramError>) -> Result<(), ProgramError> {
    if fresh { load() } else { Ok(()) }
}

/// Detaches it too. An error means that it was not loaded.
fn unload(program: &mut Program) {
    let _ = match program {
        Program::RawTracePoint(program) => program.unload(),
        Program::TracePoint(program) => program.unload(),
        Program::FEntry(program) => program.unload(),
        Program::FExit(program) => program.unload(),
        Program::KProbe(program) => program.unload(),
        Program::UProbe(program) => program.unload(),
        _ => Ok(()),
    };
}

/// The kernel's error for the operator. The verifier's log is long and of use to developers only: it goes to the debug
/// log.
fn refusal(hook: Hook, error: &anyhow::Error) -> Refusal {
    debug!("{}: {error:#}", hook.name());
    let code = code(error);
    let name = hook.name();
    let refused = matches!(error.downcast_ref(), Some(ProgramError::LoadError { .. }));
    let why = match code {
        Some(nix::libc::EPERM | nix::libc::EACCES) if !refused => {
            format!("{name}: this process may not: {}", errno(code))
        }
        _ if refused => format!(
            "{name}: the kernel refused the program: {} (trace -v shows its log)",
            errno(code)
        ),
        // An unknown name, or one with fewer arguments than the program reads.
        Some(nix::libc::ENOENT | nix::libc::EINVAL) => {
            format!("{name}: this kernel has no such {}", hook.kind())
        }
        _ => format!("{name}: {error:#}"),
    };
    Refusal {
        forbidden: matches!(code, Some(nix::libc::EPERM | nix::libc::EACCES)) && !refused,
        why,
    }
}

fn errno(code: Option<i32>) -> String {
    let text = code.map(io::Error::from_raw_os_error);
    text.map_or_else(|| "for no reason".to_owned(), |error| error.to_string())
}

/// The error number at the bottom, if there is one.
fn code(error: &anyhow::Error) -> Option<i32> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error)
}

/// An error with its sources in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> anyhow::Error {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    anyhow!(text)
}

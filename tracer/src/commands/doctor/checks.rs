//! Checks of the host.

use std::{fs, io, path::Path};

use anyhow::Error;
use tracer_ebpf::layout::KernelLayout;
use tracer_proc::Process;

use super::report::Check;
use crate::probe::{
    availability::Availability,
    host::Host,
    missing::missing,
    privilege::{self, NEEDED},
    tracefs::Tracefs,
    types::VMLINUX,
};

const SEE_BELOW: &str = "see the probes below";
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// Checks that try nothing. `types`: why the kernel's types cannot be read, if so.
pub(super) fn system(types: Option<&Error>) -> Vec<Check> {
    vec![
        capabilities(privilege::missing_here().map_err(|error| format!("{error:#}"))),
        container(privilege::has_host_pids(), has_host_mounts()),
        users(privilege::has_host_users()),
        match types {
            None => Check::yes("kernel types (BTF)", VMLINUX),
            Some(error) => Check::of(
                "kernel types (BTF)",
                &Availability::No(format!("{error:#}")),
                "a BTF file made for it (--btf), or a kernel built with CONFIG_DEBUG_INFO_BTF",
            ),
        },
        lockdown(
            &read(LOCKDOWN),
            Path::new(LOCKDOWN).parent().is_some_and(is_empty),
        ),
        yama(&read("/proc/sys/kernel/yama/ptrace_scope")),
        setting("kernel.perf_event_paranoid", "CAP_PERFMON"),
        setting("kernel.unprivileged_bpf_disabled", "CAP_BPF"),
    ]
}

/// Results of tries.
pub(super) fn probing(host: &Host) -> Vec<Check> {
    vec![
        Check::of(
            "ring buffer",
            &host.ring_buffer,
            match host.ring_buffer {
                Availability::No(_) => "a newer kernel",
                _ => "run it as root (sudo)",
            },
        ),
        Check::of("fentry and fexit", &host.trampolines, SEE_BELOW),
        Check::of("kprobes", &host.kprobes, SEE_BELOW),
        tracefs(&host.tracefs),
    ]
}

/// Fields that the kernel's BTF lacks.
pub(super) fn fields(layout: &KernelLayout) -> Vec<Check> {
    let evidence = missing(layout).evidence.into_iter();
    let check = |(what, fields): (&str, Vec<&str>)| {
        let answer = Availability::No(format!("{}: not seen: {what}", fields.join(", ")));
        Check::of(
            "kernel fields",
            &answer,
            "a BTF file made for this kernel (--btf)",
        )
    };
    evidence.map(check).collect()
}

fn capabilities(missing: Result<Vec<&str>, String>) -> Check {
    let names = NEEDED.map(|(name, _)| name).join(" ");
    let answer = match missing {
        Ok(missing) if missing.is_empty() => return Check::yes("capabilities", names),
        Ok(missing) => Availability::Forbidden(format!("this process lacks {}", missing.join(" "))),
        Err(error) => Availability::Unknown(error),
    };
    Check::of("capabilities", &answer, "run it as root (sudo)")
}

fn container(host_pids: Option<bool>, host_mounts: Option<bool>) -> Check {
    let mounts = match host_mounts {
        Some(true) => "and mounts",
        Some(false) => "with mounts of its own",
        None => "(mounts: unknown)",
    };
    let answer = match host_pids {
        Some(true) => {
            return Check::yes("the host's processes", format!("the host's PIDs {mounts}"));
        }
        Some(false) => Availability::No("only those of this container".to_owned()),
        None => Availability::Unknown("/proc/self/ns/pid cannot be read".to_owned()),
    };
    Check::of(
        "the host's processes",
        &answer,
        "to trace a server outside of it: run it on the host, with `hostPID: true`, or docker run --pid=host",
    )
}

/// In a rootless container a process may have all capabilities, but they do not count for eBPF.
fn users(host_users: Option<bool>) -> Check {
    let name = "the host's users";
    let answer = match host_users {
        Some(true) => return Check::yes(name, ""),
        Some(false) => {
            Availability::Forbidden("capabilities of a container's own users".to_owned())
        }
        None => Availability::Unknown("/proc/self/ns/user cannot be read".to_owned()),
    };
    Check::of(name, &answer, "run it as the host's root")
}

/// Compared with process 1, which only root may inspect.
fn has_host_mounts() -> Option<bool> {
    let mounts = |process: Process| process.namespace("mnt").ok();
    Some(mounts(Process::myself())? == mounts(Process::new(1))?)
}

/// `none [integrity] confidentiality` (`security/lockdown/lockdown.c`).
/// `unmounted`: whether its directory exists and is empty.
fn lockdown(text: &io::Result<String>, unmounted: bool) -> Check {
    let name = "lockdown";
    let mode = text.as_ref().ok().and_then(|text| {
        let inner = text.split_once('[')?.1;
        Some(inner.split_once(']')?.0)
    });
    let answer = match (mode, text) {
        (Some("confidentiality"), _) => {
            Availability::Forbidden("confidentiality: no program may read kernel memory".to_owned())
        }
        (Some(mode), _) => return Check::yes(name, mode),
        (None, Err(_)) if unmounted => {
            Availability::Unknown("securityfs is not mounted".to_owned())
        }
        (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Check::yes(name, "not in this kernel");
        }
        (None, Err(error)) => Availability::Unknown(error.to_string()),
        (None, Ok(text)) => Availability::Unknown(format!("{LOCKDOWN} says {text:?}")),
    };
    let remedy = match answer {
        Availability::Forbidden(_) => "boot without lockdown=confidentiality",
        _ => "it matters only if the probes below are forbidden",
    };
    Check::of(name, &answer, remedy)
}

/// `Documentation/admin-guide/LSM/Yama.rst`.
fn yama(text: &io::Result<String>) -> Check {
    let name = "Yama (stacks)";
    match text.as_ref().map(|text| text.trim()) {
        Ok("3") => Check::of(
            name,
            &Availability::Forbidden(
                "ptrace_scope 3: no process may read another's memory".to_owned(),
            ),
            "kernel.yama.ptrace_scope=2 at the next boot",
        ),
        Ok(scope) => Check::yes(name, format!("ptrace_scope {scope}")),
        Err(_) => Check::yes(name, "not in this kernel"),
    }
}

/// A setting that does not matter with the capability: shown for bug reports.
fn setting(name: &'static str, capability: &str) -> Check {
    let value = read(format!("/proc/sys/{}", name.replace('.', "/")));
    let value = value.map_or_else(|error| error.to_string(), |value| value.trim().to_owned());
    Check::yes(name, format!("{value}, irrelevant with {capability}"))
}

fn tracefs(tracefs: &Tracefs) -> Check {
    match tracefs {
        Tracefs::At(place) => Check::yes("tracefs", place.display().to_string()),
        _ => Check::of(
            "tracefs",
            &tracefs.refusal().unwrap_or_default(),
            "mount -t tracefs tracefs /sys/kernel/tracing",
        ),
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

fn read(path: impl AsRef<Path>) -> io::Result<String> {
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::report::CheckResult;

    #[test]
    fn lockdown_matters_where_it_hides_kernel_memory() {
        let of = |text: &str| lockdown(&Ok(text.to_owned()), false);
        assert_eq!(
            of("[none] integrity confidentiality\n").answer,
            CheckResult::Yes
        );
        assert_eq!(
            of("none [integrity] confidentiality\n").answer,
            CheckResult::Yes
        );
        let hidden = of("none integrity [confidentiality]\n");
        assert_eq!(hidden.answer, CheckResult::Forbidden);
        assert!(hidden.remedy.is_some());
        assert_eq!(of("nonsense").answer, CheckResult::Unknown);
        let failed = |kind: io::ErrorKind, unmounted| lockdown(&Err(kind.into()), unmounted).answer;
        assert_eq!(
            failed(io::ErrorKind::PermissionDenied, false),
            CheckResult::Unknown
        );
        assert_eq!(failed(io::ErrorKind::NotFound, true), CheckResult::Unknown);
        assert_eq!(failed(io::ErrorKind::NotFound, false), CheckResult::Yes);
    }

    #[test]
    fn yama_matters_where_nobody_may_look() {
        let of = |scope: &str| yama(&Ok(scope.to_owned())).answer;
        assert_eq!(of("1\n"), CheckResult::Yes);
        assert_eq!(of("3\n"), CheckResult::Forbidden);
    }

    #[test]
    fn missing_capabilities_are_named_and_mended() {
        let check = capabilities(Ok(vec!["CAP_BPF"]));
        assert_eq!(check.answer, CheckResult::Forbidden);
        assert!(check.detail.contains("CAP_BPF"), "{}", check.detail);
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("root")));
        let unknown = capabilities(Err("mount /proc".to_owned()));
        assert_eq!(unknown.answer, CheckResult::Unknown);
    }

    #[test]
    fn a_container_is_no_place_to_trace_from() {
        assert_eq!(container(Some(true), None).answer, CheckResult::Yes);
        assert_eq!(container(Some(false), Some(false)).answer, CheckResult::No);
        assert_eq!(container(None, None).answer, CheckResult::Unknown);
        assert_eq!(users(Some(false)).answer, CheckResult::Forbidden);
    }
}

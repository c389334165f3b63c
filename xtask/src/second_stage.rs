//! Builds the tasks, in the profile of the agent, with which they share most crates; then becomes them.

use std::{
    env,
    ffi::OsString,
    io::{stderr, IsTerminal},
    path::Path,
    process::{Child, Command, ExitStatus},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    needs::{Needs, Part},
    paths,
};

/// The names of the steps, for the second stage to count on (`tasks/src/ui/steps.rs`).
const STEPS: &str = "VAULT_TRACER_STEPS";

/// A build that has nothing to do ends sooner.
const UNEVENTFUL: Duration = Duration::from_secs(1);

/// Why the tasks do not run.
pub(crate) enum NotStarted {
    /// cargo said why, and ended with this status.
    BuildFailed(i32),
    /// In one line.
    Error(String),
}

/// Returns only if that fails.
pub(crate) fn start(needs: &Needs, arguments: &[OsString]) -> NotStarted {
    let root = paths::root();
    match build(needs, &root) {
        Ok(status) if status.success() => {}
        Ok(status) => return NotStarted::BuildFailed(status.code().unwrap_or(1)),
        Err(error) => return NotStarted::Error(format!("cannot build the tasks: {error}")),
    }
    let program = root.join("target/release/tasks");
    let mut tasks = Command::new(&program);
    tasks.args(arguments);
    if !needs.short {
        tasks.env(STEPS, needs.steps().join(","));
    }
    let error = become_program(&mut tasks);
    NotStarted::Error(format!("cannot start {}: {error}", program.display()))
}

#[cfg(unix)]
fn become_program(command: &mut Command) -> std::io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

#[cfg(not(unix))]
fn become_program(_: &mut Command) -> std::io::Error {
    std::io::ErrorKind::Unsupported.into()
}

/// With cargo's own progress the first time; later only if it has something to do.
fn build(needs: &Needs, root: &Path) -> std::io::Result<ExitStatus> {
    let first = !Part::Tasks.is_made();
    let mut build = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    build.current_dir(root);
    build.args(["build", "--release", "--locked", "--package", "tasks"]);
    build.arg("--target-dir").arg(root.join("target"));
    // What `cargo run` sets for this process would rebuild crates; the place of the tasks is fixed.
    let is_ours = |name: &str| {
        name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_MANIFEST_")
            || [
                "CARGO_TARGET_DIR",
                "CARGO_BUILD_TARGET_DIR",
                "CARGO_BUILD_TARGET",
            ]
            .contains(&name)
    };
    for (name, _) in env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    if first {
        needs.show_step("tasks", "building the tasks (a minute on two cores)");
        if needs.short {
            eprintln!("xtask: building the tasks, once (a minute on two cores)");
        }
        return build.status();
    }
    wait(needs, build.arg("--quiet").spawn()?)
}

fn wait(needs: &Needs, mut child: Child) -> std::io::Result<ExitStatus> {
    let started = Instant::now();
    let mut announced = false;
    loop {
        if let Some(status) = child.try_wait()? {
            if announced && stderr().is_terminal() {
                eprint!("\r\x1b[K");
            }
            return Ok(status);
        }
        let elapsed = started.elapsed();
        if elapsed > UNEVENTFUL && !announced {
            announced = true;
            needs.show_step("tasks", "building the tasks");
        }
        if announced && stderr().is_terminal() {
            eprint!("\r\x1b[Kbuilding the tasks ... {} s", elapsed.as_secs());
        }
        sleep(Duration::from_millis(if announced { 200 } else { 10 }));
    }
}

//! Tests that need no root: compiled together, then each executable is run by itself, several at once. cargo would run one after
//! the other, many of which have one test that works alone for long, and look at all crates before each.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{FOREIGN, FOREIGN_TEST, LIVE, first_stage, in_parallel, live, quiet};
use crate::{
    build,
    setup::cargo,
    ui::{Captured, Step},
};

/// Of one executable.
const LIMIT: Duration = Duration::from_mins(10);

/// What cargo has made of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    tests: Vec<TestProgram>,
    /// The agent, without eBPF programs.
    agent: Option<PathBuf>,
}

/// One executable of tests.
#[derive(Debug, PartialEq, Eq)]
struct TestProgram {
    executable: PathBuf,
    /// Of its package: where cargo would run it.
    directory: PathBuf,
}

/// Compiles them, those of the first stage too.
pub fn compile() -> Result<Compiled> {
    let mut ours = cargo();
    ours.args(["test", "--locked"]).args(build::TESTED);
    ours.args(["--lib", "--bins", "--examples"]);
    for name in test_files()? {
        ours.args(["--test", &name]);
    }
    let mut stage = first_stage("test");
    stage.args(["--target-dir", "target/xtask"]);
    let mut messages = String::new();
    for command in [&mut ours, &mut stage] {
        command.args(["--no-run", "--message-format=json-render-diagnostics"]);
        messages += &quiet(command)?;
    }
    Ok(Compiled::by(&messages))
}

impl Compiled {
    /// By cargo's messages.
    fn by(messages: &str) -> Self {
        let mut compiled = Self::default();
        let lines = messages.lines();
        for message in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(executable) = message["executable"].as_str() else {
                continue;
            };
            let manifest = Path::new(message["manifest_path"].as_str().unwrap_or_default());
            if message["profile"]["test"] == true {
                compiled.tests.push(TestProgram {
                    executable: executable.into(),
                    directory: manifest.parent().unwrap_or(manifest).to_owned(),
                });
            } else if message["target"]["name"] == "vault-tracer" {
                compiled.agent = Some(executable.into());
            }
        }
        compiled
    }

    /// The agent, without eBPF programs.
    pub fn agent(&self) -> Result<&Path> {
        let agent = self.agent.as_deref();
        agent.context("cargo built the agent, but named no executable")
    }

    /// Runs all but those with programs that are not ours. `python`: where Python finds the packages that they need.
    pub fn run(&self, python: Option<&OsStr>) -> Result<()> {
        let ended = in_parallel(&self.tests, live::at_once(), |test| test.run(python))?;
        let failed: Vec<_> = ended.into_iter().flatten().collect();
        ensure!(failed.is_empty(), "tests failed: {}", failed.join(", "));
        Ok(())
    }
}

impl TestProgram {
    /// Prints what it said once it has ended. Returns its name if it failed.
    fn run(&self, python: Option<&OsStr>) -> Result<Option<String>> {
        let name = self.executable.display().to_string();
        let mut command = Command::new(&self.executable);
        command.args(["--skip", FOREIGN_TEST]);
        command.current_dir(&self.directory);
        command.env("CARGO_MANIFEST_DIR", &self.directory);
        command.envs(python.map(|path| ("PYTHONPATH", path)));
        let mut captured = Captured::new(&mut command)?;
        let status = Step::silent(&name, &mut command, LIMIT)?;
        print!("{name}\n{}{}", captured.stdout()?, captured.stderr()?);
        Ok((!status.success()).then_some(name))
    }
}

/// The names of all files of tests that need neither root nor programs that are not ours.
fn test_files() -> Result<BTreeSet<String>> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--locked", "--format-version=1"]);
    test_files_in(&quiet(&mut metadata)?)
}

/// The same, by `cargo metadata`.
fn test_files_in(metadata: &str) -> Result<BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(metadata)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let files = targets.filter(|target| target["kind"][0] == "test");
    let names = files.filter_map(|target| target["name"].as_str());
    let is_chosen = |name: &&str| *name != LIVE && !FOREIGN.contains(name);
    Ok(names.filter(is_chosen).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tests_are_found_among_targets() -> Result<()> {
        let metadata = r#"{"packages":[
            {"targets":[{"kind":["lib"],"name":"lab"},{"kind":["test"],"name":"report"},{"kind":["test"],"name":"live"}]},
            {"targets":[{"kind":["test"],"name":"report"},{"kind":["test"],"name":"page"}]}]}"#;
        let found = test_files_in(metadata)?;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["report"]);
        Ok(())
    }

    #[test]
    fn programs_are_found_among_messages() {
        let artifact = |name: &str, test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/tracer/Cargo.toml","target":{{"name":"{name}"}},"profile":{{"test":{test}}},"executable":{executable}}}"#
            )
        };
        let messages = [
            artifact("vault-tracer", false, r#""/t/vault-tracer""#),
            artifact("vault-tracer", true, r#""/t/vault_tracer-1""#),
            artifact("tracer", false, "null"),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let expected = Compiled {
            tests: vec![TestProgram {
                executable: "/t/vault_tracer-1".into(),
                directory: "/w/tracer".into(),
            }],
            agent: Some("/t/vault-tracer".into()),
        };
        assert_eq!(Compiled::by(&messages.join("\n")), expected);
    }
}

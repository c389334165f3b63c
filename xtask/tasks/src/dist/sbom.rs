//! What the executable is made of, as `CycloneDX` 1.5: the crates that cargo resolves for the target, with the lock file's checksums.
//! cargo-cyclonedx would have to be compiled for it, and names the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LIMIT, Machine, Release, VERSION};
use crate::{setup::cargo, ui::Step};

const AGENT: &str = "vault-tracer";

pub fn make(release: &Release, machine: Machine, into: &Path, step: &Step) -> Result<()> {
    let mut metadata = cargo();
    metadata
        .args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--filter-platform",
        ])
        .arg(machine.target)
        .current_dir(&release.root);
    let metadata = step.output("dependencies", &mut metadata, LIMIT)?;
    let lock = fs::read_to_string(release.root.join("Cargo.lock"))?;
    let sbom = document(&serde_json::from_str(&metadata)?, &checksums(&lock))?;
    let name = format!("vault-tracer-{VERSION}-{}.cdx.json", machine.arch);
    Ok(fs::write(
        into.join(name),
        serde_json::to_string_pretty(&sbom)? + "\n",
    )?)
}

/// By name and version: of the crates that come from a registry.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let packages = lock.split("[[package]]").skip(1);
    let entries = packages.filter_map(|package| {
        let value = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name))?;
            line.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    });
    entries.collect()
}

/// `metadata`: of `cargo metadata`.
fn document(metadata: &Value, checksums: &BTreeMap<(&str, &str), &str>) -> Result<Value> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let by_id: BTreeMap<_, _> = packages
        .iter()
        .filter_map(|p| Some((p["id"].as_str()?, p)))
        .collect();
    let agent = packages
        .iter()
        .find(|package| package["name"] == AGENT)
        .context("no agent")?;
    let agent = agent["id"].as_str().context("no ID")?;
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("no graph")?;
    let depends: BTreeMap<_, _> = nodes
        .iter()
        .filter_map(|n| Some((n["id"].as_str()?, linked(n))))
        .collect();
    let (mut reached, mut next) = (BTreeSet::from([agent]), vec![agent]);
    while let Some(id) = next.pop() {
        let further = depends.get(id).into_iter().flatten().copied();
        next.extend(further.filter(|id| reached.insert(id)));
    }
    let reference = |id: &str| {
        let package = by_id.get(id)?;
        Some(format!(
            "pkg:cargo/{}@{}",
            package["name"].as_str()?,
            package["version"].as_str()?
        ))
    };
    let component = |id: &&str| {
        let package = by_id.get(*id)?;
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        let mut component = json!({
            "type": if *id == agent { "application" } else { "library" },
            "bom-ref": reference(id)?, "purl": reference(id)?,
            "name": name, "version": version,
        });
        if let Some(license) = package["license"].as_str() {
            component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
        }
        if let Some(checksum) = checksums.get(&(name, version)) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        Some(component)
    };
    let edges = reached.iter().filter_map(|id| {
        let on: BTreeSet<_> = depends
            .get(id)?
            .iter()
            .filter_map(|id| reference(id))
            .collect();
        Some(json!({ "ref": reference(id)?, "dependsOn": on }))
    });
    let others = reached.iter().filter(|id| **id != agent);
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": { "component": component(&agent) },
        "components": others.filter_map(component).collect::<Vec<_>>(),
        "dependencies": edges.collect::<Vec<_>>(),
    }))
}

/// IDs of the packages that are compiled into this one: not those of its build script and its tests.
fn linked(node: &Value) -> Vec<&str> {
    let all = node["deps"].as_array().map_or(&[][..], Vec::as_slice);
    let is_linked = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array();
        kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind["kind"].is_null()))
    };
    all.iter()
        .filter(is_linked)
        .filter_map(|dependency| dependency["pkg"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_linked_is_listed_with_the_checksum_of_the_lock_file() -> Result<()> {
        let package = |name: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0" });
        let dependency =
            |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let packages = ["vault-tracer", "linked", "deep", "cc", "proptest"].map(package);
        let metadata = json!({
            "packages": packages,
            "resolve": { "nodes": [
                { "id": "vault-tracer", "deps": [
                    dependency("linked", Value::Null),
                    dependency("cc", json!("build")),
                    dependency("proptest", json!("dev")),
                ] },
                { "id": "linked", "deps": [dependency("deep", Value::Null)] },
                { "id": "deep", "deps": [dependency("linked", Value::Null)] },
            ] },
        });
        let lock =
            "version = 4\n\n[[package]]\nname = \"deep\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n";
        let sbom = document(&metadata, &checksums(lock))?;
        let names = |list: &Value| {
            let list = list.as_array().map_or(&[][..], Vec::as_slice);
            list.iter()
                .filter_map(|c| c["name"].as_str().map(str::to_owned))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&sbom["components"]), ["deep", "linked"]);
        assert_eq!(sbom["components"][0]["hashes"][0]["content"], "ab");
        assert_eq!(
            sbom["components"][1]["licenses"][0]["expression"],
            "MIT OR Apache-2.0"
        );
        assert_eq!(
            sbom["metadata"]["component"]["purl"],
            "pkg:cargo/vault-tracer@1.0.0"
        );
        assert_eq!(sbom["dependencies"].as_array().map(Vec::len), Some(3));
        Ok(())
    }
}

//! What cargo would compile for a package, each crate and build script a unit, without compiling it.

use std::{
    collections::{HashSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{setup::cargo, ui::Step};

const LIMIT: Duration = Duration::from_mins(5);

/// The units of a release build, by what makes cargo compile one anew.
pub struct Units(HashSet<u64>);

/// The output of `cargo build --unit-graph`.
#[derive(Deserialize)]
struct Graph {
    units: Vec<Unit>,
}

#[derive(Deserialize)]
struct Unit {
    dependencies: Vec<Dependency>,
    /// Package, target, features, profile, mode, platform.
    #[serde(flatten)]
    rest: Value,
}

#[derive(Deserialize)]
struct Dependency {
    index: usize,
}

impl Units {
    pub fn of(package: &str) -> Result<Self> {
        let mut graph = cargo();
        graph
            .args(["build", "--release", "--locked", "--package", package])
            .args(["--unit-graph", "-Zunstable-options"])
            // The graph is printed by unstable cargos only, or where this is set.
            .env("RUSTC_BOOTSTRAP", "1");
        let what = format!("asking cargo for the units of {package}");
        let text = Step::new("budget", package).output(&what, &mut graph, LIMIT)?;
        Self::parse(&text).context(what)
    }

    fn parse(text: &str) -> Result<Self> {
        let graph: Graph = serde_json::from_str(text)?;
        let mut known = vec![None; graph.units.len()];
        let all = (0..graph.units.len()).map(|index| identity(&graph.units, index, &mut known));
        Ok(Self(all.collect()))
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many are compiled where both are built.
    pub fn union(&self, other: &Self) -> usize {
        self.0.union(&other.0).count()
    }
}

/// A unit is compiled anew if any of its dependencies is.
fn identity(units: &[Unit], index: usize, known: &mut [Option<u64>]) -> u64 {
    if let Some(identity) = known[index] {
        return identity;
    }
    let unit = &units[index];
    let mut dependencies: Vec<_> = unit
        .dependencies
        .iter()
        .map(|dependency| identity(units, dependency.index, known))
        .collect();
    dependencies.sort_unstable();
    let mut hasher = DefaultHasher::new();
    (unit.rest.to_string(), dependencies).hash(&mut hasher);
    *known[index].insert(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(package: &str, features: &str, dependencies: &[usize]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|index| serde_json::json!({ "index": index }))
            .collect();
        serde_json::json!({ "pkg_id": package, "features": [features], "dependencies": dependencies })
    }

    fn units(units: &[Value]) -> Result<Units> {
        Units::parse(&serde_json::json!({ "version": 1, "units": units }).to_string())
    }

    #[test]
    fn a_unit_with_other_features_is_another_and_so_is_what_depends_on_it() -> Result<()> {
        let one = units(&[
            unit("a", "x", &[1, 2]),
            unit("b", "x", &[]),
            unit("c", "x", &[]),
        ])?;
        assert_eq!(one.count(), 3);
        let same = units(&[
            unit("c", "x", &[]),
            unit("b", "x", &[]),
            unit("a", "x", &[1, 0]),
        ])?;
        assert_eq!(one.union(&same), 3);
        let other = units(&[
            unit("a", "x", &[1, 2]),
            unit("b", "y", &[]),
            unit("c", "x", &[]),
        ])?;
        assert_eq!(one.union(&other), 5);
        Ok(())
    }
}

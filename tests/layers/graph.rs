//! Which module depends on which, and the cycles among them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::{Module, ModulePath, Source};

/// Re-exports of re-exports of so many steps are followed.
const DEPTH: usize = 8;

/// Each module's dependencies, with one path that shows each.
#[derive(Debug, Default)]
pub(crate) struct Graph(BTreeMap<String, BTreeMap<String, String>>);

impl Graph {
    /// A name counts for the module that defines it, whichever module re-exports it. A module that only declares and
    /// re-exports depends on nothing.
    pub(crate) fn of(source: &Source) -> Self {
        let mut graph = Self::default();
        for (path, module) in source.0.iter().filter(|(_, module)| module.has_code) {
            let from = path.join("::");
            let mut add = |target: ModulePath, written: &[String]| {
                let to = target.join("::");
                if to != from {
                    let edges = graph.0.entry(from.clone()).or_default();
                    edges.entry(to).or_insert_with(|| written.join("::"));
                }
            };
            for written in imported(module).chain(&module.paths) {
                if let Some(target) = source.target(path, written, DEPTH) {
                    add(target, written);
                }
            }
            for written in module.imports.iter().filter(|import| import.name.is_none()) {
                for target in source.glob(path, &written.path, DEPTH) {
                    add(target, &written.path);
                }
            }
        }
        graph
    }

    /// The same between rooms: a module with all that is inside of it. What a dependency shows is that the two rooms in which
    /// its ends lie, side by side in the innermost room that has both, depend on each other. Inside of a room the outer
    /// module and its parts may use each other.
    pub(crate) fn of_rooms(&self) -> Self {
        let mut rooms = Self::default();
        for (from, edges) in &self.0 {
            for (to, written) in edges {
                let Some((from, to)) = side_by_side(from, to) else {
                    continue;
                };
                let edges = rooms.0.entry(from).or_default();
                edges.entry(to).or_insert_with(|| written.clone());
            }
        }
        rooms
    }

    /// The shortest cycle through each module that is in one, each told once.
    pub(crate) fn cycles(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        let cycles = self
            .0
            .keys()
            .filter_map(|module| self.shortest_cycle(module));
        let new =
            cycles.filter(|cycle| seen.insert(cycle.iter().copied().collect::<BTreeSet<_>>()));
        new.map(|cycle| self.describe(&cycle)).collect()
    }

    /// The modules of the shortest way from `start` back to it.
    fn shortest_cycle<'a>(&'a self, start: &'a str) -> Option<Vec<&'a str>> {
        let mut reached_from = BTreeMap::new();
        let mut open = VecDeque::from([start]);
        while let Some(module) = open.pop_front() {
            for next in self.0.get(module).into_iter().flat_map(BTreeMap::keys) {
                if next == start {
                    let steps = |module: &&'a str| reached_from.get(module).copied();
                    let mut cycle: Vec<_> = std::iter::successors(Some(module), steps).collect();
                    cycle.reverse();
                    return Some(cycle);
                }
                if !reached_from.contains_key(next.as_str()) {
                    reached_from.insert(next.as_str(), module);
                    open.push_back(next);
                }
            }
        }
        None
    }

    /// `crate::a -> crate::b (by crate::b::X) -> crate::a (by super::Y)`
    fn describe(&self, cycle: &[&str]) -> String {
        let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
        let steps = steps.map(|(from, to)| format!(" -> {to} (by {})", self.0[*from][*to]));
        cycle[0].to_owned() + &steps.collect::<String>()
    }
}

/// The rooms of two modules below the innermost module that has both. `None` if one of them is inside of the other.
fn side_by_side(from: &str, to: &str) -> Option<(String, String)> {
    let (from, to): (Vec<_>, Vec<_>) = (from.split("::").collect(), to.split("::").collect());
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to);
    let room = ..=common.count();
    Some((from.get(room)?.join("::"), to.get(room)?.join("::")))
}

/// A module that is imported by its name counts where something of it is used.
fn imported(module: &Module) -> impl Iterator<Item = &ModulePath> {
    let named = module.imports.iter().filter(|import| import.name.is_some());
    named.map(|import| &import.path)
}

impl Source {
    /// The module that defines what `written` names in the module `from`. `None` for other crates, and for a module.
    fn target(&self, from: &[String], written: &[String], depth: usize) -> Option<ModulePath> {
        match self.resolve(from, written, depth)? {
            (module, Some(_)) => Some(module),
            (_, None) => None,
        }
    }

    /// The modules that a `*` of the path brings in.
    fn glob(&self, from: &[String], written: &[String], depth: usize) -> Vec<ModulePath> {
        let Some((target, None)) = self.resolve(from, written, depth) else {
            return self.target(from, written, depth).into_iter().collect();
        };
        if self.0[&target].has_code || depth == 0 {
            return vec![target];
        }
        let imports = self.0[&target].imports.iter();
        imports
            .flat_map(|import| match import.name {
                Some(_) => self
                    .target(&target, &import.path, depth - 1)
                    .into_iter()
                    .collect(),
                None => self.glob(&target, &import.path, depth - 1),
            })
            .collect()
    }

    /// The module that a path leads to, and the name in it, if it does not end at the module. `None` for other crates.
    fn resolve(
        &self,
        from: &[String],
        written: &[String],
        depth: usize,
    ) -> Option<(ModulePath, Option<String>)> {
        let mut module = from.to_vec();
        let mut rest = written;
        match written.first()?.as_str() {
            "crate" => {
                module.truncate(1);
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first if !self.knows(&module, first) => return None,
            _ => {}
        }
        loop {
            let known = self.0.get(&module)?;
            let Some(name) = rest.first() else {
                return Some((module, None));
            };
            if known.children.contains(name) && self.0.contains_key(&child(&module, name)) {
                module.push(name.clone());
                rest = &rest[1..];
                continue;
            }
            let elsewhere = (depth > 0)
                .then(|| self.imported_from(&module, rest, depth - 1))
                .flatten();
            return elsewhere.or_else(|| Some((module, Some(name.clone()))));
        }
    }

    fn knows(&self, module: &[String], name: &str) -> bool {
        let Some(module) = self.0.get(module) else {
            return false;
        };
        let imports = module.imports.iter();
        module.children.contains(name)
            || imports
                .flat_map(|import| &import.name)
                .any(|imported| imported == name)
    }

    /// Where a name comes from that a module does not define but import.
    fn imported_from(
        &self,
        module: &[String],
        rest: &[String],
        depth: usize,
    ) -> Option<(ModulePath, Option<String>)> {
        let known = self.0.get(module)?;
        let name = rest.first()?;
        if known.items.contains(name) {
            return None;
        }
        let by_name = known
            .imports
            .iter()
            .find(|import| import.name.as_ref() == Some(name));
        if let Some(import) = by_name {
            let path = [&import.path, &rest[1..]].concat();
            return self.resolve(module, &path, depth);
        }
        let globs = known.imports.iter().filter(|import| import.name.is_none());
        globs.into_iter().find_map(|glob| {
            let (target, None) = self.resolve(module, &glob.path, depth)? else {
                return None;
            };
            let path = [&target, rest].concat();
            let (found, name) = self.resolve(&target, &path, depth)?;
            let defines = name
                .as_ref()
                .is_none_or(|name| self.0[&found].items.contains(name));
            defines.then_some((found, name))
        })
    }
}

fn child(module: &[String], name: &str) -> ModulePath {
    [module, &[name.to_owned()]].concat()
}

//! The direction of dependencies: between the crates, and between the modules of the crates that are kept free of cycles.
//! The sources are read as text, so that this needs neither cargo nor a compiler.

mod graph;
mod source;
mod token;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use self::{
    graph::Graph,
    source::{Source, files},
};

/// The crates by directory, each with those of the workspace that it may depend on.
const CRATES: [(&str, &str, &[&str]); 10] = [
    ("tracer/model", "tracer-model", &[]),
    ("tracer/core", "tracer-core", &["tracer-model"]),
    ("tracer/format", "tracer-format", &["tracer-model"]),
    ("tracer/proc", "tracer-proc", &[]),
    ("tracer-ebpf", "tracer-ebpf", &[]),
    (
        "tracer",
        "vault-tracer",
        &[
            "tracer-model",
            "tracer-core",
            "tracer-format",
            "tracer-proc",
            "tracer-ebpf",
        ],
    ),
    (
        "tests",
        "vault-tracer-tests",
        &["tracer-format", "tracer-proc"],
    ),
    ("tests/events", "test-events", &["tracer-model"]),
    (
        "tests/support",
        "test-support",
        &["tracer-model", "tracer-core", "tracer-ebpf", "test-events"],
    ),
    (
        "xtask/tasks",
        "tasks",
        &["tracer-format", "vault-tracer-tests"],
    ),
];

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace is above")
}

fn manifest(directory: &str) -> Option<String> {
    fs::read_to_string(workspace().join(directory).join("Cargo.toml")).ok()
}

fn source(directory: &str) -> Source {
    let source = Source::read(&workspace().join(directory).join("src"));
    assert!(!source.0.is_empty(), "{directory} has no modules");
    source
}

/// The names in the sections `[dependencies]`, those of one target as well; not those of tests and build scripts.
fn dependencies(manifest: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            found.extend(section.strip_prefix("dependencies."));
        } else if section == "dependencies" || section.ends_with(".dependencies") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.insert(line[..end].trim_matches('"'));
        }
    }
    found
}

#[test]
fn crates_depend_in_one_direction() {
    for (directory, name, allowed) in CRATES {
        let Some(manifest) = manifest(directory) else {
            continue;
        };
        let is_ours = |dependency: &&str| CRATES.iter().any(|(_, name, _)| name == dependency);
        for dependency in dependencies(&manifest).into_iter().filter(is_ours) {
            assert!(
                allowed.contains(&dependency),
                "{name} must not depend on {dependency}"
            );
        }
    }
}

#[test]
fn every_member_of_the_workspace_has_its_place() {
    let manifest = manifest("").expect("the workspace has a manifest");
    let members = manifest.lines().find(|line| line.starts_with("members = "));
    let members = members
        .expect("members on one line")
        .split('"')
        .skip(1)
        .step_by(2);
    for member in members {
        let known = CRATES.iter().any(|(directory, ..)| *directory == member);
        assert!(known, "{member} is not in the table of this test");
    }
}

fn assert_no_cycle(directory: &str, graph: &Graph) {
    let cycles = graph.cycles();
    assert!(
        cycles.is_empty(),
        "modules of {directory} depend on each other in cycles:\n  {}",
        cycles.join("\n  ")
    );
}

/// Not even between a module and those inside of it.
#[test]
fn modules_of_model_and_core_have_no_cycle() {
    for directory in ["tracer/model", "tracer/core"] {
        assert_no_cycle(directory, &Graph::of(&source(directory)));
    }
}

#[test]
fn modules_of_the_other_crates_have_no_cycle() {
    // The tests are programs of their own, a file each.
    let directories = CRATES.map(|(directory, ..)| directory);
    for directory in directories.into_iter().filter(|it| *it != "tests") {
        assert_no_cycle(directory, &Graph::of(&source(directory)).of_rooms());
    }
}

#[test]
fn types_have_one_definition_per_crate() {
    let mut twice = Vec::new();
    for (directory, name, _) in CRATES {
        // The tests are no crate with one meaning for each name: each file is a program of its own.
        if directory == "tests" || manifest(directory).is_none() {
            continue;
        }
        twice.extend(
            types_defined_twice(&source(directory)).map(|found| format!("{name}: {found}")),
        );
    }
    assert!(
        twice.is_empty(),
        "types with several definitions:\n  {}",
        twice.join("\n  ")
    );
}

/// Lines of a file of source, at most.
const LINES: usize = 400;

#[test]
fn files_are_short() {
    let mut long = Vec::new();
    for directory in ["tracer", "tracer-ebpf", "tests", "xtask"] {
        for (path, text) in files(&workspace().join(directory)) {
            let lines = text.lines().count();
            if lines > LINES {
                long.push(format!("{directory}/{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "long files:\n  {}", long.join("\n  "));
}

/// `Entry (crate::a, crate::b)`
fn types_defined_twice(source: &Source) -> impl Iterator<Item = String> {
    let mut places = BTreeMap::<_, Vec<_>>::new();
    for (path, module) in &source.0 {
        for name in &module.types {
            places
                .entry(name.clone())
                .or_default()
                .push(path.join("::"));
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice.map(|(name, places)| format!("{name} ({})", places.join(", ")))
}

fn made_up(files: &[(&str, &str)]) -> Source {
    let files = files
        .iter()
        .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()));
    Source::parse(&files.collect())
}

fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    Graph::of(&made_up(files)).cycles()
}

const NONE: [&str; 0] = [];

#[test]
fn a_cycle_is_named_with_what_makes_it() {
    let files = [
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "pub struct B; fn f() { super::c::g() }"),
        (
            "c.rs",
            "use super::{a::{self, A}}; pub fn g() -> A { a::new() }",
        ),
    ];
    let expected = "crate::a -> crate::b (by crate::b::B) -> crate::c (by super::c::g) -> crate::a (by super::a::A)";
    assert_eq!(cycles(&files), [expected]);
    assert_eq!(
        cycles(&[files[0], files[1], ("b.rs", "pub struct B;"), files[3]]),
        NONE
    );
}

#[test]
fn a_parent_and_its_child_are_a_cycle_unless_the_parent_only_declares() {
    let child = ("a/b.rs", "use super::X; pub struct Y(X);");
    let used = ("a.rs", "mod b; use b::Y; pub struct X; fn f(_: Y) {}");
    assert_eq!(
        cycles(&[("lib.rs", "mod a;"), used, child]),
        ["crate::a -> crate::a::b (by b::Y) -> crate::a (by super::X)"]
    );
    let declared_only = ("a.rs", "mod b; pub struct X;");
    assert_eq!(cycles(&[("lib.rs", "mod a;"), declared_only, child]), NONE);
    let re_exports = (
        "a/mod.rs",
        "//! Docs.\nmod b;\nmod c;\npub use self::{b::Y, c::X};",
    );
    let files = [
        ("lib.rs", "mod a;"),
        re_exports,
        child,
        ("a/c.rs", "pub struct X;"),
    ];
    assert_eq!(cycles(&files), NONE);
}

#[test]
fn a_re_exported_name_counts_for_its_own_module() {
    let files = [
        ("lib.rs", "pub mod a; mod b; pub use b::*;"),
        ("a/mod.rs", "pub mod x; mod y; pub use y::{Y as Z};"),
        ("a/x.rs", "use super::Z; use crate::B; pub struct X(Z, B);"),
        ("a/y.rs", "pub struct Y;"),
        (
            "b.rs",
            "pub struct B; use crate::a; fn f() -> a::Z { a::Z }",
        ),
    ];
    assert_eq!(cycles(&files), NONE);
    let from_x = ("b.rs", "pub struct B; use crate::a; fn f() -> a::x::X {}");
    assert_eq!(
        cycles(&[files[0], files[1], files[2], files[3], from_x]).len(),
        1
    );
}

#[test]
fn a_room_may_use_what_is_inside_of_it_and_not_its_neighbour_in_a_circle() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod x; use self::x::X; pub struct A(X);"),
        ("a/x.rs", "use super::A; pub struct X(A);"),
        ("b.rs", "pub struct B;"),
    ];
    let circles = |files: &[(&str, &str)]| Graph::of(&made_up(files)).of_rooms().cycles();
    assert_eq!(circles(&files), NONE);
    let of_a = ("b.rs", "use crate::a::A; pub struct B(A);");
    let of_b = (
        "a/x.rs",
        "use super::A; use crate::b::B; pub struct X(A, B);",
    );
    assert_eq!(circles(&[files[0], files[1], files[2], of_a]), NONE);
    assert_eq!(
        circles(&[
            files[0],
            ("a.rs", "use crate::b::B; pub struct A(B);"),
            of_a
        ])
        .len(),
        1
    );
    // The room of `a` with all that is inside of it.
    let inside = [files[0], files[1], of_b, of_a];
    assert_eq!(circles(&inside).len(), 1);
}

#[test]
fn modules_inside_of_a_file_and_globs_count() {
    let text = "mod a { use super::b::*; pub struct A(B); } mod b { pub struct B; fn f() { crate::a::A } }";
    assert_eq!(cycles(&[("lib.rs", text)]).len(), 1);
}

#[test]
fn tests_and_comments_do_not_count() {
    let files = [
        ("lib.rs", "mod a; #[cfg(test)] mod tests; mod b;"),
        (
            "a.rs",
            "// crate::b::B\n#[cfg(test)] mod tests { use crate::b::B; struct A; }\nstruct A;",
        ),
        (
            "b.rs",
            "use crate::a::A; #[cfg(test)] const X: [u8; 1] = [1]; pub struct B(A); #[cfg(test)] impl B { fn a() {} }",
        ),
        ("tests.rs", "struct A; use crate::a::A;"),
    ];
    assert_eq!(cycles(&files), NONE);
    assert_eq!(types_defined_twice(&made_up(&files)).count(), 0);
}

#[test]
fn a_type_with_two_definitions_is_found() {
    let files = [
        (
            "lib.rs",
            "mod a; pub trait Read { type Item; } union Word { a: u8 }",
        ),
        (
            "a.rs",
            "struct Read<T>(T); impl X for Y { type Item = u8; type Word = u8; } enum Other {} type Word = u8;",
        ),
    ];
    let found: Vec<_> = types_defined_twice(&made_up(&files)).collect();
    assert_eq!(found, ["Read (crate, crate::a)", "Word (crate, crate::a)"]);
}

#[test]
fn dependencies_are_read_from_a_manifest() {
    let manifest = "[package]\nname = \"x\"\n[dependencies]\na.workspace = true\nb = \"1\"\n# c\n\
                    [target.'cfg(unix)'.dependencies]\nd = { path = \"d\" }\n[dev-dependencies]\ne = \"1\"\n";
    let found = dependencies(manifest);
    assert!(
        ["a", "b", "d"].iter().all(|name| found.contains(name)),
        "{found:?}"
    );
    assert!(!found.contains("e"));
}

//! The shared libraries that programs need, and their loaders.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{machine::Machine, setup::debian_root, ui::Step};

const LIMIT: Duration = Duration::from_mins(1);

/// Files by the paths at which programs find them. `programs` are of this architecture.
pub fn of(machine: Machine, programs: &[&Path], step: &Step) -> Result<BTreeMap<String, PathBuf>> {
    if machine.is_here() {
        return of_this_host(programs, step);
    }
    let root = debian_root(machine)?;
    let mut found = BTreeMap::new();
    let mut next: Vec<_> = programs
        .iter()
        .map(|program| (*program).to_owned())
        .collect();
    while let Some(file) = next.pop() {
        for needed in dynamic(&file, step)? {
            let path = place(&root, machine, &needed).with_context(|| {
                format!("{} needs {needed}, which is not there", file.display())
            })?;
            let library = root.join(path.trim_start_matches('/'));
            if found.insert(path, library.clone()).is_none() {
                next.push(library);
            }
        }
    }
    Ok(found)
}

/// What the loader of this host would take.
fn of_this_host(programs: &[&Path], step: &Step) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for program in programs {
        let mut ldd = Command::new("ldd");
        match step.output("asking ldd", ldd.arg(program), LIMIT) {
            Ok(listed) => {
                found.extend(listed_by_ldd(&listed).map(|path| (path.to_owned(), path.into())));
            }
            // It needs none.
            Err(error) if format!("{error:#}").contains("not a dynamic executable") => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Paths in the output of `ldd`: `libc.so.6 => /lib/libc.so.6 (0x...)`, `/lib64/ld-linux-x86-64.so.2 (0x...)`.
fn listed_by_ldd(output: &str) -> impl Iterator<Item = &str> {
    let lines = output.lines().map(str::split_whitespace);
    lines.filter_map(|mut words| words.find(|word| word.starts_with('/')))
}

/// Names of the libraries and path of the loader that an ELF file names.
fn dynamic(file: &Path, step: &Step) -> Result<Vec<String>> {
    let mut readelf = Command::new("readelf");
    readelf.args(["--wide", "--dynamic", "--program-headers"]);
    let listed = step.output(
        "reading what it needs",
        readelf.arg(file).env("LC_ALL", "C"),
        LIMIT,
    )?;
    Ok(listed_by_readelf(&listed).map(str::to_owned).collect())
}

/// Of `(NEEDED) Shared library: [libc.so.6]` and `[Requesting program interpreter: /lib/ld-linux-aarch64.so.1]`.
fn listed_by_readelf(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter_map(|line| {
        let library = line.contains("(NEEDED)").then_some("[");
        let (_, rest) = line.split_once(library.unwrap_or("program interpreter: "))?;
        Some(rest.split_once(']')?.0)
    })
}

/// The path below `root` at which the loader finds a library; that of the loader itself as it is.
fn place(root: &Path, machine: Machine, needed: &str) -> Option<String> {
    let triplet = format!("{}-linux-gnu", machine.arch);
    let directories = [format!("/lib/{triplet}"), format!("/usr/lib/{triplet}")];
    let mut places = vec![needed.to_owned()];
    if !needed.starts_with('/') {
        places = directories
            .map(|directory| format!("{directory}/{needed}"))
            .into();
    }
    let exists = |path: &String| root.join(path.trim_start_matches('/')).exists();
    places.into_iter().find(exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_that_ldd_finds() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                   \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                   \tlibgone.so => not found\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = listed_by_ldd(ldd).collect();
        assert_eq!(
            found,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(listed_by_ldd("\tstatically linked\n").count(), 0);
    }

    #[test]
    fn libraries_are_those_that_an_executable_names() {
        let readelf = "  INTERP         0x000270 0x0000000000000270 0x001b 0x1b R   0x1\n\
            \x20     [Requesting program interpreter: /lib/ld-linux-aarch64.so.1]\n\
            \x20 LOAD           0x000000 0x0000000000000000 R E 0x10000\n\
            \x200x0000000000000001 (NEEDED)             Shared library: [libgcc_s.so.1]\n\
            \x200x0000000000000001 (NEEDED)             Shared library: [libc.so.6]\n\
            \x200x000000000000000e (SONAME)             Library soname: [libx.so.1]\n";
        let found: Vec<_> = listed_by_readelf(readelf).collect();
        assert_eq!(
            found,
            ["/lib/ld-linux-aarch64.so.1", "libgcc_s.so.1", "libc.so.6"]
        );
        assert_eq!(
            listed_by_readelf("There is no dynamic section in this file.\n").count(),
            0
        );
    }
}

//! What the executable says of its Go: version, architecture, and where `runtime.g` keeps the
//! goroutine's ID and that of the goroutine that started it.

pub mod buildinfo;
pub mod dwarf;
pub mod table;

use std::fs::File;

use anyhow::{Context, Result, bail};
use object::{Architecture, Object, ReadCache, ReadRef};

use self::buildinfo::BuildInfo;

/// What is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoFacts {
    /// `go1.27.3`.
    pub version: Option<String>,
    /// Path of the main module: `github.com/openbao/openbao`.
    pub module: Option<String>,
    /// Where goroutine IDs lie.
    pub layout: Option<GoLayout>,
    /// What the operator should know of the above.
    pub warnings: Vec<String>,
}

/// Byte offsets in `runtime.g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoLayout {
    /// `goid`.
    pub goid: u32,
    /// `parentGoid`, since Go 1.21.
    pub parent_goid: Option<u32>,
}

/// Reads the executable; fails if it is no Go program for a supported machine.
pub fn facts(executable: &File) -> Result<GoFacts> {
    let cache = ReadCache::new(executable);
    let file = object::File::parse(&cache).context("its executable is no ELF file")?;
    of(&file)
}

fn of<'a, R: ReadRef<'a>>(file: &object::File<'a, R>) -> Result<GoFacts> {
    let Some(build) = buildinfo::read(file) else {
        bail!("it is not a Go program: give the PID of a Vault or OpenBao server");
    };
    let machine = file.architecture();
    if !matches!(machine, Architecture::X86_64 | Architecture::Aarch64) {
        bail!("programs for {machine:?} are not supported, only x86-64 and arm64");
    }
    Ok(decide(build, dwarf::layout(file)))
}

/// The binary's own debugging information knows best; then the table; then nothing, said aloud.
fn decide(build: BuildInfo, dwarf: Option<GoLayout>) -> GoFacts {
    let known = build.version.as_deref().and_then(table::layout);
    let mut warnings = Vec::new();
    if dwarf.or(known).is_none() {
        let version = build.version.as_deref().unwrap_or("an unknown version");
        warnings.push(format!(
            "the server was built with Go {version}, whose goroutines this version of vault-tracer does not know, and without debugging information: stalls cannot be tied to clients"
        ));
    }
    if let (Some(dwarf), Some(known)) = (dwarf, known)
        && dwarf != known
    {
        log::debug!("the executable's DWARF says {dwarf:?}, the table {known:?}: DWARF it is");
    }
    GoFacts {
        layout: dwarf.or(known),
        version: build.version,
        module: build.module,
        warnings,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(version: &str) -> BuildInfo {
        BuildInfo {
            version: Some(version.to_owned()),
            module: None,
        }
    }

    #[test]
    fn dwarf_knows_better_than_the_table() {
        let own = GoLayout {
            goid: 8,
            parent_goid: Some(16),
        };
        let facts = decide(build("go1.27.3"), Some(own));
        assert_eq!((facts.layout, facts.warnings.len()), (Some(own), 0));
    }

    #[test]
    fn an_unknown_version_without_dwarf_is_a_warning_and_no_guess() {
        let facts = decide(build("go1.99.0"), None);
        assert_eq!(facts.layout, None);
        assert!(
            facts.warnings[0].contains("go1.99.0"),
            "{:?}",
            facts.warnings
        );
    }

    #[test]
    fn this_test_is_no_go_program() {
        let file = File::open("/proc/self/exe").expect("opened");
        let error = facts(&file).expect_err("not Go").to_string();
        assert!(error.contains("not a Go program"), "{error}");
    }
}

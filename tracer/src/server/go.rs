//! Go's version, and where `runtime.g` has the goroutine's ID and that of the goroutine that started it, from the
//! executable.

pub(crate) mod buildinfo;
pub(crate) mod dwarf;
pub(crate) mod table;

use anyhow::{Result, anyhow, bail};
use object::Architecture;

use self::{buildinfo::BuildInfo, dwarf::Sections};
use super::executable::Executable;

/// What is known about the Go that built an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoFacts {
    /// `go1.27.3`.
    pub(crate) version: Option<String>,
    /// Path of the main module: `github.com/openbao/openbao`.
    pub(crate) module: Option<String>,
    /// Version of the main module: `v2.7.2`.
    pub(crate) module_version: Option<String>,
    /// Where goroutines have their IDs.
    pub(crate) layout: Option<GoLayout>,
    /// Where `layout` comes from.
    pub(crate) layout_source: Option<LayoutSource>,
    /// Doubts about the above, for the operator.
    pub(crate) warnings: Vec<String>,
}

/// Where a layout comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayoutSource {
    /// The executable's debugging information.
    Dwarf,
    /// [`table`], by the version.
    Table,
}

/// Byte offsets in `runtime.g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GoLayout {
    /// `goid`.
    pub(crate) goid: u32,
    /// `parentGoid`, since Go 1.21.
    pub(crate) parent_goid: Option<u32>,
}

/// Reads the build information; fails if it is no Go program for a supported machine.
pub(crate) fn build(executable: &Executable<'_>) -> Result<BuildInfo> {
    let Some(build) = buildinfo::read(executable) else {
        bail!("it is not a Go program: give the PID of a Vault or OpenBao server");
    };
    let machine = executable.machine();
    if !matches!(machine, Architecture::X86_64 | Architecture::Aarch64) {
        bail!("programs for {machine:?} are not supported, only x86-64 and arm64");
    }
    Ok(build)
}

/// `debug`: its debugging information, if it has any that can be read.
pub(crate) fn facts(build: BuildInfo, debug: &Result<Option<Sections>>) -> GoFacts {
    let layout = match debug {
        Ok(debug) => debug.as_ref().map(dwarf::layout).transpose(),
        Err(error) => Err(anyhow!("{error:#}")),
    };
    decide(build, layout)
}

/// The executable's own debugging information precedes the table. Without both there is a warning.
fn decide(build: BuildInfo, dwarf: Result<Option<GoLayout>>) -> GoFacts {
    let known = build.version.as_deref().and_then(table::layout);
    let mut warnings = Vec::new();
    let own = dwarf.unwrap_or_else(|error| {
        warnings.push(format!(
            "cannot use the server's debugging information: {error:#}"
        ));
        None
    });
    let (layout, layout_source) = match (own, known) {
        (Some(own), _) => (Some(own), Some(LayoutSource::Dwarf)),
        (None, Some(known)) => (Some(known), Some(LayoutSource::Table)),
        (None, None) => (None, None),
    };
    warnings.extend(disagreement(build.version.as_deref(), own, known));
    GoFacts {
        layout,
        layout_source,
        version: build.version,
        module: build.module,
        module_version: build.module_version,
        warnings,
    }
}

fn disagreement(
    version: Option<&str>,
    own: Option<GoLayout>,
    known: Option<GoLayout>,
) -> Option<String> {
    let version = version.unwrap_or("an unknown version");
    match (own, known) {
        (None, None) => Some(format!(
            "the server was built with Go {version}, whose goroutines this version of vault-tracer does not know, and without debugging information: stalls cannot be tied to clients"
        )),
        (Some(own), Some(known)) if own != known => Some(format!(
            "the server's debugging information says {own:?}, Go {version} usually has {known:?}: the former is used"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn built_with(version: &str) -> BuildInfo {
        BuildInfo {
            version: Some(version.to_owned()),
            ..BuildInfo::default()
        }
    }

    const OWN: GoLayout = GoLayout {
        goid: 8,
        parent_goid: Some(16),
    };

    #[test]
    fn dwarf_precedes_the_table() {
        let facts = decide(built_with("go1.99.0"), Ok(Some(OWN)));
        assert_eq!((facts.layout, facts.warnings.len()), (Some(OWN), 0));
        let facts = decide(built_with("go1.27.3"), Ok(Some(OWN)));
        assert_eq!(
            (facts.layout, facts.layout_source),
            (Some(OWN), Some(LayoutSource::Dwarf))
        );
        assert!(
            facts.warnings[0].contains("go1.27.3"),
            "{:?}",
            facts.warnings
        );
    }

    #[test]
    fn without_dwarf_the_table_is_used() {
        let facts = decide(built_with("go1.27.3"), Ok(None));
        assert_eq!(facts.layout, table::layout("go1.27.3"));
        assert_eq!(
            (facts.layout_source, facts.warnings.len()),
            (Some(LayoutSource::Table), 0)
        );
    }

    #[test]
    fn useless_debugging_information_is_a_warning() {
        let facts = decide(
            built_with("go1.27.3"),
            Err(anyhow::anyhow!("it is damaged")),
        );
        assert_eq!(facts.layout_source, Some(LayoutSource::Table));
        assert!(
            facts.warnings[0].contains("damaged"),
            "{:?}",
            facts.warnings
        );
    }

    #[test]
    fn an_unknown_version_without_dwarf_is_a_warning() {
        let facts = decide(built_with("go1.99.0"), Ok(None));
        assert_eq!((facts.layout, facts.layout_source), (None, None));
        assert!(
            facts.warnings[0].contains("go1.99.0"),
            "{:?}",
            facts.warnings
        );
    }

    #[test]
    fn reads_real_programs() {
        let excerpts: [&[u8]; 2] = [
            include_bytes!("testdata/go1.27.3-amd64.elf"),
            include_bytes!("testdata/go1.27.3-arm64.elf"),
        ];
        for bytes in excerpts {
            let executable = Executable::of(&bytes).expect("an ELF file");
            let debug = Sections::read(&executable, |_| false);
            let facts = facts(build(&executable).expect("a Go program"), &debug);
            assert_eq!(facts.version.as_deref(), Some("go1.27.3"));
            assert_eq!(facts.module.as_deref(), Some("example.com/hello"));
            assert_eq!(facts.layout_source, Some(LayoutSource::Dwarf));
            assert_eq!(
                facts.layout,
                table::layout("go1.27.3"),
                "{:?}",
                facts.warnings
            );
        }
    }

    #[test]
    fn other_machines_are_an_error() {
        let mut bytes = include_bytes!("testdata/go1.27.3-amd64.elf").to_vec();
        bytes[18] = 243; // e_machine: EM_RISCV
        let bytes = bytes.as_slice();
        let executable = Executable::of(&bytes).expect("an ELF file");
        let error = build(&executable).expect_err("not supported").to_string();
        assert!(error.contains("Riscv64"), "{error}");
    }

    #[test]
    fn this_test_is_no_go_program() {
        let file = File::open("/proc/self/exe").expect("opened");
        let executable = Executable::open(&file).expect("an ELF file");
        let error = build(&executable).expect_err("not Go").to_string();
        assert!(error.contains("not a Go program"), "{error}");
    }
}

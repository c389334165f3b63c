//! The layout of `runtime.g` by Go version, for executables without debugging information. Measured on amd64 and
//! arm64, which agree; the offsets are not monotonic in the version.

use super::{GoLayout, dwarf::Structures};

/// Byte offsets (`runtime/runtime2.go`).
struct Row {
    /// First and last minor version of Go 1.
    versions: (u32, u32),
    status: u32,
    goid: u32,
    parent: u32,
    /// `trackingSeq`.
    stops: u32,
    /// `syscallsp`, `syscallpc`, `syscallbp`: none in versions that do not save the last.
    syscall: Option<[u32; 3]>,
    /// In `gobuf`.
    bp: u32,
}

const ROWS: [Row; 5] = [
    row((21, 21), 144, (152, 272), 188, None, 48),
    row((22, 22), 144, (152, 272), 191, None, 48),
    row((23, 24), 152, (160, 280), 199, Some([112, 120, 128]), 48),
    row((25, 25), 144, (152, 272), 191, Some([104, 112, 120]), 40),
    row((26, 27), 144, (152, 280), 191, Some([104, 112, 120]), 40),
];

const fn row(
    versions: (u32, u32),
    status: u32,
    (goid, parent): (u32, u32),
    stops: u32,
    syscall: Option<[u32; 3]>,
    bp: u32,
) -> Row {
    Row {
        versions,
        status,
        goid,
        parent,
        stops,
        syscall,
        bp,
    }
}

/// `version`: `go1.27.3` and the like. `None` for versions that were not measured, such as development versions.
pub(crate) fn layout(version: &str) -> Option<GoLayout> {
    find(version).map(|row| GoLayout {
        goid: row.goid,
        parent_goid: Some(row.parent),
    })
}

/// The runtime's structures in the form of [`super::dwarf::Sections::structures`], as far as they are needed.
pub(crate) fn structures(version: &str) -> Option<Structures> {
    find(version).map(Row::structures)
}

fn find(version: &str) -> Option<&'static Row> {
    let minor = minor(version)?;
    ROWS.iter()
        .find(|row| (row.versions.0..=row.versions.1).contains(&minor))
}

impl Row {
    fn structures(&self) -> Structures {
        let names = ["syscallsp", "syscallpc", "syscallbp"];
        let syscall = self.syscall.map(|offsets| names.into_iter().zip(offsets));
        let own = [
            ("stack", 0),
            ("sched", 56),
            ("atomicstatus", self.status),
            ("goid", self.goid),
            ("parentGoid", self.parent),
            ("trackingSeq", self.stops),
        ];
        let g = own.into_iter().chain(syscall.into_iter().flatten());
        let gobuf = [("sp", 0), ("pc", 8), ("bp", self.bp)];
        [
            structure("runtime.g", g),
            structure("runtime.gobuf", gobuf),
            structure("runtime.stack", [("lo", 0), ("hi", 8)]),
        ]
        .into()
    }
}

fn structure(
    name: &str,
    members: impl IntoIterator<Item = (&'static str, u32)>,
) -> (String, std::collections::HashMap<String, u32>) {
    let members = members.into_iter().map(|(name, at)| (name.to_owned(), at));
    (name.to_owned(), members.collect())
}

/// 27 of `go1.27.3`, `go1.27rc1`, `go1.27.3 X:boringcrypto`; `None` for `devel go1.27-a1b2c3` and,
/// since Go 1.26, `go1.27-devel_a1b2c3` (`cmd/dist/build.go`): anything may have changed there.
fn minor(version: &str) -> Option<u32> {
    let rest = version
        .strip_prefix("go1.")
        .filter(|rest| !rest.contains("devel"))?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{super::dwarf::Sections, *};
    use crate::server::executable::Executable;

    #[test]
    fn parses_versions_in_all_spellings() {
        let offsets = |version| layout(version).map(|l| (l.goid, l.parent_goid));
        assert_eq!(offsets("go1.21"), Some((152, Some(272))));
        assert_eq!(offsets("go1.24.5 X:boringcrypto"), Some((160, Some(280))));
        assert_eq!(offsets("go1.25rc1"), Some((152, Some(272))));
        assert_eq!(offsets("go1.27.3"), Some((152, Some(280))));
    }

    #[test]
    fn does_not_guess() {
        for version in [
            "go1.20.1",
            "go1.28",
            "devel go1.28-abc",
            "go1.",
            "go2.1",
            "",
        ] {
            assert_eq!(layout(version), None, "{version}");
            assert_eq!(structures(version), None, "{version}");
        }
    }

    #[test]
    fn agrees_with_debugging_information() {
        let excerpts: [&[u8]; 2] = [
            include_bytes!("../testdata/go1.27.3-amd64.elf"),
            include_bytes!("../testdata/go1.27.3-arm64.elf"),
        ];
        let table = structures("go1.27.3").expect("known");
        for bytes in excerpts {
            let executable = Executable::of(&bytes).expect("an ELF file");
            let debug = Sections::read(&executable, |_| false);
            let debug = debug.expect("readable").expect("described");
            let dwarf = debug.structures(&["runtime.g"]).expect("readable");
            for (member, at) in &table["runtime.g"] {
                assert_eq!(dwarf["runtime.g"].get(member), Some(at), "{member}");
            }
        }
    }
}

//! Where goroutine IDs lie, by Go version, for executables without debugging information. Measured
//! on amd64 and arm64, which agree; the offsets are not monotonic in the version.

use super::GoLayout;

/// First and last minor version of Go 1, `goid`, `parentGoid` (`runtime/runtime2.go`).
const OFFSETS: [(u32, u32, u32, u32); 4] = [
    (21, 22, 152, 272),
    (23, 24, 160, 280),
    (25, 25, 152, 272),
    (26, 27, 152, 280),
];

/// Of `go1.27.3` and the like; `None` for versions not measured, development versions among them.
pub fn layout(version: &str) -> Option<GoLayout> {
    let minor = minor(version)?;
    let row = OFFSETS
        .iter()
        .find(|row| (row.0..=row.1).contains(&minor))?;
    Some(GoLayout {
        goid: row.2,
        parent_goid: Some(row.3),
    })
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
    use super::*;

    #[test]
    fn knows_versions_in_all_spellings() {
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
        }
    }
}

//! The build information that the Go linker wrote (`debug/buildinfo`, `cmd/link/internal/ld/data.go`).

use bytes::Buf;

use crate::server::executable::Executable;

const SECTION: &str = ".go.buildinfo";
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// Flag: the strings follow inline, as since Go 1.18. Before, pointers to them did.
const INLINE: u8 = 2;
const HEADER: usize = 32;
/// `runtime/debug.modinfo` is framed by 16 bytes on both sides (`cmd/go/internal/modload/build.go`).
const FRAME: usize = 16;

/// The build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BuildInfo {
    /// `go1.27.3`; unknown before Go 1.18.
    pub(crate) version: Option<String>,
    /// Path of the main module.
    pub(crate) module: Option<String>,
    /// Version of the main module: `v2.7.2`; `(devel)` where it was built without a tag.
    pub(crate) module_version: Option<String>,
}

/// `None` if this is no Go program.
pub(crate) fn read(executable: &Executable<'_>) -> Option<BuildInfo> {
    let section = executable.section(SECTION).ok()??;
    parse(&section)
}

fn parse(data: &[u8]) -> Option<BuildInfo> {
    if !data.starts_with(MAGIC) {
        return None;
    }
    let inline = data
        .get(MAGIC.len() + 1)
        .is_some_and(|flags| flags & INLINE != 0);
    let Some(mut strings) = data.get(HEADER..).filter(|_| inline) else {
        return Some(BuildInfo::default());
    };
    let version = string(&mut strings).and_then(text);
    let (module, module_version) = string(&mut strings).and_then(main_module).unzip();
    Some(BuildInfo {
        version,
        module,
        module_version,
    })
}

/// A length as a varint (`encoding/binary.Uvarint`), then the bytes.
fn string<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut len: usize = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = from.has_remaining().then(|| from.get_u8())?;
        len |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (string, rest) = from.split_at_checked(len)?;
            *from = rest;
            return Some(string);
        }
    }
    None
}

fn text(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The `mod` line of the module information: `mod\tPATH\tVERSION\t...`.
fn main_module(info: &[u8]) -> Option<(String, String)> {
    let info = info.get(FRAME..info.len().checked_sub(FRAME)?)?;
    let info = std::str::from_utf8(info).ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("mod\t"))?;
    let mut words = line.split('\t').map(str::to_owned);
    Some((words.next()?, words.next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(version: &str, info: &str) -> Vec<u8> {
        let mut data = MAGIC.to_vec();
        data.extend([8, INLINE]);
        data.resize(HEADER, 0);
        for string in [version.to_owned(), info.to_owned()] {
            // Long enough for two bytes of length.
            data.extend([
                (string.len() & 0x7f | 0x80) as u8,
                (string.len() >> 7) as u8,
            ]);
            data.extend(string.bytes());
        }
        data
    }

    #[test]
    fn reads_version_and_module() {
        let frame = "0123456789abcdef";
        let info = format!(
            "{frame}path\tgithub.com/openbao/openbao\nmod\tgithub.com/openbao/openbao\t(devel)\t\n{frame}"
        );
        let build = parse(&section("go1.27.3", &info)).expect("a Go program");
        assert_eq!(build.version.as_deref(), Some("go1.27.3"));
        assert_eq!(build.module.as_deref(), Some("github.com/openbao/openbao"));
        assert_eq!(build.module_version.as_deref(), Some("(devel)"));
    }

    #[test]
    fn old_programs_are_go_programs_of_unknown_version() {
        let mut data = section("go1.17", "");
        data[MAGIC.len() + 1] = 0;
        assert_eq!(parse(&data), Some(BuildInfo::default()));
    }

    #[test]
    fn other_sections_are_not_go() {
        assert_eq!(parse(b"something else entirely, of some length"), None);
    }

    proptest! {
        #[test]
        fn damage_is_survived(cut in 0..60usize, byte in any::<u8>()) {
            let mut data = section("go1.27.3", "0123456789abcdef0123456789abcdef");
            data.truncate(HEADER + cut);
            if let Some(last) = data.last_mut() {
                *last = byte;
            }
            let _ = parse(&data);
        }
    }
}

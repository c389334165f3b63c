//! The server's own version: variables of its package `version`, in its memory. No build information has it where the
//! server was built without a tag, as Vault usually is.

use super::memory::Memory;
use crate::server::generation::Product;

/// Most bytes of a version.
const MAX: u64 = 64;

/// Addresses of the variables, each a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct VersionVariables {
    /// `fullVersion`: `2.1.0-beta1`.
    full: Option<u64>,
    /// `Version`: `2.1.0`.
    version: Option<u64>,
    /// `VersionPrerelease`: `beta1`.
    prerelease: Option<u64>,
}

impl VersionVariables {
    /// Takes the address of a symbol, if it is one of these (`version/version_base.go`, in `OpenBao` below `internal`).
    pub(super) fn take(&mut self, symbol: &[u8], at: u64) {
        let Some((package, name)) = split(symbol) else {
            return;
        };
        let variable = match name {
            "fullVersion" => &mut self.full,
            "Version" => &mut self.version,
            "VersionPrerelease" => &mut self.prerelease,
            _ => return,
        };
        if is_servers(package) {
            *variable = Some(at);
        }
    }

    pub(super) fn relocate(self, by: u64) -> Self {
        let moved = |at: u64| at.wrapping_add(by);
        Self {
            full: self.full.map(moved),
            version: self.version.map(moved),
            prerelease: self.prerelease.map(moved),
        }
    }

    pub(super) fn read(&self, memory: &impl Memory) -> Option<String> {
        let text = |at: Option<u64>| at.and_then(|at| text(memory, at));
        text(self.full).or_else(|| {
            let version = text(self.version)?;
            let suffix = text(self.prerelease).map(|prerelease| format!("-{prerelease}"));
            Some(version + &suffix.unwrap_or_default())
        })
    }
}

/// The package and the name of a variable.
fn split(symbol: &[u8]) -> Option<(&str, &str)> {
    let may_be = symbol.ends_with(b"ersion") || symbol.ends_with(b"VersionPrerelease");
    let symbol = may_be.then(|| std::str::from_utf8(symbol).ok())??;
    symbol.rsplit_once('.')
}

/// Whether this is package `version` of the server's module, and none of what it is built of.
fn is_servers(package: &str) -> bool {
    let module = package.strip_suffix("/version").unwrap_or_default();
    let module = module.strip_suffix("/internal").unwrap_or(module);
    Product::of_module(module.strip_suffix("/sdk").unwrap_or(module)).is_some()
}

/// A string (`runtime/string.go`, `stringStruct`), if it can be a version.
fn text(memory: &impl Memory, at: u64) -> Option<String> {
    let (bytes, len) = (memory.word(at).ok()?, memory.word(at.checked_add(8)?).ok()?);
    let mut text = vec![0; (1..=MAX).contains(&len).then_some(len as usize)?];
    memory.read(bytes, &mut text).ok()?;
    let text = String::from_utf8(text).ok()?;
    let text = text.trim();
    let is_of_version = |char: char| char.is_ascii_alphanumeric() || ".-+_".contains(char);
    (!text.is_empty() && text.chars().all(is_of_version)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::goroutines::ProcessMemory;

    fn variables(symbols: &[(&str, &'static str)]) -> (VersionVariables, Box<[[u64; 2]]>) {
        let strings = symbols
            .iter()
            .map(|(_, text)| [text.as_ptr() as u64, text.len() as u64]);
        let strings: Box<_> = strings.collect();
        let mut variables = VersionVariables::default();
        for ((symbol, _), string) in symbols.iter().zip(&strings) {
            variables.take(symbol.as_bytes(), string.as_ptr() as u64);
        }
        (variables, strings)
    }

    fn read(symbols: &[(&str, &'static str)]) -> Option<String> {
        let (variables, _strings) = variables(symbols);
        let memory = ProcessMemory::open(std::process::id() as i32).expect("our own");
        variables.read(&memory)
    }

    #[test]
    fn versions_of_all_generations_are_read() {
        const VAULT: &str = "github.com/hashicorp/vault/version.Version";
        for (symbols, expected) in [
            (
                &[
                    (
                        "github.com/hashicorp/vault/version.fullVersion",
                        "2.1.0-beta1\n",
                    ),
                    (VAULT, "2.1.0"),
                ][..],
                Some("2.1.0-beta1"),
            ),
            (
                &[
                    (VAULT, "1.14.2"),
                    ("github.com/hashicorp/vault/version.VersionPrerelease", ""),
                ],
                Some("1.14.2"),
            ),
            (
                &[
                    (VAULT, "1.16.0"),
                    (
                        "github.com/hashicorp/vault/version.VersionPrerelease",
                        "beta1",
                    ),
                ],
                Some("1.16.0-beta1"),
            ),
            (
                &[("github.com/hashicorp/vault/sdk/version.Version", "1.12.0")],
                Some("1.12.0"),
            ),
            (
                &[(
                    "github.com/openbao/openbao/v2/internal/version.fullVersion",
                    "2.7.2",
                )],
                Some("2.7.2"),
            ),
            (
                &[("github.com/openbao/openbao/version.fullVersion", "2.0.0")],
                Some("2.0.0"),
            ),
            (
                &[("github.com/hashicorp/consul/version.Version", "1.0.0")],
                None,
            ),
            (&[(VAULT, "not a version")], None),
            (&[(VAULT, "")], None),
            (&[], None),
        ] {
            assert_eq!(read(symbols).as_deref(), expected, "{symbols:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_version() {
        let mut variables = VersionVariables::default();
        variables.take(b"github.com/hashicorp/vault/version.Version", 8);
        let memory = ProcessMemory::open(std::process::id() as i32).expect("our own");
        assert_eq!(variables.read(&memory), None);
        assert_eq!(variables.relocate(u64::MAX).read(&memory), None);
    }
}

//! How a server audits: who is blocked, what entries queue by, and how long an entry may take. That changed several times
//! in Vault; `docs/vault-versions.md` has what was tried.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::Serialize;

/// What a function or a type shows of the generation. Their names are in `goroutines/roles.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AuditMark {
    /// Devices that the request's goroutine calls.
    Backends,
    /// Devices that are written to by goroutines of their own.
    Sinks,
    /// The audit broker of package `audit`, since 1.17.
    BrokerOfAudit,
    /// The broker's function that gives each entry a context of its own.
    EntryContext,
    /// Sinks that entries queue for by permits.
    Permits,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Vault,
    OpenBao,
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vault => "Vault",
            Self::OpenBao => "OpenBao",
        })
    }
}

impl Product {
    /// By the path of the main module; `OpenBao`'s has its major version appended.
    pub(crate) fn of_module(module: &str) -> Option<Self> {
        let modules = [
            (Self::Vault, "github.com/hashicorp/vault"),
            (Self::OpenBao, "github.com/openbao/openbao"),
        ];
        let is_of = |path: &str| {
            let rest = module.strip_prefix(path);
            let is_major = |rest: &str| {
                let number = rest.strip_prefix("/v").unwrap_or_default();
                number.parse::<u32>().is_ok()
            };
            rest.is_some_and(|rest| rest.is_empty() || is_major(rest))
        };
        let found = modules.into_iter().find(|(_, path)| is_of(path));
        found.map(|(product, _)| product)
    }
}

/// `2.1.0` of `2.1.0-beta1`, `v1.16.3+ent` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers = text.strip_prefix('v').unwrap_or(text);
        let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers
            .split('.')
            .map(|number| number.parse().map_err(drop));
        let mut next = || numbers.next().unwrap_or(Err(()));
        Ok(Self(next()?, next()?, next()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The newest version of each that was tried. The rest of what was tried: `docs/vault-versions.md`.
pub(crate) fn newest_tried(product: Product) -> Version {
    match product {
        Product::Vault => Version(2, 1, 0),
        Product::OpenBao => Version(2, 7, 2),
    }
}

/// A way of auditing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The request's own goroutine, device after device.
    Backends,
    /// Sinks, with the context of the request.
    SinksRequestContext,
    /// Sinks; the entry of the response has 5 s of its own.
    SinksResponseContext,
    /// Sinks; an entry has 5 s of its own where the request has less.
    SinksShortContext,
    /// Sinks; which of the three above does not show.
    SinksUnknownContext,
    /// Sinks; each entry has 10 s of its own.
    SinksOwnContext,
    /// The same, with queues that end with these 10 s.
    SinksPermits,
}

/// What is known of a generation, in the words of `doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GenerationFacts {
    /// The versions that audit so.
    pub(crate) versions: &'static str,
    /// Who is blocked by a device.
    pub(crate) blocked: &'static str,
    /// What an entry queues by.
    pub(crate) queue: &'static str,
    /// How long an entry may take.
    pub(crate) limit: &'static str,
}

/// Functions of the executable precede its version: changes were carried over to older versions. `None` if neither
/// tells.
pub(crate) fn decide(
    product: Option<Product>,
    version: Option<Version>,
    marks: &BTreeSet<AuditMark>,
) -> Option<Generation> {
    let has = |mark| marks.contains(&mark);
    if has(AuditMark::Permits) {
        return Some(Generation::SinksPermits);
    }
    if has(AuditMark::Sinks) {
        return Some(match version {
            _ if has(AuditMark::EntryContext) => Generation::SinksOwnContext,
            _ if has(AuditMark::BrokerOfAudit) => Generation::SinksShortContext,
            Some(version) if product == Some(Product::Vault) => of_sinks(version),
            _ => Generation::SinksUnknownContext,
        });
    }
    if has(AuditMark::Backends) {
        return Some(Generation::Backends);
    }
    match (product?, version?) {
        (Product::OpenBao, _) => Some(Generation::Backends),
        (Product::Vault, version) if version < Version(1, 15, 0) => Some(Generation::Backends),
        (Product::Vault, version) if version < Version(1, 17, 0) => Some(of_sinks(version)),
        (Product::Vault, version) if version < Version(1, 17, 6) => {
            Some(Generation::SinksShortContext)
        }
        (Product::Vault, version) if version < Version(2, 1, 0) => {
            Some(Generation::SinksOwnContext)
        }
        (Product::Vault, _) => Some(Generation::SinksPermits),
    }
}

/// Of Vault 1.15 and 1.16, whose functions are the same.
fn of_sinks(version: Version) -> Generation {
    if version < Version(1, 15, 3) {
        Generation::SinksRequestContext
    } else if version < Version(1, 16, 3) {
        Generation::SinksResponseContext
    } else {
        Generation::SinksShortContext
    }
}

impl Generation {
    pub(crate) fn facts(self) -> GenerationFacts {
        const SINKS: &str =
            "the request waits while a goroutine for each device writes its entry, side by side";
        const MUTEX: &str = "the device's lock, without a limit of its own";
        let (versions, limit) = match self {
            Self::Backends => {
                return GenerationFacts {
                    versions: "Vault up to 1.14, and OpenBao",
                    blocked: "the request's own goroutine writes to one device after the other",
                    queue: "the device's lock, without a limit",
                    limit: "none but that of the request (90 s)",
                };
            }
            Self::SinksPermits => {
                return GenerationFacts {
                    versions: "Vault since July 2026 (2.1)",
                    blocked: SINKS,
                    queue: "a permit of the device, until the entry's time is over: then this device is never given the entry",
                    limit: "10 s of its own",
                };
            }
            Self::SinksRequestContext => ("Vault 1.15.0 to 1.15.2", "that of the request (90 s)"),
            Self::SinksResponseContext => (
                "Vault 1.15.3 to 1.16.2",
                "that of the request (90 s); 5 s of its own for a response",
            ),
            Self::SinksShortContext => (
                "Vault 1.16.3 to about 1.17.5",
                "that of the request, or 5 s of its own if the request has less",
            ),
            Self::SinksUnknownContext => (
                "Vault 1.15 or 1.16",
                "that of the request or 5 s of its own, by the version, which cannot be read",
            ),
            Self::SinksOwnContext => ("Vault since about 1.17.6", "10 s of its own"),
        };
        GenerationFacts {
            versions,
            blocked: SINKS,
            queue: MUTEX,
            limit,
        }
    }
}

/// What is said of a version that is newer than all that were tried.
pub(crate) fn untried(product: Product, version: Version) -> Option<String> {
    let tried = newest_tried(product);
    (version > tried).then(|| {
        format!(
            "{product} {version} is newer than all versions that were tried ({tried} is the newest): if it audits in another way, hangs may be missed; compare with what its clients measure"
        )
    })
}

#[cfg(test)]
mod tests;

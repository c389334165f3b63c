//! Which generation is decided on, as tables.

use super::*;

fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

type Row<'a> = (
    Option<Product>,
    Option<&'a str>,
    &'a [AuditMark],
    Option<Generation>,
);

fn check(rows: &[Row<'_>]) {
    for (product, text, marks, expected) in rows {
        let seen = marks.iter().copied().collect();
        let decided = decide(*product, text.map(version), &seen);
        assert_eq!(decided, *expected, "{product:?} {text:?} {marks:?}");
    }
}

const VAULT: Option<Product> = Some(Product::Vault);
const BAO: Option<Product> = Some(Product::OpenBao);
const SINKS: &[AuditMark] = &[AuditMark::Sinks];
const BACKENDS: &[AuditMark] = &[AuditMark::Backends];
const AUDIT: &[AuditMark] = &[AuditMark::Sinks, AuditMark::BrokerOfAudit];
const OWN: &[AuditMark] = &[
    AuditMark::Sinks,
    AuditMark::BrokerOfAudit,
    AuditMark::EntryContext,
];
const PERMITS: &[AuditMark] = &[
    AuditMark::Sinks,
    AuditMark::EntryContext,
    AuditMark::Permits,
];

#[test]
fn functions_precede_versions() {
    check(&[
        (VAULT, Some("1.14.2"), BACKENDS, Some(Generation::Backends)),
        (BAO, Some("2.7.2"), BACKENDS, Some(Generation::Backends)),
        (
            VAULT,
            Some("1.15.2"),
            SINKS,
            Some(Generation::SinksRequestContext),
        ),
        (
            VAULT,
            Some("1.15.3+ent"),
            SINKS,
            Some(Generation::SinksResponseContext),
        ),
        (
            VAULT,
            Some("1.16.0-beta1"),
            SINKS,
            Some(Generation::SinksResponseContext),
        ),
        (
            VAULT,
            Some("1.16.3"),
            SINKS,
            Some(Generation::SinksShortContext),
        ),
        (
            VAULT,
            Some("1.17.0"),
            AUDIT,
            Some(Generation::SinksShortContext),
        ),
        (
            VAULT,
            Some("1.18.0"),
            OWN,
            Some(Generation::SinksOwnContext),
        ),
        (
            VAULT,
            Some("2.1.0-beta1"),
            PERMITS,
            Some(Generation::SinksPermits),
        ),
        // Carried over to an older version, and taken up by another product.
        (
            VAULT,
            Some("1.20.9"),
            PERMITS,
            Some(Generation::SinksPermits),
        ),
        (BAO, Some("3.0.0"), OWN, Some(Generation::SinksOwnContext)),
    ]);
}

/// As in a stripped executable.
#[test]
fn functions_tell_without_a_version() {
    check(&[
        (VAULT, None, BACKENDS, Some(Generation::Backends)),
        (VAULT, None, SINKS, Some(Generation::SinksUnknownContext)),
        (VAULT, None, AUDIT, Some(Generation::SinksShortContext)),
        (VAULT, None, OWN, Some(Generation::SinksOwnContext)),
        (None, None, PERMITS, Some(Generation::SinksPermits)),
    ]);
}

#[test]
fn versions_tell_without_functions() {
    check(&[
        (VAULT, Some("1.14.0"), &[], Some(Generation::Backends)),
        (
            VAULT,
            Some("1.15.0"),
            &[],
            Some(Generation::SinksRequestContext),
        ),
        (
            VAULT,
            Some("1.17.5"),
            &[],
            Some(Generation::SinksShortContext),
        ),
        (
            VAULT,
            Some("1.21.0"),
            &[],
            Some(Generation::SinksOwnContext),
        ),
        (VAULT, Some("2.1.0"), &[], Some(Generation::SinksPermits)),
        (BAO, Some("2.0.0"), &[], Some(Generation::Backends)),
        (VAULT, None, &[], None),
        (None, Some("1.0.0"), &[], None),
    ]);
}

#[test]
fn versions_are_read_as_they_are_written() {
    for (text, expected) in [
        ("1.14.2", Some(Version(1, 14, 2))),
        ("v2.7.2", Some(Version(2, 7, 2))),
        ("2.1.0-beta1", Some(Version(2, 1, 0))),
        ("1.16.3+ent.hsm", Some(Version(1, 16, 3))),
        ("(devel)", None),
        ("1.2", None),
        ("", None),
    ] {
        assert_eq!(text.parse().ok(), expected, "{text}");
    }
    assert!(version("1.9.0") < version("1.14.0"));
}

#[test]
fn newer_versions_than_those_that_were_tried_are_told() {
    let vault = |text| untried(Product::Vault, version(text));
    assert_eq!((vault("2.1.0"), vault("1.21.4")), (None, None));
    let words = vault("2.2.0").expect("newer");
    assert!(
        words.contains("Vault 2.2.0 is newer") && words.contains("2.1.0"),
        "{words}"
    );
}

#[test]
fn the_newest_that_was_tried_is_documented() {
    let table = include_str!("../../../../docs/vault-versions.md");
    for product in [Product::Vault, Product::OpenBao] {
        let named = format!("| {product} {}", newest_tried(product));
        assert!(table.contains(&named), "no {named:?}");
    }
}

#[test]
fn modules_tell_the_product() {
    for (module, product) in [
        ("github.com/hashicorp/vault", Some(Product::Vault)),
        ("github.com/openbao/openbao", Some(Product::OpenBao)),
        ("github.com/openbao/openbao/v2", Some(Product::OpenBao)),
        ("github.com/hashicorp/vaulted", None),
        ("github.com/hashicorp/vault-k8s", None),
    ] {
        assert_eq!(Product::of_module(module), product, "{module}");
    }
}

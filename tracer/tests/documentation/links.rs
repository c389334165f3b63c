//! Relative links of all pages lead to files and headings that are there. Nothing is looked up in the network.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use test_support::documentation::{Page, pages, root};

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let mut count = 0;
    for page in pages()? {
        for target in links(&page) {
            check(&page, &target).with_context(|| format!("{}: {target}", page.name))?;
            count += 1;
        }
    }
    ensure!(count > 40, "only {count} links");
    Ok(())
}

/// Targets of `[text](target)`, except addresses.
fn links(page: &Page) -> Vec<String> {
    let prose = page.prose();
    let targets = prose.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split_once(')'));
    targets
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://"))
        .collect()
}

fn check(page: &Page, target: &str) -> Result<()> {
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let here = root().join(&page.name);
    let path = match path {
        "" => here,
        path => here.parent().context("a directory")?.join(path),
    };
    ensure!(path.exists(), "no such file");
    ensure!(
        anchor.is_empty() || anchors(&path)?.contains(anchor),
        "no such heading"
    );
    Ok(())
}

/// As GitHub makes them of headings.
fn anchors(path: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(path)?;
    let page = Page {
        name: path.display().to_string(),
        text,
    };
    let prose = page.prose();
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    Ok(headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect())
}

fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
        _ => None,
    });
    kept.collect()
}

#[test]
fn the_index_names_every_page() -> Result<()> {
    let pages = pages()?;
    let index = pages.iter().find(|page| page.name == "docs/README.md");
    let named: BTreeSet<_> = links(index.context("no index")?).into_iter().collect();
    for page in &pages {
        let name = page.name.strip_prefix("docs/");
        if let Some(name) = name.filter(|name| *name != "README.md") {
            ensure!(named.contains(name), "docs/README.md does not name {name}");
        }
    }
    Ok(())
}

#[test]
fn a_dead_link_is_noticed() {
    let page = Page {
        name: "docs/made-up.md".to_owned(),
        text: "[a](README.md) [b](no-such.md) [c](../README.md#no-such) [d](https://example.com)"
            .to_owned(),
    };
    let links = links(&page);
    let dead: Vec<_> = links
        .iter()
        .map(|target| check(&page, target).is_err())
        .collect();
    assert_eq!(dead, [false, true, true]);
    assert_eq!(
        anchor(" Is this *your* problem? `-o`"),
        "is-this-your-problem--o"
    );
}

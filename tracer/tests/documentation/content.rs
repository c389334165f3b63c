//! What pages must contain, and how long they may be.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use test_support::{
    documentation::{Page, pages, root},
    replays,
};
use tracer_model::Cause;

/// A person at 3 a.m. reads the whole README.
const README: (usize, usize) = (200, 1500);
const ARCHITECTURE_WORDS: usize = 1800;
const TRANSCRIPT_COLUMNS: usize = 100;

fn page(name: &str) -> Result<Page> {
    let page = pages()?.into_iter().find(|page| page.name == name);
    page.with_context(|| format!("no {name}"))
}

fn words(page: &Page) -> usize {
    page.text.split_whitespace().count()
}

#[test]
fn the_readme_and_the_architecture_are_short() -> Result<()> {
    let readme = page("README.md")?;
    let size = (readme.text.lines().count(), words(&readme));
    assert!(size.0 <= README.0 && size.1 <= README.1, "{size:?}");
    let words = words(&page("ARCHITECTURE.md")?);
    assert!(words <= ARCHITECTURE_WORDS, "{words}");
    Ok(())
}

#[test]
fn transcripts_are_narrow() -> Result<()> {
    for page in pages()? {
        for block in page
            .blocks()
            .iter()
            .filter(|block| block.language == "text")
        {
            let is_wide = |line: &&str| line.chars().count() > TRANSCRIPT_COLUMNS;
            let wide = block.text.lines().find(is_wide);
            ensure!(wide.is_none(), "{}: {wide:?}", page.name);
        }
    }
    Ok(())
}

#[test]
fn the_readme_has_every_cause_once() -> Result<()> {
    let readme = page("README.md")?;
    let section = readme
        .text
        .split("\n## ")
        .find(|part| part.starts_with("Causes"));
    let rows = section.context("no causes")?.lines();
    let named = rows.filter_map(|row| row.strip_prefix("| [`")?.split('`').next());
    let named: Vec<_> = named.collect();
    let all = Cause::ALL.map(Cause::name);
    let (unique, expected): (BTreeSet<_>, BTreeSet<_>) =
        (named.iter().copied().collect(), all.into());
    assert_eq!(unique, expected);
    assert_eq!(named.len(), all.len());
    Ok(())
}

#[test]
fn every_field_of_the_trace_is_described() -> Result<()> {
    let schema = fs::read_to_string(root().join("docs/trace.schema.json"))?;
    let mut fields = BTreeSet::new();
    collect_fields(&serde_json::from_str(&schema)?, &mut fields);
    ensure!(fields.len() > 60, "only {} fields", fields.len());
    let described = page("docs/trace-format.md")?.text;
    fields.retain(|field| !described.contains(&format!("`{field}`")));
    assert_eq!(fields, BTreeSet::new());
    Ok(())
}

/// The names of the properties of all objects in a JSON Schema.
fn collect_fields(schema: &Value, fields: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            let properties = object.get("properties").and_then(Value::as_object);
            fields.extend(properties.into_iter().flat_map(|own| own.keys().cloned()));
            object
                .values()
                .for_each(|value| collect_fields(value, fields));
        }
        Value::Array(values) => values
            .iter()
            .for_each(|value| collect_fields(value, fields)),
        _ => {}
    }
}

/// Tests by which the cases are shown: `file::name_of_the_test`, or `replays/NAME`.
#[test]
fn each_test_of_a_field_case_is_there() -> Result<()> {
    let page = page("docs/field-cases.md")?;
    let sources = text_below(&root().join("tests"))? + &text_below(&root().join("tracer"))?;
    let mut count = 0;
    for word in page.text.split('`').skip(1).step_by(2) {
        if let Some((_, name)) = word.split_once("::") {
            ensure!(sources.contains(&format!("fn {name}(")), "no test {word}");
            count += 1;
        } else if let Some(name) = word.strip_prefix("replays/").filter(|name| *name != "NAME") {
            ensure!(replays::directory(name).is_dir(), "no recording {word}");
            count += 1;
        }
    }
    ensure!(count > 40, "only {count}");
    Ok(())
}

/// All Rust code below a directory.
fn text_below(directory: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            text += &text_below(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(&path)?;
        }
    }
    Ok(text)
}

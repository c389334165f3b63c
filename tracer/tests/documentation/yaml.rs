//! The part of YAML that our manifests use: block mappings and sequences, plain and double-quoted scalars, comments on lines
//! of their own. Anything else is an error.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

/// A line with content, and how far it is indented.
type Line<'a> = (usize, &'a str);

/// One document.
pub(crate) fn parse(text: &str) -> Result<Value> {
    let lines = text.lines().filter(|line| {
        let content = line.trim();
        !content.is_empty() && !content.starts_with('#')
    });
    let mut lines: Vec<Line<'_>> = lines
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .collect();
    lines.reverse();
    let value = block(&mut lines, 0)?;
    ensure!(lines.is_empty(), "{:?} is indented otherwise", lines.last());
    Ok(value)
}

/// Lines are taken from the end.
fn block(lines: &mut Vec<Line<'_>>, indent: usize) -> Result<Value> {
    let (_, first) = lines.last().context("a value is missing")?;
    if first.starts_with("- ") {
        sequence(lines, indent)
    } else {
        mapping(lines, indent)
    }
}

fn sequence(lines: &mut Vec<Line<'_>>, indent: usize) -> Result<Value> {
    let mut items = Vec::new();
    while let Some((_, line)) = lines.last().copied().filter(|(at, _)| *at == indent) {
        let Some(item) = line.strip_prefix("- ") else {
            break;
        };
        lines.pop();
        if key(item).is_some() {
            // The mapping begins on the line of the dash.
            lines.push((indent + 2, item));
            items.push(mapping(lines, indent + 2)?);
        } else {
            items.push(scalar(item)?);
        }
    }
    Ok(Value::Array(items))
}

fn mapping(lines: &mut Vec<Line<'_>>, indent: usize) -> Result<Value> {
    let mut entries = Map::new();
    while let Some((_, line)) = lines.last().copied().filter(|(at, _)| *at == indent) {
        let (name, rest) = key(line).with_context(|| format!("{line:?} is no key"))?;
        lines.pop();
        let value = match (rest, lines.last()) {
            ("", Some((deeper, _))) if *deeper > indent => {
                let deeper = *deeper;
                block(lines, deeper)?
            }
            ("", _) => bail!("{name} has no value"),
            (rest, _) => scalar(rest)?,
        };
        let before = entries.insert(name.to_owned(), value);
        ensure!(before.is_none(), "{name} is there twice");
    }
    ensure!(!entries.is_empty(), "no key at column {indent}");
    Ok(Value::Object(entries))
}

/// `name: value` or `name:`; a URL or an address is no key.
fn key(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.split_once(':')?;
    let is_name = !name.is_empty() && !name.contains([' ', '"']);
    (is_name && (rest.is_empty() || rest.starts_with(' '))).then_some((name, rest.trim()))
}

fn scalar(text: &str) -> Result<Value> {
    if let Some(inner) = text.strip_prefix('"') {
        let inner = inner.strip_suffix('"').context("an open quotation")?;
        ensure!(!inner.contains(['"', '\\']), "{text} has escapes");
        return Ok(inner.into());
    }
    ensure!(
        !text.starts_with(['[', '{', '&', '*', '!', '|', '>', '\'', '%', '@', '`'])
            && !text.contains(" #"),
        "{text} is more of YAML than is read here"
    );
    Ok(match text {
        "true" => true.into(),
        "false" => false.into(),
        _ => text.parse::<i64>().map_or(text.into(), Value::from),
    })
}

#[test]
fn manifests_are_read_as_kubernetes_reads_them() {
    let text =
        "a: 1\n# no\nb:\n  - c: x:y\n    d: \"1\"\n  - e:\n      f: true\n  - --g\nh: 0.0.0.0:1\n";
    let expected = serde_json::json!({
        "a": 1, "b": [{"c": "x:y", "d": "1"}, {"e": {"f": true}}, "--g"], "h": "0.0.0.0:1"
    });
    assert_eq!(parse(text).expect("read"), expected);
    for wrong in [
        "a: [1]",
        "a:\n",
        "a: 1\n  b: 2",
        "a: 1\na: 2",
        "a: 'b'",
        "x",
        "a: b # c",
    ] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

//! What tests make in the documentation. `UPDATE_DOCS=1` writes it.
//!
//! - `<!-- output of: COMMAND -->`: the `text` block below has its output, wrapped.
//! - `<!-- file: PATH -->`: the `text` block below is this file.
//! - `<!-- options: ... -->` to `<!-- options: end -->`: the options of all commands.

use std::{env, fmt::Write as _, fs};

use anyhow::{Context, Result, ensure};
use clap::{Arg, Command, CommandFactory};
use test_support::documentation::{Page, pages, root};
use tracer::cli::Cli;

use crate::sandbox::Sandbox;

/// Columns of a transcript.
const WIDTH: usize = 100;

#[test]
fn transcripts_and_tables_are_current() -> Result<()> {
    let sandbox = Sandbox::new();
    let mut count = 0;
    for page in pages()? {
        let mut text = page.text.clone();
        for block in page.blocks() {
            let Some(made) = made(&sandbox, block.before)? else {
                continue;
            };
            ensure!(block.language == "text", "{}: {}", page.name, block.before);
            let old = format!("{}\n```text\n{}```", block.before, block.text);
            let new = format!("{}\n```text\n{made}```", block.before);
            ensure!(text.contains(&old), "{}: {}", page.name, block.before);
            text = text.replace(&old, &new);
            count += 1;
        }
        if let Some(with_options) = with_options(&text)? {
            text = with_options;
            count += 1;
        }
        settle(&page, &text)?;
    }
    ensure!(count >= 5, "only {count}");
    Ok(())
}

fn settle(page: &Page, text: &str) -> Result<()> {
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(&page.name), text)?;
        return Ok(());
    }
    let lines = page.text.lines().zip(text.lines());
    let differing = lines.into_iter().find(|(is, should)| is != should);
    ensure!(
        page.text == text,
        "{}: {differing:?}: UPDATE_DOCS=1 cargo test -p vault-tracer --test documentation",
        page.name
    );
    Ok(())
}

/// The text of a block, by the comment above it.
fn made(sandbox: &Sandbox, comment: &str) -> Result<Option<String>> {
    let argument = |kind: &str| {
        let rest = comment.strip_prefix("<!-- ")?.strip_prefix(kind)?;
        rest.strip_suffix(" -->")
    };
    if let Some(command) = argument("output of: ") {
        let output = sandbox.run(command);
        ensure!(output.status.success(), "{command}: {output:?}");
        let text = String::from_utf8(output.stdout)?;
        ensure!(!text.is_empty(), "{command}: no output");
        return Ok(Some(wrapped(&text)));
    }
    let Some(path) = argument("file: ") else {
        return Ok(None);
    };
    let text = fs::read_to_string(root().join(path)).with_context(|| path.to_owned())?;
    Ok(Some(text))
}

/// Each line in at most [`WIDTH`] columns; what continues it is indented like its beginning.
fn wrapped(text: &str) -> String {
    let mut wrapped = String::new();
    for line in text.trim_end().lines() {
        let indent = line.len() - line.trim_start().len();
        let indent = " ".repeat(indent.max(4));
        let options = textwrap::Options::new(WIDTH).subsequent_indent(&indent);
        for part in textwrap::wrap(line, options) {
            wrapped.push_str(&part);
            wrapped.push('\n');
        }
    }
    wrapped
}

/// The page with its tables of options; `None` if it has none.
fn with_options(text: &str) -> Result<Option<String>> {
    let Some((before, rest)) = text.split_once("<!-- options: ") else {
        return Ok(None);
    };
    let (first, rest) = rest.split_once('\n').context("a line")?;
    let end = "<!-- options: end -->";
    let (_, after) = rest.split_once(end).context("no end of the options")?;
    let mut cli = Cli::command();
    cli.build();
    let tables: String = cli.get_subcommands().filter_map(table).collect();
    Ok(Some(format!(
        "{before}<!-- options: {first}\n{tables}{end}{after}"
    )))
}

/// A heading, what the command does, and a row for each argument and option.
fn table(command: &Command) -> Option<String> {
    let name = command.get_name();
    let about = command.get_about().filter(|_| name != "help")?;
    let mut text = format!("### {name}\n\n{about}.\n\n| | |\n|---|---|\n");
    for arg in command
        .get_arguments()
        .filter(|arg| arg.get_id() != "help" && arg.get_id() != "version")
    {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} |", typed(arg), meaning(arg));
    }
    text.push('\n');
    Some(text)
}

/// `-o`, `--output FILE`
fn typed(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default();
    let takes_value = arg.get_action().takes_values();
    let value = values.first().filter(|_| takes_value);
    let value = value.map_or(String::new(), |value| match arg.get_num_args() {
        Some(number) if number.min_values() == 0 => format!("[={value}]"),
        _ => format!(" {value}"),
    });
    let short = arg.get_short().map(|short| format!("`-{short}`, "));
    match arg.get_long() {
        Some(long) => format!("{}`--{long}{value}`", short.unwrap_or_default()),
        None => format!("`{}`", value.trim_start()),
    }
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.replace('|', "\\|");
    let (mut text, default) = match help.split_once(" [default: ") {
        Some((text, default)) => (text.to_owned(), format!(" [default: {default}")),
        None => (help, String::new()),
    };
    let values = arg.get_possible_values();
    let described: Vec<_> = values
        .iter()
        .filter_map(|value| Some(format!("`{}`: {}", value.get_name(), value.get_help()?)))
        .collect();
    let is_flag = !arg.get_action().takes_values();
    if !is_flag && !described.is_empty() {
        text = format!("{text}. {}", described.join("; "));
    } else if !is_flag && !values.is_empty() {
        let names: Vec<_> = values
            .iter()
            .map(|value| format!("`{}`", value.get_name()))
            .collect();
        text = format!("{text}: {}", names.join(", "));
    }
    let defaults: Vec<_> = arg
        .get_default_values()
        .iter()
        .map(|value| value.to_string_lossy())
        .collect();
    if is_flag || defaults.is_empty() {
        return text + &default;
    }
    format!("{text} [default: {}]", defaults.join(" "))
}

#[test]
fn long_lines_are_wrapped_and_keep_their_indentation() {
    let long = format!("    cause: {}\nshort\n", "word ".repeat(40));
    let text = wrapped(&long);
    assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
    assert!(text.lines().count() > 2, "{text}");
    assert!(
        text.lines()
            .nth(1)
            .is_some_and(|line| line.starts_with("    word")),
        "{text}"
    );
    assert!(text.ends_with("\nshort\n"), "{text}");
}

//! README and docs as tests see them: pages, blocks of code, and the command lines in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A page in Markdown.
#[derive(Debug)]
pub struct Page {
    /// Path from the root of the repository.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// The pages for users and contributors, except the READMEs of test cases.
pub fn pages() -> Result<Vec<Page>> {
    let root = root();
    let mut pages = Vec::new();
    for directory in ["", "docs"] {
        for entry in fs::read_dir(root.join(directory))? {
            let name = Path::new(directory).join(entry?.file_name());
            if name.extension().is_none_or(|end| end != "md") {
                continue;
            }
            let text = fs::read_to_string(root.join(&name))?;
            let name = name.to_string_lossy().into_owned();
            pages.push(Page { name, text });
        }
    }
    pages.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(pages)
}

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// What follows the opening fence, such as `sh`.
    pub language: &'a str,
    /// The line before the opening fence.
    pub before: &'a str,
    /// Between the fences, with all line ends.
    pub text: &'a str,
}

impl Page {
    /// Its fenced blocks, in order.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let mut blocks = Vec::new();
        let (mut before, mut open) = ("", None);
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            let next = at + line.len();
            match (line.strip_prefix("```"), open) {
                (Some(language), None) => open = Some((language.trim(), before, next)),
                (Some(_), Some((language, before, start))) => {
                    let text = &self.text[start..at];
                    blocks.push(Block {
                        language,
                        before,
                        text,
                    });
                    open = None;
                }
                (None, _) => {}
            }
            before = line.trim();
            at = next;
        }
        blocks
    }

    /// Without its fenced blocks.
    pub fn prose(&self) -> String {
        let outside = self.text.split("```").step_by(2);
        outside.collect::<Vec<_>>().join("\n")
    }

    /// Command lines: each line of `sh` blocks, and what is in backticks and begins with one of our programs.
    pub fn command_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for block in self.blocks() {
            if block.language == "sh" {
                lines.extend(block.text.lines().map(ToOwned::to_owned));
            }
        }
        let prose = self.prose();
        let spans = prose.split('`').skip(1).step_by(2);
        lines.extend(spans.filter(|span| is_ours(span)).map(ToOwned::to_owned));
        lines.retain(|line| !line.trim().is_empty());
        lines
    }
}

fn is_ours(span: &str) -> bool {
    ["vault-tracer ", "cargo xtask "]
        .iter()
        .any(|program| span.starts_with(program))
}

/// One of our programs, as it is called in a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `vault-tracer`, with these arguments.
    Agent(Vec<String>),
    /// `cargo xtask`, with these arguments.
    Tasks(Vec<String>),
    /// Another program, by its name.
    Other(String),
}

/// The calls in a command line, in order: of a pipeline and of what is joined by `&&`.
pub fn calls(line: &str) -> Result<Vec<Call>> {
    let mut calls = Vec::new();
    for words in simple_commands(line)? {
        let mut words = words.into_iter().peekable();
        if words.next_if_eq("sudo").is_some() {
            while words.next_if(|word| word.starts_with('-')).is_some() {}
        }
        while words.next_if(|word| is_assignment(word)).is_some() {}
        let Some(program) = words.next() else {
            continue;
        };
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        let mut arguments: Vec<_> = words.collect();
        calls.push(match name.as_str() {
            "vault-tracer" => Call::Agent(arguments),
            "cargo" if arguments.first().is_some_and(|word| word == "xtask") => {
                arguments.remove(0);
                Call::Tasks(arguments)
            }
            _ => Call::Other(name),
        });
    }
    Ok(calls)
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

/// Words of each command between `|`, `&&` and `;`. Redirections and what follows a `#` are left out.
fn simple_commands(line: &str) -> Result<Vec<Vec<String>>> {
    let mut commands = vec![Vec::new()];
    let mut chars = line.chars().peekable();
    let mut is_redirected = false;
    while let Some(c) = chars.next() {
        match c {
            '#' => break,
            ' ' => {}
            '|' | '&' | ';' => {
                if !commands.last().is_some_and(Vec::is_empty) {
                    commands.push(Vec::new());
                }
            }
            '>' | '<' => is_redirected = true,
            _ => {
                let mut word = String::new();
                let mut quote = None;
                let mut next = Some(c);
                while let Some(c) = next {
                    match (quote, c) {
                        (None, '\'' | '"') => quote = Some(c),
                        (Some(open), c) if open == c => quote = None,
                        _ => word.push(c),
                    }
                    let ends = |c: &char| " |&;<>".contains(*c);
                    next = match quote {
                        None => chars.next_if(|c| !ends(c)),
                        Some(open) => {
                            let in_quotes = chars.next();
                            Some(in_quotes.with_context(|| format!("no closing {open}: {line}"))?)
                        }
                    };
                }
                if !std::mem::take(&mut is_redirected) {
                    commands.last_mut().expect("there is one").push(word);
                }
            }
        }
    }
    commands.retain(|words| !words.is_empty());
    Ok(commands)
}

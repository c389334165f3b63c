//! Each command line of the documentation and of `--help` is one that the agent takes. Those that need neither root nor a
//! server nor a network are run. `xtask/tasks` tests those of `cargo xtask`, `tests/live/documentation.rs` those of a server.

use std::{
    collections::BTreeSet,
    env,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::{CommandFactory, Parser, error::ErrorKind};
use test_support::documentation::{Call, Page, calls, pages};
use tracer::cli::Cli;

use crate::sandbox::Sandbox;

/// Commands that read files only.
const OFFLINE: [&str; 4] = ["replay", "report", "completions", "man"];

/// Words that stand for values.
const PLACEHOLDERS: [(&str, &str); 3] = [("PID", "1"), ("COMMAND", "trace"), ("SHELL", "bash")];

/// The command lines of all pages, and the examples of `--help`.
fn command_lines() -> Result<BTreeSet<String>> {
    let mut lines: BTreeSet<String> = pages()?.iter().flat_map(Page::command_lines).collect();
    for command in commands_of_agent() {
        let help = command.get_after_help().map(ToString::to_string);
        let examples = help.as_deref().unwrap_or_default().lines().skip(1);
        let without_remark = examples.map(|line| line.trim().split("  ").next().unwrap_or(line));
        lines.extend(without_remark.map(ToOwned::to_owned));
    }
    ensure!(lines.len() > 40, "only {} command lines", lines.len());
    Ok(lines)
}

fn commands_of_agent() -> Vec<clap::Command> {
    let all = Cli::command();
    let mut commands: Vec<_> = all.get_subcommands().cloned().collect();
    commands.push(all);
    commands
}

/// The agent's arguments in a call, if it is one of the agent.
fn agent_arguments(call: Call) -> Option<Vec<String>> {
    match call {
        Call::Agent(arguments) => Some(arguments),
        // `cargo xtask run -- OPTIONS OF TRACE`
        Call::Tasks(words) if words.first().is_some_and(|word| word == "run") => {
            let mut words = words.into_iter().skip_while(|word| word != "--");
            words.next()?;
            Some([vec!["trace".to_owned()], words.collect()].concat())
        }
        Call::Tasks(_) | Call::Other(_) => None,
    }
}

fn parse(arguments: &[String]) -> Result<()> {
    // A command's name in a sentence.
    if let [name] = arguments
        && Cli::command().find_subcommand(name).is_some()
    {
        return Ok(());
    }
    let words = arguments.iter().map(|word| {
        let value = PLACEHOLDERS.iter().find(|(name, _)| name == word);
        value.map_or(word.as_str(), |(_, value)| value)
    });
    let parsed = Cli::try_parse_from(std::iter::once("vault-tracer").chain(words));
    match parsed {
        Err(error)
            if !matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) =>
        {
            Err(error.into())
        }
        _ => Ok(()),
    }
}

#[test]
fn the_agent_takes_every_command_line() -> Result<()> {
    for line in command_lines()? {
        for call in calls(&line)? {
            if let Some(arguments) = agent_arguments(call) {
                parse(&arguments).with_context(|| line.clone())?;
            }
        }
    }
    Ok(())
}

#[test]
fn what_needs_no_server_runs() -> Result<()> {
    let sandbox = Sandbox::new();
    let mut count = 0;
    for line in command_lines()? {
        let calls = calls(&line)?;
        if !is_offline(&calls) {
            continue;
        }
        let programs = calls.iter().filter_map(|call| match call {
            Call::Other(name) => Some(name),
            _ => None,
        });
        if let Some(missing) = programs.clone().find(|name| !is_installed(name)) {
            eprintln!("NOT RUN: {line}: no {missing}");
            continue;
        }
        // What it reads there is this user's own.
        let output = sandbox.run(line.strip_prefix("sudo ").unwrap_or(&line));
        ensure!(output.status.success(), "{line}: {output:?}");
        count += 1;
    }
    ensure!(count > 10, "only {count} were run");
    Ok(())
}

/// At least one call of the agent, and all of them offline.
fn is_offline(calls: &[Call]) -> bool {
    let mut of_agent = 0;
    for call in calls {
        match call {
            Call::Agent(arguments) => {
                let command = arguments.first().map(String::as_str).unwrap_or_default();
                let is_help = arguments
                    .iter()
                    .any(|word| word == "--help" || word == "-h");
                let is_placeholder = |word: &String| word.chars().all(|c| c.is_ascii_uppercase());
                // A command's name alone is part of a sentence.
                if arguments.len() < 2
                    || arguments.iter().any(is_placeholder)
                    || arguments.iter().any(|word| word == "--otlp-endpoint")
                    || !(is_help || OFFLINE.contains(&command))
                {
                    return false;
                }
                of_agent += 1;
            }
            Call::Tasks(_) => return false,
            Call::Other(_) => {}
        }
    }
    of_agent > 0
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).exists())
}

/// So that a forgotten quotation mark is noticed in commands of other programs too.
#[test]
fn a_shell_takes_every_line() -> Result<()> {
    for page in pages()? {
        for block in page.blocks().iter().filter(|block| block.language == "sh") {
            let shell = Command::new("sh")
                .args(["-n", "-c", block.text])
                .stdin(Stdio::null())
                .output()?;
            ensure!(shell.status.success(), "{}: {shell:?}", page.name);
        }
    }
    Ok(())
}

#[test]
fn an_option_that_is_not_there_is_noticed() -> Result<()> {
    let line = "sudo VAR=1 target/release/vault-tracer trace --thresh 1s | jq 'a | b' # why";
    let found = calls(line)?;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[1], Call::Other("jq".to_owned()));
    let arguments = agent_arguments(found[0].clone()).context("the agent's")?;
    assert_eq!(arguments, ["trace", "--thresh", "1s"]);
    parse(&arguments).expect_err("there is no such option");
    let task = calls("cargo xtask run -- --no-such")?.remove(0);
    let arguments = agent_arguments(task).context("the agent's")?;
    parse(&arguments).expect_err("there is no such option");
    Ok(())
}

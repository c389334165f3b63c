//! `vault-tracer`: parses the command line, runs the command, prints an error as one line.

// These panic where nobody reads on, or on a full disk.
#![deny(clippy::print_stdout, clippy::print_stderr)]

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::error::ErrorKind;
use tracer::{cli::Cli, commands, restore_at_end};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return print_usage_error(&error),
    };
    let done = commands::run(&cli);
    // Before an error is printed.
    restore_at_end();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints help as clap made it; of an error, only the line with the message.
fn print_usage_error(error: &clap::Error) -> ExitCode {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        // A closed pipe is no failure.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let message = text.split("\n\nUsage").next().unwrap_or(&text);
    let message = message.split("\n\nFor more").next().unwrap_or(message);
    let message = message.strip_prefix("error: ").unwrap_or(message);
    // A suggestion becomes the second half of the sentence.
    let message = message.replace("\n\n  tip: ", "; ");
    print_error(&format!("{message} (see --help)"));
    ExitCode::from(2)
}

/// As one line. Where standard error cannot be written, the exit status is all that is reported.
fn print_error(message: &str) {
    let words: Vec<_> = message.split_whitespace().collect();
    let _ = writeln!(io::stderr(), "vault-tracer: {}", words.join(" "));
}

//! `vault-tracer`: reads the command line, runs the command, says in one line what went wrong.

use std::process::ExitCode;

use clap::error::ErrorKind;
use tracer::{cli::Cli, commands, restore_at_end};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let done = commands::run(&cli);
    // What failed is to be read.
    restore_at_end();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vault-tracer: {}", one_line(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// Help goes out as clap made it; of an error, the line that says what is wrong.
fn usage(error: &clap::Error) -> ExitCode {
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
    let what = text.split("\n\nUsage").next().unwrap_or(&text);
    let what = what.split("\n\nFor more").next().unwrap_or(what);
    let what = what.strip_prefix("error: ").unwrap_or(what);
    // What is meant, perhaps, is the second half of the sentence.
    let what = what.replace("\n\n  tip: ", "; ");
    eprintln!("vault-tracer: {} (see --help)", one_line(&what));
    ExitCode::from(2)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

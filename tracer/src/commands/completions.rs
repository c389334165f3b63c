//! `vault-tracer completions`: what a shell needs to complete the command line.

use std::io;

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::write_answer;
use crate::cli::Cli;

pub(super) fn run(shell: Shell) -> Result<()> {
    write_answer(io::stdout(), &script(shell))
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    generate(shell, &mut command, name, &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_is_told_of_every_command_and_flag() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).expect("text");
            for word in [
                "trace",
                "replay",
                "report",
                "html",
                "doctor",
                "completions",
                "threshold",
                "audit",
            ] {
                assert!(script.contains(word), "{shell}: no {word}");
            }
        }
    }

    /// Where there is one.
    #[test]
    fn bash_takes_its_own() {
        use std::process::{Command, Stdio};
        let bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn();
        let Ok(mut bash) = bash else {
            eprintln!("NOT RUN: no bash");
            return;
        };
        let mut input = bash.stdin.take().expect("piped");
        input.write_all(&script(Shell::Bash)).expect("it reads");
        drop(input);
        assert!(bash.wait().expect("it ends").success());
    }
}

//! `vault-tracer man`: the manual pages, made of what `--help` says.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use clap::CommandFactory;
use clap_mangen::generate_to;

use crate::cli::Cli;

pub(super) fn run(directory: &Path) -> Result<()> {
    let place = directory.display();
    ensure!(
        directory.is_dir(),
        "{place} is not a directory: make it first"
    );
    generate_to(Cli::command(), directory)
        .with_context(|| format!("cannot write the manual pages into {place}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn there_is_a_page_for_each_command() {
        let directory = tempfile::tempdir().expect("a directory");
        run(directory.path()).expect("written");
        for (page, word) in [
            ("vault-tracer.1", "doctor"),
            ("vault-tracer-trace.1", "threshold"),
            ("vault-tracer-replay.1", "recording"),
            ("vault-tracer-report.1", "html"),
            ("vault-tracer-doctor.1", "btf"),
        ] {
            let text = fs::read_to_string(directory.path().join(page)).expect(page);
            assert!(text.starts_with(".ie"), "{page} is not a manual page");
            assert!(text.to_lowercase().contains(word), "{page}: no {word}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_one_line() {
        let error = run(Path::new("/nowhere")).expect_err("no directory");
        assert_eq!(
            error.to_string(),
            "/nowhere is not a directory: make it first"
        );
    }
}

//! Perfetto's own definitions read every trace.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Result, bail, ensure};

use test_support::replays;

use super::{bytes, findings};

/// Perfetto's definitions, as it publishes them.
const PACKAGE: &str = "perfetto==0.59.1";

/// Exit code of `read_perfetto.py` without that package.
const NO_PACKAGE: i32 = 77;

#[test]
fn perfetto_reads_every_trace() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut files = Vec::new();
    for name in replays::names()? {
        let path = directory.path().join(format!("{name}.pftrace"));
        fs::write(&path, bytes(&findings(&name)?)?)?;
        files.push(path);
    }
    match read(&files)? {
        Ok(checked) => assert_eq!(checked, files.len()),
        // `eprintln!` is not shown for a test that passes.
        Err(why) => writeln!(
            io::stderr(),
            "\nNOT RUN: perfetto_reads_every_trace needs python3 with {PACKAGE}: {why}\n"
        )?,
    }
    Ok(())
}

/// The number of checked files, or why none was checked. Uses the system's Python, or one with the package made here.
fn read(files: &[PathBuf]) -> Result<Result<usize, String>> {
    let read = |python: &Path| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("read_perfetto.py");
        Command::new(python).arg(script).args(files).output()
    };
    let mut output = match read(Path::new("python3")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Err("no python3".to_owned()));
        }
        output => output?,
    };
    if output.status.code() == Some(NO_PACKAGE) {
        match python()? {
            Ok(python) => output = read(&python)?,
            Err(why) => return Ok(Err(why)),
        }
    }
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "not read: {said}");
    Ok(Ok(String::from_utf8(output.stdout)?.lines().count()))
}

/// A Python with the package, made once and kept in the build directory; or why there is none.
fn python() -> Result<Result<PathBuf, String>> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(PACKAGE.replace("==", "-"));
    let (python, done) = (directory.join("bin/python"), directory.join("done"));
    if done.exists() {
        return Ok(Ok(python));
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear"]).arg(&directory);
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--retries",
        "1",
        "--timeout",
        "15",
        PACKAGE,
    ]);
    for command in [&mut venv, &mut pip] {
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            let Some(last) = said.trim().lines().last() else {
                bail!("{command:?} failed and says nothing");
            };
            return Ok(Err(last.to_owned()));
        }
    }
    fs::write(done, "")?;
    Ok(Ok(python))
}

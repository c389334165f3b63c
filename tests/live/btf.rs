//! Where the kernel's own description of its types is missing.

use std::{fs, path::Path, process::Command};

use anyhow::Result;
use lab::{Tracer, scenario::BIG_REQUEST, tracer::agent_from_environment};

use crate::{outage::lab, output::with_a_small_disk};

const BTF: &str = "/sys/kernel/btf";

/// The agent, where [`BTF`] is empty.
fn agent_without_btf(pid: u32) -> Result<Command> {
    let mut command = Command::new(agent_from_environment()?);
    command.args(["trace", "--pid", &pid.to_string()]);
    with_a_small_disk(&mut command, Path::new(BTF))?;
    Ok(command)
}

#[test]
fn a_kernel_that_does_not_describe_itself_is_one_line_with_the_way_out() -> Result<()> {
    let lab = lab()?;
    let trace = Tracer::spawn(&mut agent_without_btf(lab.server.pid())?)?.finish()?;
    assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
    let line = trace.stderr.trim_end();
    assert!(!line.contains('\n'), "not one line: {line}");
    assert!(line.contains(BTF) && line.contains("--btf"), "{line}");
    Ok(())
}

#[test]
fn a_btf_file_serves_instead() -> Result<()> {
    let lab = lab()?;
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("kernel.btf");
    fs::copy(Path::new(BTF).join("vmlinux"), &file)?;
    let mut command = agent_without_btf(lab.server.pid())?;
    let tracer = Tracer::attach_by(command.arg("--btf").arg(&file))?;
    lab.client.get(BIG_REQUEST)?;
    let trace = tracer.stop()?;
    assert!(trace.status.success(), "{}", trace.stderr);
    assert_eq!(trace.stderr, "", "nothing is missing");
    assert!(
        trace.terminal.contains("Seen: 1 request,"),
        "{}",
        trace.terminal
    );
    Ok(())
}

#[test]
fn a_file_that_is_no_btf_is_named() -> Result<()> {
    let lab = lab()?;
    let pid = lab.server.pid().to_string();
    for file in ["/no/such/file", "/etc/passwd"] {
        let arguments = ["trace", "--pid", &pid, "--btf", file];
        let trace = Tracer::run(&agent_from_environment()?, &arguments)?.finish()?;
        assert_eq!(trace.status.code(), Some(1), "{}", trace.stderr);
        assert!(trace.stderr.contains(file), "{}", trace.stderr);
    }
    Ok(())
}

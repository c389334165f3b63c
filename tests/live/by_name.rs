//! `--process NAME` where other commands of the same program run beside the server, which a shell has started.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Result, ensure};
use lab::{
    Network, Process, Server, Tracer,
    server::{bao_from_environment, own_name},
    tracer::agent_from_environment,
};

/// Commands that go on running, as the server does.
const LASTING: [&str; 2] = ["agent", "proxy"];

#[test]
fn the_server_alone_is_traced_by_the_name_of_its_program() -> Result<()> {
    let name = own_name("bao-and-its-tools");
    let network = Network::create(0)?;
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .program_name(&name)
        .started_by_a_shell()
        .start(&network.vault)?;
    let directory = tempfile::tempdir()?;
    let start = |command: &&str| start(command, &network, &server, directory.path());
    let tools = LASTING.iter().map(start).collect::<Result<Vec<_>>>()?;
    let agent = agent_from_environment()?;
    let tracer = Tracer::attach_by_name(&agent, &name, &[])?;
    assert_eq!(tracer.records()?[0]["pid"], server.pid());
    for (tool, command) in tools.iter().zip(LASTING) {
        let pid = tool.pid().to_string();
        let refused = Tracer::run(&agent, &["trace", "--pid", &pid])?.finish()?;
        let expected = format!(
            "PID {pid} ({} {command}) is not a server",
            server.executable().display()
        );
        ensure!(!refused.status.success(), "{command} was traced");
        ensure!(refused.stderr.contains(&expected), "{}", refused.stderr);
        ensure!(
            refused.stderr.contains(&server.pid().to_string()),
            "{}",
            refused.stderr
        );
    }
    let trace = tracer.stop()?;
    ensure!(trace.status.success(), "{}", trace.stderr);
    Ok(())
}

/// Another command of the server's program, with a listener of its own.
fn start(command: &str, network: &Network, server: &Server, directory: &Path) -> Result<Process> {
    let config = directory.join(command).with_extension("hcl");
    let socket = config.with_extension("sock");
    let listener = format!(
        "listener \"unix\" {{\n  address = \"{}\"\n",
        socket.display()
    );
    let vault = "vault {\n  address = \"http://127.0.0.1:8200\"\n}\napi_proxy {}\n";
    fs::write(
        &config,
        format!("{vault}{listener}  tls_disable = true\n}}\n"),
    )?;
    let mut words = network.vault.command(server.executable());
    words
        .arg(command)
        .arg(format!("-config={}", config.display()))
        .env_clear()
        .env("HOME", directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process::spawn(command, &mut words)
}

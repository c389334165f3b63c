//! Servers whose files, processes and network are not the tracer's.

use std::fs;

use anyhow::{Result, ensure};
use lab::{
    AuditDevice, Endpoint, Family, Fault, LogServer, Network, Server, Tracer,
    client_times::client_requests,
    scenario::{BIG_REQUEST, PORT},
    server::{Builder, bao_from_environment, own_name},
    tracer::agent_from_environment,
};

use crate::assertions::matches_clients;

const CLIENTS: usize = 2;

#[test]
fn a_server_in_a_container_is_traced_by_its_pid() -> Result<()> {
    is_traced(Builder::contained, |server| {
        let host = Tracer::attach(&agent_from_environment()?, server.pid(), &[])?;
        // It is a process of another kind of number to itself.
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
        let numbers = status.lines().find(|line| line.starts_with("NSpid"));
        ensure!(
            numbers.is_some_and(|line| line.ends_with("\t1")),
            "{numbers:?}"
        );
        Ok(host)
    })
}

#[test]
fn a_server_in_a_container_is_traced_by_its_name() -> Result<()> {
    let name = own_name("contained-bao");
    is_traced(
        |server| server.contained().program_name(&name),
        |_| Tracer::attach_by_name(&agent_from_environment()?, &name, &[]),
    )
}

#[test]
fn a_server_whose_executable_is_deleted_is_traced() -> Result<()> {
    let name = own_name("old-bao");
    is_traced(
        |server| server.program_name(&name),
        |server| {
            fs::remove_file(server.executable())?;
            Tracer::attach_by_name(&agent_from_environment()?, &name, &[])
        },
    )
}

/// As a package's update does it: another file takes the name.
#[test]
fn a_server_whose_executable_is_replaced_is_traced() -> Result<()> {
    is_traced(
        |server| server.program_name("old-bao"),
        |server| {
            let newer = server.executable().with_extension("new");
            fs::write(&newer, "#!/bin/sh\nthe next version\n")?;
            fs::rename(newer, server.executable())?;
            Tracer::attach(&agent_from_environment()?, server.pid(), &[])
        },
    )
}

/// A queue behind a dead device is reported as of any other server.
fn is_traced(
    how: impl FnOnce(Builder) -> Builder,
    attach: impl FnOnce(&Server) -> Result<Tracer>,
) -> Result<()> {
    let network = Network::create(1)?;
    let at = network.logs[0].port(Family::V4, PORT);
    let log = LogServer::start(&network.logs[0].namespace, Endpoint::Tcp(at))?;
    let socket = AuditDevice::socket("to-socket", &Endpoint::Tcp(at));
    let server = Server::builder(&bao_from_environment()?)
        .audit_to_file()
        .audit(socket.option("write_timeout", "200ms"));
    let server = how(server).start(&network.vault)?;
    let client = server.client(Family::V4);
    let tracer = attach(&server)?;
    let mut all = vec![client.get(BIG_REQUEST)?];
    let fault = Fault::drop_output(PORT).apply(&network.vault)?;
    log.reset_connections()?;
    all.push(client.get(BIG_REQUEST)?);
    all.extend(client.get_concurrently(CLIENTS, BIG_REQUEST)?);
    fault.lift()?;
    let trace = tracer.stop()?;
    assert!(!trace.stderr.contains("warn"), "{}", trace.stderr);
    matches_clients(&trace, &client_requests(&all), &[at.to_string()])
}

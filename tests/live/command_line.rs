//! The server's own command line: another program's HTTP/2, timed from outside.

use std::{process::Command, thread, time::Instant};

use anyhow::{Context, Result};
use lab::{
    Lab,
    client_times::{ClientRequest, Part, client_requests},
    process,
    scenario::BIG_REQUEST,
    server::bao_from_environment,
};
use serde_json::{Value, json};

use crate::{assertions::matches_clients, outage::attach};

const PATH: &str = "secret/data/of-the-command-line";

#[test]
fn the_servers_own_command_line_is_traced_as_any_client() -> Result<()> {
    let lab = Lab::builder(&bao_from_environment()?)
        .option("write_timeout", "200ms")
        .server(lab::server::Builder::tls)
        .start()?;
    let data = json!({ "data": { "of": "it" } });
    lab.client.write_secret(&format!("/v1/{PATH}"), &data)?;
    let start = || read(&mut lab.server.command_line());
    let tracer = attach(&lab, &[])?;
    let fast = start()?;
    let (fault, first) = lab.cut_off()?;
    let two = thread::scope(|scope| {
        let two = [scope.spawn(start), scope.spawn(start)];
        two.map(|one| one.join().expect("the command line panicked"))
    });
    fault.lift()?;
    let mut all = client_requests(&[first, lab.client.get(BIG_REQUEST)?]);
    // The program itself takes its time, more or less.
    let two = two.into_iter().collect::<Result<Vec<_>>>()?;
    all.extend(two.into_iter().map(|one| one.with(Part::AtMost)));
    all.push(fast.with(Part::Nothing));
    let trace = tracer.stop()?;
    matches_clients(&trace, &all, &[lab.log_address().to_string()])
}

fn read(command: &mut Command) -> Result<ClientRequest> {
    let begun = Instant::now();
    let answer = process::run(command.args(["read", "-format=json", PATH]))?;
    let took = begun.elapsed();
    let answer: Value = serde_json::from_str(&answer).context("no JSON")?;
    Ok(ClientRequest {
        id: answer["request_id"].as_str().map(ToOwned::to_owned),
        port: None,
        path: PATH.to_owned(),
        took,
        part: Part::All,
    })
}

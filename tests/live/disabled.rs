//! Audit devices that come and go while the server runs.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use lab::{
    Client, Endpoint, Family, Fault, LogServer, Measured, Network, Server, Tracer,
    client_times::client_requests,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::agent_from_environment,
};
use serde_json::json;

use crate::assertions::matches_clients;

/// Where the device is that comes and goes.
const DEVICE: &str = "/v1/sys/audit/more";

/// A server whose socket device is there once it is enabled.
struct Site {
    // In the order in which they are to be dropped.
    server: Server,
    log: LogServer,
    network: Network,
    client: Client,
}

impl Site {
    fn start() -> Result<Self> {
        let network = Network::create(1)?;
        let host = &network.logs[0];
        let log = LogServer::start(&host.namespace, Endpoint::Tcp(host.port(Family::V4, PORT)))?;
        let server = Server::builder(&bao_from_environment()?)
            .audit_to_file()
            .config("unsafe_allow_api_audit_creation = true\n")
            .start(&network.vault)?;
        Ok(Self {
            client: server.client(Family::V4),
            server,
            log,
            network,
        })
    }

    fn device(&self) -> String {
        self.network.logs[0].port(Family::V4, PORT).to_string()
    }

    fn enable(&self) -> Result<Measured> {
        let options = json!({
            "address": self.device(), "socket_type": "tcp", "write_timeout": "200ms",
        });
        let device = json!({ "type": "socket", "options": options });
        let answer = self.client.put(DEVICE, &device)?;
        ensure!(answer.status == 204, "{answer:?}");
        Ok(answer)
    }

    fn disable(&self) -> Result<Measured> {
        let answer = self.client.delete(DEVICE)?;
        ensure!(answer.status == 204, "{answer:?}");
        Ok(answer)
    }

    /// One request that hangs for less, since it meets the reset, and one that hangs in full.
    fn hang(&self) -> Result<Vec<Measured>> {
        let fault = Fault::drop_output(PORT).apply(&self.network.vault)?;
        self.log.reset_connections()?;
        let requests = vec![self.client.get(BIG_REQUEST)?, self.client.get(BIG_REQUEST)?];
        fault.lift()?;
        Ok(requests)
    }
}

#[test]
fn a_device_that_is_disabled_and_enabled_again_is_reported_each_time() -> Result<()> {
    let site = Site::start()?;
    let tracer = Tracer::attach(&agent_from_environment()?, site.server.pid(), &[])?;
    let mut all = Vec::new();
    for _ in 0..2 {
        all.push(site.enable()?);
        all.push(site.client.get(BIG_REQUEST)?);
        all.extend(site.hang()?);
        all.push(site.disable()?);
        all.push(site.client.get(BIG_REQUEST)?);
    }
    matches_clients(&tracer.stop()?, &client_requests(&all), &[site.device()])
}

/// The broker has a lock of its own: who changes its devices waits for the entry that hangs, and who comes later
/// waits for both.
#[test]
fn who_disables_a_device_in_the_middle_of_a_hang_waits_for_it_too() -> Result<()> {
    let site = Site::start()?;
    site.enable()?;
    let tracer = Tracer::attach(&agent_from_environment()?, site.server.pid(), &[])?;
    let mut all = vec![site.client.get(BIG_REQUEST)?];
    let fault = Fault::drop_output(PORT).apply(&site.network.vault)?;
    site.log.reset_connections()?;
    all.push(site.client.get(BIG_REQUEST)?);
    let (disabled, queue) = thread::scope(|scope| {
        let disable = scope.spawn(|| site.disable());
        thread::sleep(Duration::from_millis(100));
        let queue = site.client.get_concurrently(3, BIG_REQUEST);
        (disable.join().expect("the client panicked"), queue)
    });
    fault.lift()?;
    all.extend(queue?);
    all.push(disabled?);
    matches_clients(&tracer.stop()?, &client_requests(&all), &[site.device()])
}

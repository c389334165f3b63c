//! Two servers of one cluster: requests forwarded to the active one, a step-down, and storage that is slow.

use std::{thread, time::Duration};

use anyhow::{Result, ensure};
use lab::{
    AuditDevice, Client, Cluster, Endpoint, Family, Fault, LogServer, Measured, Network, Trace,
    Tracer,
    fault::Applied,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::agent_from_environment,
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::account::{Part, Waited, accounts_for, waited};

/// How long storage is out of order: less than the leader's lease, 2.5 s with the patience of raft's default.
const OUT_OF_ORDER: Duration = Duration::from_millis(1500);
const DEFAULT_PATIENCE: u8 = 5;

/// The cluster and its log server.
struct Site {
    // In the order in which they are to be dropped.
    cluster: Cluster,
    log: LogServer,
    network: Network,
}

impl Site {
    fn start(patience: u8) -> Result<Self> {
        let network = Network::create(1)?;
        let at = Endpoint::Tcp(network.logs[0].port(Family::V4, PORT));
        let log = LogServer::start(&network.logs[0].namespace, at.clone())?;
        let socket = AuditDevice::socket("to-socket", &at).option("write_timeout", "200ms");
        let bao = bao_from_environment()?;
        Ok(Self {
            cluster: Cluster::start(&bao, &network.vault, &[socket], patience)?,
            log,
            network,
        })
    }

    fn attach(&self) -> Result<[Tracer; 2]> {
        let attach = |node: usize| {
            let pid = self.cluster.nodes[node].pid();
            Tracer::attach(&agent_from_environment()?, pid, &[])
        };
        Ok([attach(0)?, attach(1)?])
    }

    /// The device dies, and the first request meets it.
    fn cut_off(&self, client: &Client) -> Result<(Applied, Measured)> {
        let fault = Fault::drop_output(PORT).apply(&self.network.vault)?;
        self.log.reset_connections();
        Ok((fault, client.get(BIG_REQUEST)?))
    }

    fn accounts_for(&self, trace: &Trace, all: &[Waited]) -> Result<()> {
        let at = self.network.logs[0].port(Family::V4, PORT);
        accounts_for(trace, all, &[at.to_string()])
    }
}

#[test]
fn a_forwarded_request_is_held_up_where_it_is_audited() -> Result<()> {
    let site = Site::start(1)?;
    let [active, standby] = site.attach()?;
    let client = site.cluster.nodes[1].client();
    let healthy = client.get(BIG_REQUEST)?;
    let (fault, first) = site.cut_off(&client)?;
    let mut all = waited(&[healthy, first]);
    all.extend(waited(&client.get_concurrently(2, BIG_REQUEST)?));
    fault.lift()?;
    // The active server knows the standby for its client.
    for request in &mut all {
        request.port = None;
    }
    let standby = standby.stop()?;
    ensure!(standby.hangs().is_empty(), "{}", standby.text);
    ensure!(standby.of_type("stalled").is_empty(), "{}", standby.text);
    site.accounts_for(&active.stop()?, &all)
}

#[test]
fn after_a_step_down_the_other_server_is_the_one_held_up() -> Result<()> {
    let site = Site::start(1)?;
    let [first, second] = site.attach()?;
    let [old, new] = &site.cluster.nodes;
    let (fault, before) = site.cut_off(&old.client())?;
    fault.lift()?;
    let step_down = old.client().put("/v1/sys/step-down", &json!({}))?;
    ensure!(step_down.status == 204, "{}", step_down.status);
    new.wait_to_lead()?;
    let (fault, after) = site.cut_off(&new.client())?;
    let last = new.client().get(BIG_REQUEST)?;
    fault.lift()?;
    let step_down = Waited::from(&step_down).with(Part::AtMost);
    let of_old = [waited(&[before]), vec![step_down]].concat();
    site.accounts_for(&first.stop()?, &of_old)?;
    site.accounts_for(&second.stop()?, &waited(&[after, last]))
}

/// The negative twin of a queue: a write waits for the raft's other half while somebody else is stalled in the device.
#[test]
fn who_waits_for_storage_does_not_wait_for_the_device() -> Result<()> {
    let mut site = Site::start(DEFAULT_PATIENCE)?;
    let client = site.cluster.nodes[0].client();
    client.put("/v1/sys/mounts/kv", &json!({ "type": "kv" }))?;
    let [tracer, _standby] = site.attach()?;
    site.cluster.nodes[1].signal(Signal::SIGSTOP)?;
    let writer = client.clone();
    let writing = thread::spawn(move || writer.put("/v1/kv/slow", &json!({ "a": "b" })));
    thread::sleep(OUT_OF_ORDER / 5); // its first entry is written by now
    let (fault, first) = site.cut_off(&client)?;
    fault.lift()?;
    ensure!(!writing.is_finished(), "storage was not slow");
    thread::sleep(OUT_OF_ORDER.saturating_sub(first.duration));
    site.cluster.nodes[1].signal(Signal::SIGCONT)?;
    let written = writing.join().expect("the writer panicked")?;
    ensure!(written.status == 204 && written.hung(), "{written:?}");
    site.accounts_for(&tracer.stop()?, &waited(&[first]))
}

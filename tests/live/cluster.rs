//! Two servers of one cluster: requests forwarded to the active one, a step-down, and storage that is slow.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    AuditDevice, Client, Cluster, Endpoint, Family, Fault, LogServer, Measured, Network, Trace,
    Tracer,
    client_times::{ClientRequest, ClientTimes, Part, client_requests, duration},
    fault::Applied,
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::agent_from_environment,
    wait,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::assertions::{matches_clients, tolerance};

/// How long storage is out of order. The leader's lease is 5 s with this patience; what it counts from may be 1.6 s old.
const OUT_OF_ORDER: Duration = Duration::from_millis(1200);
const UNHURRIED: u8 = 10;
/// The leader's lease is 2 s then: with less, a server that has no processor for a moment is deposed.
const STEADY: u8 = 4;
/// `write_timeout`, after which each dial is given up.
const TIMEOUT: Duration = Duration::from_millis(200);
/// The same where two dials are to be longer than a busy machine keeps anybody waiting.
const LONG_TIMEOUT: Duration = Duration::from_millis(700);

/// The cluster and its log server.
struct Site {
    // In the order in which they are to be dropped.
    cluster: Cluster,
    log: LogServer,
    network: Network,
}

impl Site {
    fn start(patience: u8, timeout: Duration) -> Result<Self> {
        let network = Network::create(1)?;
        let at = Endpoint::Tcp(network.logs[0].port(Family::V4, PORT));
        let log = LogServer::start(&network.logs[0].namespace, at.clone())?;
        let timeout = format!("{}ms", timeout.as_millis());
        let socket = AuditDevice::socket("to-socket", &at).option("write_timeout", &timeout);
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

    /// The device dies.
    fn cut_off(&self) -> Result<Applied> {
        let fault = Fault::drop_output(PORT).apply(&self.network.vault)?;
        self.log.reset_connections()?;
        Ok(fault)
    }

    fn device(&self) -> String {
        self.network.logs[0].port(Family::V4, PORT).to_string()
    }

    fn matches_clients(&self, trace: &Trace, all: &[ClientRequest]) -> Result<()> {
        matches_clients(trace, all, &[self.device()])
    }
}

/// A request that only the active server can serve in the end.
fn write(client: &Client) -> Result<Measured> {
    let answer = client.put("/v1/auth/token/create", &json!({ "ttl": "1h" }))?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(answer)
}

/// OpenBao's standby begins with the request itself, entry and all, before it finds that it must forward it. So each of
/// the two is blocked, and knows the request by an id of its own; the client's answer bears the active server's.
#[test]
fn a_forwarded_request_is_blocked_by_both_servers() -> Result<()> {
    // What is left is the cluster's own: less than one entry's two dials.
    const LEFT: Duration = Duration::from_millis(1300);
    let site = Site::start(STEADY, LONG_TIMEOUT)?;
    let traces = site.attach()?;
    let client = site.cluster.nodes[1].client();
    let healthy = write(&client)?;
    let fault = site.cut_off()?;
    let first = write(&client)?;
    let two = thread::scope(|scope| {
        let two = [(); 2].map(|()| scope.spawn(|| write(&client)));
        two.map(|one| one.join().expect("the client panicked"))
    });
    fault.lift()?;
    let [second, third] = two;
    let all = client_requests(&[healthy, first, second?, third?]);
    let [active, standby] = traces.map(Tracer::stop);
    let (active, standby) = (active?, standby?);
    site.matches_clients(&active, &known_by(&all, |request| request.port = None))?;
    site.matches_clients(&standby, &known_by(&all, |request| request.id = None))?;
    for request in &all {
        let at_active = |hang: &&Value| hang["request"]["id"].as_str() == request.id.as_deref();
        let at_standby =
            |hang: &&Value| hang["request"]["client_port"].as_u64() == request.port.map(u64::from);
        let total = sum(active.hangs().into_iter().filter(at_active))
            + sum(standby.hangs().into_iter().filter(at_standby));
        ensure!(
            total <= request.took + tolerance() && request.took < total + LEFT,
            "{total:?} in all: {request:?}"
        );
        // What the active server blocked, this one waited for.
        let waited = sum(standby.hangs().into_iter().filter(at_standby))
            + sum(forwarded(&standby, request).into_iter());
        ensure!(
            waited <= request.took && request.took < waited + LEFT,
            "{waited:?} at the standby: {request:?}: {}",
            standby.text
        );
    }
    // The cluster's own traffic is no request, and the active server forwards none.
    let requests = standby.summary()?["requests"].as_u64();
    ensure!(requests == Some(all.len() as u64), "{}", standby.text);
    ensure!(active.of_type("forwarded").is_empty(), "{}", active.text);
    Ok(())
}

/// Of this request, known by its client's port, each to the other server's own port of the cluster.
fn forwarded<'a>(standby: &'a Trace, request: &ClientRequest) -> Vec<&'a Value> {
    let is_its = |found: &&Value| {
        let port = found["request"]["client_port"].as_u64();
        port == request.port.map(u64::from) && found["to"] == "127.0.0.1:8201"
    };
    let forwarded = standby.of_type("forwarded");
    forwarded.into_iter().filter(is_its).collect()
}

/// The requests as one of the two servers knows them, to which each of them lost a part of its time.
fn known_by(all: &[ClientRequest], forget: impl Fn(&mut ClientRequest)) -> Vec<ClientRequest> {
    let known = |request: &ClientRequest| {
        let mut request = request.clone().with(Part::AtMost);
        forget(&mut request);
        request
    };
    all.iter().map(known).collect()
}

fn sum<'a>(hangs: impl Iterator<Item = &'a Value>) -> Duration {
    hangs.map(duration).sum()
}

/// Whichever of the two answers (a standby may read by itself): who writes the entries is who is blocked.
#[test]
fn what_is_read_from_a_standby_is_blocked_once() -> Result<()> {
    let site = Site::start(STEADY, TIMEOUT)?;
    let traces = site.attach()?;
    let client = site.cluster.nodes[1].client();
    let healthy = client.get(BIG_REQUEST)?;
    let fault = site.cut_off()?;
    let mut requests = client_requests(&[healthy, client.get(BIG_REQUEST)?]);
    requests.extend(client_requests(&client.get_concurrently(2, BIG_REQUEST)?));
    fault.lift()?;
    for request in &mut requests {
        request.port = None;
    }
    let [active, standby] = traces.map(Tracer::stop);
    let (active, standby) = (active?, standby?);
    let times = ClientTimes {
        requests,
        devices: vec![site.device()],
        side_by_side: false,
    };
    times.matches(&[active.hangs(), standby.hangs()].concat())
}

#[test]
fn after_a_step_down_the_other_server_is_the_one_blocked() -> Result<()> {
    let site = Site::start(STEADY, TIMEOUT)?;
    let [first, second] = site.attach()?;
    let [old, new] = &site.cluster.nodes;
    let fault = site.cut_off()?;
    let before = write(&old.client())?;
    fault.lift()?;
    let step_down = old.client().put("/v1/sys/step-down", &json!({}))?;
    ensure!(step_down.status == 204, "{}", step_down.status);
    new.wait_to_lead()?;
    let fault = site.cut_off()?;
    let (after, last) = (write(&new.client())?, write(&new.client())?);
    fault.lift()?;
    // A write waits for the storage too, for as long as the disk takes.
    let at_most = |request| ClientRequest::from(request).with(Part::AtMost);
    let (first, second) = (first.stop()?, second.stop()?);
    let unblocked = ClientRequest::from(&step_down).with(Part::Nothing);
    site.matches_clients(&first, &[at_most(&before), unblocked])?;
    site.matches_clients(&second, &[&after, &last].map(at_most))?;
    for (trace, hung) in [(&first, &[&before][..]), (&second, &[&after, &last])] {
        for request in hung {
            let is_its =
                |hang: &&Value| hang["request"]["id"].as_str() == request.request_id.as_deref();
            let lasted: Duration = trace.hangs().into_iter().filter(is_its).map(duration).sum();
            ensure!(lasted >= TIMEOUT * 3, "{lasted:?}: {}", trace.text);
        }
    }
    Ok(())
}

/// The negative twin of a queue: a write waits for the raft's other half while somebody else is stalled in the device.
#[test]
fn who_waits_for_storage_does_not_wait_for_the_device() -> Result<()> {
    let mut site = Site::start(UNHURRIED, TIMEOUT)?;
    let client = site.cluster.nodes[0].client();
    client.put("/v1/sys/mounts/kv", &json!({ "type": "kv" }))?;
    let [tracer, _standby] = site.attach()?;
    site.cluster.nodes[1].signal(Signal::SIGSTOP)?;
    let stopped = Instant::now();
    let writer = client.clone();
    let writing = thread::spawn(move || writer.put("/v1/kv/slow", &json!({ "a": "b" })));
    let of_writer = |line: &[u8]| String::from_utf8_lossy(line).contains("kv/slow");
    wait::until("the writer's first entry", Duration::from_secs(5), || {
        let sent = site.log.lines().iter().any(|line| of_writer(line));
        Ok(sent.then_some(()))
    })?;
    let waits = Instant::now();
    let fault = site.cut_off()?;
    let first = client.get(BIG_REQUEST)?;
    fault.lift()?;
    ensure!(
        !writing.is_finished(),
        "storage was not slow, {:?} after the other server stopped: {:?}",
        stopped.elapsed(),
        writing.join()
    );
    thread::sleep(OUT_OF_ORDER.saturating_sub(waits.elapsed()));
    site.cluster.nodes[1].signal(Signal::SIGCONT)?;
    let written = writing.join().expect("the writer panicked")?;
    ensure!(written.status == 204 && written.hung(), "{written:?}");
    site.matches_clients(&tracer.stop()?, &client_requests(&[first]))
}

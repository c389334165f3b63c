//! What this kernel shows, by each way of probing: everything that a probe is for is made to happen once,
//! and must be reported with the right arguments. `cargo xtask vm` compares what it finds with what each kernel
//! is known to have.

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use lab::{
    AuditDevice, Client, Endpoint, Family, Fault, LogServer, Measured, Network, Server, Tracer,
    guest::{Probe, Report},
    scenario::{BIG_REQUEST, PORT},
    server::bao_from_environment,
    tracer::{RECORD, agent_from_environment},
    wait,
};
use serde_json::Value;
use tempfile::TempDir;

/// Values of `--probes`.
const WAYS: [&str; 5] = ["auto", "socket", "syscall", "function", "kprobe"];

/// What a probe is for, and what shows that it did it.
type Shows = fn(&Event, &Tour) -> bool;

/// Which hooks show what. Of a function's entry and exit the latter tells; those that are missing here are
/// given nothing to do.
const HOOKS: [(&[&str], Shows); 12] = [
    (
        &[
            "sock_send_length",
            "tcp_sendmsg",
            "sys_exit",
            "sys_exit_write",
        ],
        sent_to_log_server,
    ),
    (
        &["sock_recv_length", "tcp_recvmsg", "sys_exit_read"],
        received_from_client,
    ),
    (&["unix_stream_sendmsg"], sent_to_unix_socket),
    (&["udp_sendmsg"], sent_by_udp),
    (&["inet_sock_set_state"], connected),
    (&["tcp_v4_connect", "sys_exit_connect"], connect_failed),
    (&["tcp_retransmit_skb"], retransmitted),
    (&["tcp_receive_reset"], reset),
    (&["kfree_skb"], dropped),
    (&["inet_sk_error_report", "sock_def_error_report"], in_error),
    (&["tcp_send_probe0"], probed),
    (&["hclog.(*writer).Flush"], logged),
];

/// One event of a recording.
struct Event(Value);

impl Event {
    fn is(&self, kind: &str) -> bool {
        self.0["event"] == kind
    }

    fn leads_to(&self, address: SocketAddr) -> bool {
        self.0["socket"]["remote"] == address.to_string()
    }

    fn goroutine(&self) -> Option<u64> {
        self.0["by"]["goid"].as_u64()
    }

    fn is_entry_of(&self, request: &Measured) -> bool {
        let id = self.0["entry"]["id"].as_str();
        id.is_some() && id == request.request_id.as_deref() && self.goroutine().is_some()
    }

    /// The whole of what was to be sent.
    fn sent_all(&self) -> Option<u64> {
        let result = self.0["result"].as_u64()?;
        (self.0["requested"] == result).then_some(result)
    }
}

fn sent_to_log_server(event: &Event, tour: &Tour) -> bool {
    let sent = |line: &usize| event.sent_all() == Some(*line as u64 + 1);
    event.is("send")
        && event.leads_to(tour.log)
        && event.is_entry_of(&tour.request)
        && tour.lines.iter().any(sent)
}

fn received_from_client(event: &Event, tour: &Tour) -> bool {
    let client = SocketAddr::new(Family::V4.loopback(), tour.request.local_port);
    event.is("receive")
        && event.leads_to(client)
        && event.0["bytes"].as_u64() > Some(0)
        && event.goroutine().is_some()
}

fn sent_to_unix_socket(event: &Event, tour: &Tour) -> bool {
    event.is("send")
        && event.0["socket"]["path"] == tour.unix.to_string_lossy().as_ref()
        && event.is_entry_of(&tour.request)
        && event.sent_all().is_some()
}

fn sent_by_udp(event: &Event, tour: &Tour) -> bool {
    event.is("send")
        && event.0["socket"]["transport"] == "udp"
        && event.leads_to(tour.udp)
        && event.is_entry_of(&tour.request)
}

fn connected(event: &Event, tour: &Tour) -> bool {
    event.is("state")
        && event.leads_to(tour.log)
        && (&event.0["old"], &event.0["new"]) == (&"syn_sent".into(), &"established".into())
}

fn connect_failed(event: &Event, tour: &Tour) -> bool {
    event.is("connect_failed")
        && event.leads_to(tour.log)
        && event.0["errno"] == nix::libc::EHOSTUNREACH
        && event.goroutine().is_some()
}

fn retransmitted(event: &Event, tour: &Tour) -> bool {
    event.is("retransmit") && event.leads_to(tour.log)
}

fn reset(event: &Event, tour: &Tour) -> bool {
    event.is("reset") && event.leads_to(tour.log)
}

fn dropped(event: &Event, tour: &Tour) -> bool {
    event.is("drop") && event.leads_to(tour.log) && event.0["incoming"] != true
}

fn in_error(event: &Event, tour: &Tour) -> bool {
    event.is("socket_error")
        && event.leads_to(tour.log)
        && event.0["errno"] == nix::libc::ECONNRESET
}

fn probed(event: &Event, tour: &Tour) -> bool {
    event.is("window_probe") && event.leads_to(tour.log)
}

/// The server's own error about the connect that failed.
fn logged(event: &Event, tour: &Tour) -> bool {
    let failures = event.0["failures"].as_array();
    let is_of_log_server = |failure: &Value| {
        failure["device"]["address"] == tour.log.to_string()
            && failure["reason"]["errno"] == nix::libc::EHOSTUNREACH
    };
    event.is("devices_failed")
        && event.goroutine().is_some()
        && failures.is_some_and(|failures| failures.iter().any(is_of_log_server))
}

/// A server with a device of each kind, and what it writes to.
struct Host {
    server: Server,
    client: Client,
    tcp: LogServer,
    _others: [LogServer; 2],
    udp: SocketAddr,
    unix: PathBuf,
    network: Network,
    _directory: TempDir,
}

/// What happened to it.
struct Tour {
    log: SocketAddr,
    udp: SocketAddr,
    unix: PathBuf,
    /// A request that nothing disturbed.
    request: Measured,
    /// Lengths of the lines that the log server got of it.
    lines: Vec<usize>,
    events: Vec<Event>,
}

const LIMIT: Duration = Duration::from_secs(20);

/// After which there is a further request, so that there is more to send: in emulated guests one in about twenty
/// waits for a retransmit was in vain otherwise.
const PATIENCE: Duration = Duration::from_secs(3);

impl Host {
    fn start() -> Result<Self> {
        let network = Network::create(1)?;
        let directory = tempfile::tempdir()?;
        let unix = directory.path().join("log.sock");
        let [log, udp] = [PORT, PORT + 1].map(|port| network.logs[0].port(Family::V4, port));
        let endpoints = [
            Endpoint::Tcp(log),
            Endpoint::Udp(udp),
            Endpoint::Unix(unix.clone()),
        ];
        let far = &network.logs[0].namespace;
        let tcp = LogServer::start(far, endpoints[0].clone())?;
        let others = [
            LogServer::start(far, endpoints[1].clone())?,
            LogServer::start(&network.vault, endpoints[2].clone())?,
        ];
        let mut builder = Server::builder(&bao_from_environment()?).audit_to_file();
        for endpoint in &endpoints {
            builder = builder.audit(AuditDevice::socket(endpoint.socket_type(), endpoint));
        }
        let server = builder.start(&network.vault)?;
        Ok(Self {
            client: server.client(Family::V4),
            server,
            tcp,
            _others: others,
            udp,
            unix,
            network,
            _directory: directory,
        })
    }

    fn log(&self) -> SocketAddr {
        self.network.logs[0].port(Family::V4, PORT)
    }

    fn ask(&self) -> Result<Measured> {
        self.client.get(BIG_REQUEST)
    }

    /// Makes everything happen that probes are for, and leaves the host as it was.
    fn tour(&self, way: &str) -> Result<Report> {
        let agent = agent_from_environment()?;
        let tracer = match Tracer::attach(&agent, self.server.pid(), &["--probes", way, RECORD]) {
            Ok(tracer) => tracer,
            Err(error) => {
                let (way, error) = (way.to_owned(), format!("{error:#}"));
                return Ok(Report::Refused { way, error });
            }
        };
        let request = self.ask()?;
        self.go_round(&tracer)?;
        let trace = tracer.stop()?;
        let lines = self.tcp.lines();
        let of_request = |line: &&Vec<u8>| lab::audit::request_id(line) == request.request_id;
        let tour = Tour {
            log: self.log(),
            udp: self.udp,
            unix: self.unix.clone(),
            lines: lines.iter().filter(of_request).map(Vec::len).collect(),
            request,
            events: lab::tracer::records(&trace.recording)?
                .into_iter()
                .map(Event)
                .collect(),
        };
        let session = trace.records.first().context("the trace is empty")?;
        Ok(Report::Attached {
            way: way.to_owned(),
            probes: probes(&session["probes"], &tour),
        })
    }

    fn go_round(&self, tracer: &Tracer) -> Result<()> {
        let (near, far) = (&self.network.vault, &self.network.logs[0].namespace);
        let seen = |what: &str| {
            let mut asked = Instant::now();
            wait::until(what, LIMIT, || {
                let happened = tracer.events()?.into_iter().any(|e| e["event"] == what);
                if !happened && asked.elapsed() > PATIENCE {
                    self.ask()?;
                    asked = Instant::now();
                }
                Ok(happened.then_some(()))
            })
            .with_context(|| format!("seen so far: {}", told(tracer)))
        };
        let dropped = Fault::drop_output(PORT).apply(near)?;
        self.ask()?;
        seen("drop")?;
        // What cannot leave is tried again as if the window were closed.
        std::thread::sleep(Duration::from_secs(1));
        dropped.lift()?;
        let lost = Fault::drop_input(PORT).apply(far)?;
        self.ask()?;
        seen("retransmit")?;
        lost.lift()?;
        self.tcp.reset_connections()?;
        seen("reset")?;
        let gone = Fault::NoRoute(self.log().ip()).apply(near)?;
        self.ask()?;
        gone.lift()?;
        self.ask().map(drop)
    }
}

/// What a failure shows of a recording: time, kind and destination of each event.
fn told(tracer: &Tracer) -> String {
    let events = match tracer.events() {
        Ok(events) => events,
        Err(error) => return format!("{error:#}"),
    };
    let one = |event: Value| {
        format!(
            "\n{} {} {} {}",
            event["time"], event["event"], event["socket"]["remote"], event["result"]
        )
    };
    events.into_iter().map(one).collect()
}

/// The probes of a session, with what came of each.
fn probes(session: &Value, tour: &Tour) -> Vec<Probe> {
    let probe = |probe: &Value| {
        let word = |field: &str| probe[field].as_str().unwrap_or_default().to_owned();
        let (hook, kind) = (word("hook"), word("kind"));
        let shows = HOOKS.iter().find(|(hooks, _)| hooks.contains(&&*hook));
        let fired = shows.map(|(_, shows)| tour.events.iter().any(|event| shows(event, tour)));
        Probe { kind, hook, fired }
    };
    session
        .as_array()
        .into_iter()
        .flatten()
        .map(probe)
        .collect()
}

#[test]
fn every_probe_that_attaches_fires_with_the_right_arguments() -> Result<()> {
    let host = Host::start()?;
    let mut probes = Vec::new();
    for way in WAYS {
        let report = host.tour(way)?;
        println!("{}", report.to_line());
        if let Report::Attached { probes: of_way, .. } = report {
            probes.extend(of_way);
        }
    }
    assert!(!probes.is_empty(), "every way of probing was refused");
    let silent: Vec<_> = probes
        .iter()
        .filter(|probe| probe.fired == Some(false))
        .collect();
    assert!(silent.is_empty(), "attached, and told nothing: {silent:?}");
    Ok(())
}

//! The server, its log server, its clients and the agent.

use std::{path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use lab::{
    AuditDevice, Endpoint, Family, Fault, LogServer, Network, Server, Trace,
    scenario::PORT,
    server::{Builder, bao_from_environment, own_name},
    wait,
};
use nix::sys::signal::Signal;

use super::{
    agent::Agent,
    collector::{Collector, Conduct},
    load::{Load, Requests},
};

/// Of the socket device.
const TIMEOUT: &str = "300ms";
/// Longer than a hang: somebody is blocked.
const OUTAGE: Duration = Duration::from_millis(700);
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Scene {
    // In the order in which they are to be dropped.
    agent: Option<Agent>,
    load: Option<Load>,
    server: Option<Server>,
    log: LogServer,
    builder: Builder,
    pub(crate) collector: Collector,
    pub(crate) network: Network,
    pub(crate) name: String,
    pub(crate) requests: Requests,
}

impl Scene {
    pub(crate) fn start() -> Result<Self> {
        let name = own_name("bao-soak");
        let network = Network::create(1)?;
        let at = network.logs[0].port(Family::V4, PORT);
        let log = LogServer::start(&network.logs[0].namespace, Endpoint::Tcp(at))?;
        let socket = AuditDevice::socket("to-socket", &Endpoint::Tcp(at));
        let builder = Server::builder(&bao_from_environment()?)
            .audit_to_file()
            .audit(socket.option("write_timeout", TIMEOUT))
            .program_name(&name);
        let mut scene = Self {
            agent: None,
            load: None,
            server: None,
            log,
            builder,
            collector: Collector::start()?,
            network,
            name,
            requests: Requests::default(),
        };
        scene.start_server()?;
        Ok(scene)
    }

    pub(crate) fn server(&self) -> Result<&Server> {
        self.server.as_ref().context("there is no server")
    }

    pub(crate) fn server_pid(&self) -> Result<u32> {
        Ok(self.server()?.pid())
    }

    /// The agent; attached anew if there is none.
    pub(crate) fn agent(&mut self) -> Result<&mut Agent> {
        if self.agent.is_none() {
            let collector = format!("http://{}", self.collector.address);
            self.agent = Some(Agent::attach(&self.name, &collector)?);
        }
        self.agent.as_mut().context("it is there")
    }

    /// The audit device takes nothing for a while.
    pub(crate) fn outage(&self) -> Result<()> {
        let fault = Fault::drop_output(PORT).apply(&self.network.vault)?;
        self.log.reset_connections()?;
        thread::sleep(OUTAGE);
        fault.lift()
    }

    /// The same, which the agent is to report.
    pub(crate) fn reported_outage(&mut self) -> Result<()> {
        let before = self.agent()?.hangs()?;
        self.outage()?;
        self.agent()?.wait_for_hangs(before)?;
        self.agent()?.check_leaks()
    }

    /// Ends the agent, and checks what it wrote.
    pub(crate) fn end_agent(&mut self, signal: Signal) -> Result<Trace> {
        let agent = self.agent.take().context("there is no agent")?;
        agent.end(signal, &self.requests)
    }

    fn start_server(&mut self) -> Result<()> {
        let server = self.builder.start(&self.network.vault)?;
        self.load = Some(Load::start(&server.client(Family::V4), &self.requests));
        self.server = Some(server);
        Ok(())
    }

    /// Another server of the same name; returns when the agent traces it.
    pub(crate) fn restart_server(&mut self, kill: bool) -> Result<()> {
        if let Some(mut server) = self.server.take()
            && kill
        {
            server.kill()?;
        }
        self.load = None;
        // Long enough to notice.
        thread::sleep(Duration::from_millis(500));
        self.start_server()?;
        let pid = self.server_pid()?;
        let agent = self.agent()?;
        let what = "the agent to attach again";
        let attached =
            |record: &serde_json::Value| record["type"] == "attached" && record["pid"] == pid;
        agent.tracer.wait_for(what, LIMIT, attached).map(drop)
    }

    /// Whether it answers as before.
    pub(crate) fn server_works(&self) -> Result<()> {
        self.wait_for_requests(20)
    }

    /// Waits for so many further answers.
    pub(crate) fn wait_for_requests(&self, count: usize) -> Result<()> {
        let wanted = self.requests.answered() + count;
        wait::until("answers", LIMIT, || {
            Ok((self.requests.answered() >= wanted).then_some(()))
        })
    }

    /// Its executable, a copy of its own.
    pub(crate) fn executable(&self) -> Result<PathBuf> {
        let own = self.server()?.executable().to_owned();
        ensure!(
            own.ends_with(&self.name),
            "{} is not its own",
            own.display()
        );
        Ok(own)
    }

    /// After a failure: the next fault is to have nothing of it.
    pub(crate) fn renew(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            let said = agent.tracer.stderr();
            let last: Vec<_> = said.lines().rev().take(5).collect();
            println!("  the agent said: {}", last.join(" | "));
        }
        self.collector.becomes(Conduct::Accepts);
        self.load = None;
        self.server = None;
        self.start_server()
    }

    /// Ends all of it, and checks what the agent wrote.
    pub(crate) fn finish(mut self) -> Result<String> {
        if self.agent.is_none() {
            return Ok("no agent is left".to_owned());
        }
        let trace = self.end_agent(Signal::SIGINT)?;
        ensure!(
            trace.status.success() || trace.stderr.contains("collector"),
            "{}",
            trace.stderr
        );
        self.load = None;
        Ok(format!("at the end: {}", trace.summary()?))
    }
}

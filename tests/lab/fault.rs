//! What can go wrong on the network, as values: applied inside a namespace, undone when dropped.

use std::fmt;
use std::io::Write;
use std::net::IpAddr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::netns::Namespace;
use crate::process;

/// The nft table that holds every rule of the lab.
pub const TABLE: &str = "inet vault_tracer_lab";

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A fault of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A firewall rule.
    Rule(Rule),
    /// The interface is down.
    LinkDown(String),
    /// The routing table discards what goes to an address: `connect` fails with EINVAL, packets vanish.
    Blackhole(IpAddr),
    /// The routing table has no way to an address: EHOSTUNREACH.
    NoRoute(IpAddr),
    /// The interface sends at a rate, in tc's words: `4mbit`.
    Rate {
        /// Which.
        interface: String,
        /// How fast.
        rate: &'static str,
    },
}

/// A firewall rule for one port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Leaving (`output`) or entering (`input`) the host.
    pub hook: Hook,
    /// Which packets, in nft's words.
    pub packets: String,
    /// What becomes of them.
    pub verdict: Verdict,
}

/// Where a rule sees packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Packets from this host.
    Output,
    /// Packets to this host.
    Input,
    /// Packets that arrive at an interface, before anything else is done with them.
    Ingress(&'static str),
}

/// What a rule does with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No trace of them.
    Drop,
    /// Answered by RST.
    RejectTcpReset,
    /// Answered by ICMP port unreachable.
    RejectIcmpPort,
    /// Answered by ICMP host unreachable (no route, in IPv6).
    RejectIcmpHost,
    /// Answered by ICMP administratively prohibited.
    RejectIcmpProhibited,
}

impl Fault {
    /// `iptables -A OUTPUT -p tcp --dport PORT -j DROP`, the seed's fault, for the Vault host.
    pub fn drop_output(port: u16) -> Self {
        Self::rule(Hook::Output, format!("tcp dport {port}"), Verdict::Drop)
    }

    /// Drops what arrives for `port`: for the log host, or for a log server on the Vault host's own loopback.
    pub fn drop_input(port: u16) -> Self {
        Self::rule(Hook::Input, format!("tcp dport {port}"), Verdict::Drop)
    }

    /// Drops what comes back from `port`: an INPUT rule of the Vault host against a remote log server.
    pub fn drop_replies(port: u16) -> Self {
        Self::rule(Hook::Input, format!("tcp sport {port}"), Verdict::Drop)
    }

    /// Drops new connections to `port` as they arrive, and lets established ones be.
    pub fn drop_input_syn(port: u16) -> Self {
        Self::rule(
            Hook::Input,
            format!("tcp dport {port} tcp flags & (syn | ack) == syn"),
            Verdict::Drop,
        )
    }

    /// Drops so many new connection attempts to `port` as they arrive, and lets those after them in: for the log host. TCP tries
    /// again after 1 s.
    pub fn drop_first_syns(port: u16, attempts: u8) -> Self {
        Self::rule(
            Hook::Input,
            format!(
                "tcp dport {port} tcp flags & (syn | ack) == syn limit rate 1/day burst {attempts} packets"
            ),
            Verdict::Drop,
        )
    }

    /// Drops what arrives for `port` at an interface: for the log host, whose interface is the far end of the Vault host's
    /// link, as policies of container networks do.
    pub fn drop_ingress(interface: &'static str, port: u16) -> Self {
        let packets = format!("tcp dport {port}");
        Self::rule(Hook::Ingress(interface), packets, Verdict::Drop)
    }

    /// A firewall on the way answers for `port`, on the log host.
    pub fn reject_input(port: u16, verdict: Verdict) -> Self {
        Self::rule(Hook::Input, format!("tcp dport {port}"), verdict)
    }

    /// The Vault host's own firewall answers for `port`.
    pub fn reject_output(port: u16, verdict: Verdict) -> Self {
        Self::rule(Hook::Output, format!("tcp dport {port}"), verdict)
    }

    /// RST from the log host's firewall.
    pub fn reject_tcp_reset(port: u16) -> Self {
        Self::reject_input(port, Verdict::RejectTcpReset)
    }

    /// ICMP port unreachable from the log host's firewall.
    ///
    /// Over IPv6 and veth the answer arrives while `connect` still holds the socket, and counts only once it comes
    /// again, for the second SYN: each dial then takes 1.0 s. Over IPv4 it fails at once.
    pub fn reject_icmp(port: u16) -> Self {
        Self::reject_input(port, Verdict::RejectIcmpPort)
    }

    /// Any rule.
    pub fn rule(hook: Hook, packets: String, verdict: Verdict) -> Self {
        Self::Rule(Rule {
            hook,
            packets,
            verdict,
        })
    }

    /// Makes it happen in `namespace`, until the value returned is dropped.
    pub fn apply(self, namespace: &Namespace) -> Result<Applied> {
        let chain = format!("fault{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        match &self {
            Self::Rule(rule) => nft(namespace, &rule.script(&chain)),
            Self::LinkDown(interface) => namespace.ip(["link", "set", interface, "down"]),
            Self::Blackhole(address) => {
                namespace.ip(["route", "add", "blackhole", &host_route(*address)])
            }
            Self::NoRoute(address) => {
                namespace.ip(["route", "add", "unreachable", &host_route(*address)])
            }
            Self::Rate { interface, rate } => {
                let limit = ["tbf", "rate", rate, "burst", "16kb", "limit", "1mb"];
                queue(namespace, "replace", interface, &limit)
            }
        }
        .with_context(|| format!("cannot make the fault {self} in {}", namespace.name()))?;
        Ok(Applied {
            fault: self,
            chain,
            namespace: namespace.clone(),
            active: true,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => write!(to, "{} {} {}", rule.hook, rule.packets, rule.verdict),
            Self::LinkDown(interface) => write!(to, "link {interface} down"),
            Self::Blackhole(address) => write!(to, "blackhole {address}"),
            Self::NoRoute(address) => write!(to, "no route to {address}"),
            Self::Rate { interface, rate } => write!(to, "{rate} over {interface}"),
        }
    }
}

impl Rule {
    /// One chain a fault, so that each is undone on its own.
    fn script(&self, chain: &str) -> String {
        let Self {
            hook,
            packets,
            verdict,
        } = self;
        format!(
            "add table {TABLE}\n\
             add chain {TABLE} {chain} {{ type filter hook {hook} priority 0; policy accept; }}\n\
             add rule {TABLE} {chain} {packets} {verdict}\n"
        )
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output => to.write_str("output"),
            Self::Input => to.write_str("input"),
            Self::Ingress(interface) => write!(to, "ingress device {interface}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Self::Drop => "drop",
            Self::RejectTcpReset => "reject with tcp reset",
            Self::RejectIcmpPort => "reject with icmpx type port-unreachable",
            Self::RejectIcmpHost => "reject with icmpx type no-route",
            Self::RejectIcmpProhibited => "reject with icmpx type admin-prohibited",
        })
    }
}

/// A fault that is on. Undone when dropped.
#[derive(Debug)]
pub struct Applied {
    fault: Fault,
    chain: String,
    namespace: Namespace,
    active: bool,
}

impl Applied {
    /// Undoes it.
    pub fn lift(mut self) -> Result<()> {
        self.undo()
    }

    /// Leaves it on for good; a rule can still be removed by [`flush`].
    pub fn keep(mut self) {
        self.active = false;
    }

    fn undo(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.active) {
            return Ok(());
        }
        let (namespace, chain) = (&self.namespace, &self.chain);
        match &self.fault {
            Fault::Rule(_) => nft(
                namespace,
                &format!("flush chain {TABLE} {chain}\ndelete chain {TABLE} {chain}\n"),
            ),
            Fault::LinkDown(interface) => namespace.ip(["link", "set", interface, "up"]),
            Fault::Blackhole(address) => {
                namespace.ip(["route", "del", "blackhole", &host_route(*address)])
            }
            Fault::NoRoute(address) => {
                namespace.ip(["route", "del", "unreachable", &host_route(*address)])
            }
            Fault::Rate { interface, .. } => queue(namespace, "del", interface, &[]),
        }
        .with_context(|| {
            format!(
                "cannot undo the fault {} in {}",
                self.fault,
                namespace.name()
            )
        })
    }
}

impl Drop for Applied {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("lab: {error:#}");
        }
    }
}

/// Removes every rule of the lab in `namespace`.
pub fn flush(namespace: &Namespace) -> Result<()> {
    // Deleting a table that does not exist is an error; adding one that does is not.
    nft(
        namespace,
        &format!("add table {TABLE}\ndelete table {TABLE}\n"),
    )
}

/// The rules of the lab in `namespace`, if there are any.
pub fn rules(namespace: &Namespace) -> Result<Option<String>> {
    let tables = process::run(namespace.command("nft").args(["list", "ruleset"]))?;
    Ok(tables.contains(&format!("table {TABLE}")).then_some(tables))
}

fn nft(namespace: &Namespace, script: &str) -> Result<()> {
    let mut command = namespace.command("nft");
    command
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .context("cannot run nft: is it installed?")?;
    let mut input = child.stdin.take().context("nft without standard input")?;
    // An nft that has stopped reading says why on its standard error.
    let _ = input.write_all(script.as_bytes());
    drop(input);
    process::finish(&command, &child.wait_with_output()?).map(drop)
}

/// Changes what an interface's packets wait in: `tc qdisc`.
fn queue(namespace: &Namespace, change: &str, interface: &str, queue: &[&str]) -> Result<()> {
    let root = ["qdisc", change, "dev", interface, "root"];
    process::run(namespace.command("tc").args(root).args(queue)).map(drop)
}

fn host_route(address: IpAddr) -> String {
    if address.is_ipv4() {
        format!("{address}/32")
    } else {
        format!("{address}/128")
    }
}

//! What can become of the one TCP socket.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Map, json};
use tracer_proc::{TcpEntry, TcpState};

use super::{LONG_TIMEOUT, NOTHING, SHORT_TIMEOUT, State, ask, fill_and_more, until, until_in_all};
use crate::client::Measured;
use crate::fault::{Applied, Fault, Verdict};
use crate::network::Family;
use crate::scenario::{Lab, PORT};
use crate::{log_server, process, sockets, wait};

/// Two entries of 1 kB.
const SMALL_REQUEST: &str = "/v1/auth/token/lookup-self";
/// What requests take in all that wait for a device that is slow; others are slow now and then.
const SLOW_IN_ALL: Duration = Duration::from_millis(1500);
/// With huge entries: 10 MB, more than any send buffer.
const HUGE_REQUESTS: usize = 20;
/// A connection that nobody owns any more is tried again after back-off.
const GIVEN_UP: Duration = Duration::from_mins(1);

/// The log server is stopped: its host answers with RST.
pub const NO_LISTENER: State = State {
    name: "no-listener",
    happen: |lab| {
        lab.log.stop();
        ask(lab, 3)
    },
    ..NOTHING
};

/// A firewall on the log host rejects with RST, and then no more.
pub const FIREWALL_RESET: State = State {
    name: "firewall-reset",
    happen: |lab| {
        let reject = on_log_host(lab, Fault::reject_tcp_reset(PORT))?;
        let rejected = ask(lab, 2)?;
        reject.lift()?;
        Ok([rejected, ask(lab, 1)?].concat())
    },
    ..NOTHING
};

/// It rejects with ICMP port unreachable.
pub const FIREWALL_ICMP_PORT: State = State {
    name: "firewall-icmp-port",
    happen: |lab| rejected(lab, Verdict::RejectIcmpPort),
    ..NOTHING
};

/// Or with ICMP host unreachable.
pub const FIREWALL_ICMP_HOST: State = State {
    name: "firewall-icmp-host",
    happen: |lab| rejected(lab, Verdict::RejectIcmpHost),
    ..NOTHING
};

/// ICMP over IPv6: see [`Fault::reject_icmp`].
pub const FIREWALL_ICMP_IPV6: State = State {
    name: "firewall-icmp-ipv6",
    family: Family::V6,
    ..FIREWALL_ICMP_PORT
};

fn rejected(lab: &Lab, verdict: Verdict) -> Result<Vec<Measured>> {
    let _reject = on_log_host(lab, Fault::reject_input(PORT, verdict))?;
    lab.log.reset_connections()?;
    ask(lab, 3)
}

/// Nobody answers SYNs, and the connection there was is reset.
pub const SYN_UNANSWERED: State = State {
    name: "syn-unanswered",
    happen: |lab| {
        let _drop = on_log_host(lab, Fault::drop_input_syn(PORT))?;
        lab.log.reset_connections()?;
        ask(lab, 2)
    },
    ..NOTHING
};

/// A listener that neither reads nor accepts: each connection takes what fits, and when the queue is full, the next is
/// not answered.
pub const FULL_ACCEPT_QUEUE: State = State {
    name: "full-accept-queue",
    prepare: |lab| with_small_buffers(lab, 1),
    happen: |lab| {
        lab.log.pause();
        until(lab, SHORT_TIMEOUT * 4)
    },
    ..NOTHING
};

/// The log host drops in mid-stream.
pub const NO_ACK: State = State {
    name: "no-ack",
    happen: |lab| {
        let _drop = on_log_host(lab, Fault::drop_input(PORT))?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// The seed's fault, `iptables-drop.sh`, and its end.
pub const DROP_ON_VAULT_HOST: State = State {
    name: "drop-on-vault-host",
    happen: |lab| {
        let fault = lab.drop_output()?;
        let dropped = fill_and_more(lab)?;
        fault.lift()?;
        Ok([dropped, ask(lab, 1)?].concat())
    },
    ..NOTHING
};

/// The same by iptables. It has no replay case: what is seen of it is the same.
pub const IPTABLES_DROP: State = State {
    name: "iptables-drop",
    happen: |lab| {
        let program = match lab.family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let rule = ["-A", "OUTPUT", "-p", "tcp", "--dport", "1515", "-j", "DROP"];
        process::run(lab.network.vault.command(program).args(rule))?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// The Vault host drops what comes back.
pub const DROP_OF_REPLIES: State = State {
    name: "drop-of-replies",
    happen: |lab| {
        let _drop = on_vault_host(lab, Fault::drop_replies(PORT))?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// The far end of the Vault host's link drops what the Vault host sends, on this host but beyond the server's network
/// namespace.
pub const DROP_BEYOND: State = State {
    name: "drop-beyond",
    happen: |lab| {
        let _drop = on_log_host(lab, Fault::drop_ingress("vault", PORT))?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// A connection attempt whose first SYN is lost, and the next is answered: it takes a second, and succeeds.
pub const SYN_ANSWERED_LATE: State = State {
    name: "syn-answered-late",
    write_timeout: Duration::from_secs(5),
    happen: |lab| {
        let _drop = on_log_host(lab, Fault::drop_first_syns(PORT, 1))?;
        lab.log.reset_connections()?;
        ask(lab, 2)
    },
    ..NOTHING
};

/// A narrow link, and entries of 240 kB: all of it is read as it arrives.
pub const SLOW_PATH: State = State {
    name: "slow-path",
    write_timeout: Duration::from_secs(5),
    happen: |lab| {
        let interface = lab.network.logs[0].interface();
        let _slow = on_vault_host(
            lab,
            Fault::Rate {
                interface,
                rate: "4mbit",
            },
        )?;
        let mut waited = Duration::ZERO;
        send_huge(lab, |took| {
            waited += Some(took)
                .filter(|took| *took > SHORT_TIMEOUT / 2)
                .unwrap_or_default();
            waited > SLOW_IN_ALL * 2
        })
    },
    ..NOTHING
};

/// The same entries over a link that is fast enough.
pub const HUGE_ENTRIES: State = State {
    name: "huge-entries",
    happen: |lab| send_huge(lab, |_| false),
    ..NOTHING
};

/// Requests whose two entries are 240 kB each, until they have taken as long as `enough` says: values are hashed, but not
/// their names.
fn send_huge(lab: &Lab, mut enough: impl FnMut(Duration) -> bool) -> Result<Vec<Measured>> {
    let fields = (0..30).map(|number| (format!("{number}{}", "x".repeat(8000)), json!("value")));
    let data: Map<_, _> = fields.collect();
    let body = json!({ "data": data });
    let mut requests = Vec::new();
    while requests.len() < HUGE_REQUESTS {
        let request = lab.client.put("/v1/secret/data/huge", &body)?;
        let took = request.duration;
        requests.push(request);
        if enough(took) {
            break;
        }
    }
    Ok(requests)
}

/// The log process stops reading; its kernel goes on acknowledging. A new connection takes over.
pub const ZERO_WINDOW: State = State {
    name: "zero-window",
    write_timeout: LONG_TIMEOUT,
    prepare: |lab| with_small_buffers(lab, 128),
    happen: |lab| {
        lab.log.pause();
        Ok([until(lab, LONG_TIMEOUT)?, ask(lab, 1)?].concat())
    },
    ..NOTHING
};

/// The log process reads a few kB/s.
pub const SLOW_READER: State = State {
    name: "slow-reader",
    write_timeout: Duration::from_secs(5),
    prepare: |lab| with_small_buffers(lab, 128),
    happen: |lab| {
        lab.log.throttle(60_000);
        until_in_all(lab, SHORT_TIMEOUT / 2, SLOW_IN_ALL)
    },
    ..NOTHING
};

/// The log server resets its connections, and takes new ones.
pub const RESET_IN_MID_STREAM: State = State {
    name: "reset-in-mid-stream",
    happen: |lab| {
        lab.log.reset_connections()?;
        ask(lab, 2)
    },
    ..NOTHING
};

/// The log host is gone from the network.
pub const HOST_GONE: State = State {
    name: "host-gone",
    happen: |lab| {
        let _down = on_log_host(lab, Fault::LinkDown("vault".to_owned()))?;
        fill_and_more(lab)
    },
    ..NOTHING
};

/// This host's interface goes down.
pub const LINK_DOWN_HERE: State = State {
    name: "link-down-here",
    write_timeout: LONG_TIMEOUT,
    happen: |lab| no_way(lab, Fault::LinkDown(lab.network.logs[0].interface())),
    ..NOTHING
};

/// The routing table discards.
pub const BLACKHOLE_ROUTE: State = State {
    name: "blackhole-route",
    write_timeout: LONG_TIMEOUT,
    happen: |lab| {
        let address = lab.network.logs[0].address(lab.family);
        no_way(lab, Fault::Blackhole(address))
    },
    ..NOTHING
};

/// The routing table has no way.
pub const NO_ROUTE: State = State {
    name: "no-route",
    write_timeout: LONG_TIMEOUT,
    happen: |lab| {
        let address = lab.network.logs[0].address(lab.family);
        no_way(lab, Fault::NoRoute(address))
    },
    ..NOTHING
};

fn no_way(lab: &Lab, fault: Fault) -> Result<Vec<Measured>> {
    let _gone = on_vault_host(lab, fault)?;
    until(lab, LONG_TIMEOUT)
}

/// The device falls silent under little load.
pub const FILLING_WARNING: State = State {
    name: "filling-warning",
    happen: |lab| {
        let _drop = on_log_host(lab, Fault::drop_input(PORT))?;
        let mut connection = lab.client.connect()?;
        let mut requests = vec![connection.get(SMALL_REQUEST)?];
        while requests
            .last()
            .is_some_and(|last| last.duration < SHORT_TIMEOUT)
        {
            std::thread::sleep(Duration::from_millis(120)); // little load, not a wait for something
            requests.push(connection.get(SMALL_REQUEST)?);
        }
        Ok(requests)
    },
    ..NOTHING
};

/// What the server had closed meets a RST: the log server is gone when its host answers again.
pub const LOST_ENTRIES: State = State {
    name: "lost-entries",
    happen: |lab| {
        let drop = on_log_host(lab, Fault::drop_input(PORT))?;
        let requests = lab.fill()?;
        lab.log.stop();
        drop.lift()?;
        wait::until("the connection to be given up", GIVEN_UP, || {
            let sockets = sockets::tcp_to(lab.server.pid(), lab.log_address())?;
            let trying =
                |socket: &TcpEntry| matches!(socket.state, TcpState::FinWait1 | TcpState::Closing);
            Ok((!sockets.iter().any(trying)).then_some(()))
        })?;
        Ok(requests)
    },
    ..NOTHING
};

fn on_log_host(lab: &Lab, fault: Fault) -> Result<Applied> {
    fault.apply(&lab.network.logs[0].namespace)
}

fn on_vault_host(lab: &Lab, fault: Fault) -> Result<Applied> {
    fault.apply(&lab.network.vault)
}

/// A log server whose window closes soon, with the server connected to it.
fn with_small_buffers(lab: &mut Lab, backlog: u32) -> Result<Vec<Measured>> {
    lab.log.stop();
    let options = log_server::Options::new(lab.endpoint.clone());
    lab.log = options
        .backlog(backlog)
        .receive_buffer(4096)
        .start(&lab.network.logs[0].namespace)?;
    ask(lab, 3)
}

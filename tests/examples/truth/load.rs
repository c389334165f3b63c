//! Clients: each asks on a connection of its own, and notes what it measured.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use lab::{Client, Connection, Measured, Multiplexed, SecureClient, scenario::BIG_REQUEST};
use serde_json::{Map, Value, json};

use super::{
    case::{Case, Program, Protocol},
    kind::Kind,
    outcome::Request,
    scene::Running,
};

/// How clients find the server.
#[derive(Clone)]
pub(crate) enum Access {
    Plain(Client),
    Secure(SecureClient),
}

impl Access {
    pub(crate) fn to(server: &Running, case: &Case) -> Result<Self> {
        match case.protocol {
            Protocol::Http1 => Ok(Self::Plain(server.client(case.ipv6))),
            _ => server.secure_client().map(Self::Secure).context("TLS"),
        }
    }

    fn open(&self, case: &Case) -> Result<Session> {
        Ok(match (self, case.protocol) {
            (Self::Plain(client), _) => Session::One(client.connect()?),
            (Self::Secure(client), Protocol::Http2 { streams }) => {
                Session::Streams(client.multiplex()?, streams.into())
            }
            (Self::Secure(client), _) => Session::One(client.connect()?),
        })
    }
}

/// How clients are steered, and what they note.
#[derive(Default)]
pub(crate) struct Load {
    stop: AtomicBool,
    /// Ask for what makes entries that are large.
    large: AtomicBool,
    requests: Mutex<Vec<Request>>,
    /// How late a thread was woken at most, ns.
    late: AtomicU64,
}

enum Session {
    One(Connection),
    Streams(Multiplexed, usize),
}

impl Load {
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    pub(crate) fn send_large(&self, is: bool) {
        self.large.store(is, Ordering::Relaxed);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.clone()
    }

    pub(crate) fn late(&self) -> Duration {
        Duration::from_nanos(self.late.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One client, until the load is over.
    pub(crate) fn client(&self, number: u64, case: &Case, access: &Access) -> Result<()> {
        let pause = Duration::from_millis(case.pause());
        // Not all of them at once.
        let first = pause * u32::try_from(number)? / u32::try_from(case.clients)?;
        thread::sleep(first);
        // It asks at once: Go closes an HTTP/2 connection whose client says nothing for 2 s.
        let mut session = access.open(case)?;
        while !self.is_over() {
            let begun = Instant::now();
            let measured = session.ask(case, self.large.load(Ordering::Relaxed))?;
            self.note(case, measured);
            thread::sleep(pause.saturating_sub(begun.elapsed()));
        }
        Ok(())
    }

    fn note(&self, case: &Case, measured: Vec<Measured>) {
        let requests = measured.into_iter().map(|one| {
            let started = one.started.duration_since(UNIX_EPOCH).unwrap_or_default();
            Request {
                path: one.audit_path().to_owned(),
                id: one.request_id,
                port: one.local_port,
                status: one.status,
                started: started.as_nanos() as i128,
                took: one.duration,
                worked: Duration::from_millis(case.work),
            }
        });
        let mut noted = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        noted.extend(requests);
    }

    /// Sees how late this machine wakes a thread.
    pub(crate) fn watch_clock(&self) {
        const NAP: Duration = Duration::from_millis(2);
        while !self.is_over() {
            let begun = Instant::now();
            thread::sleep(NAP);
            let late = begun.elapsed().saturating_sub(NAP).as_nanos() as u64;
            self.late.fetch_max(late, Ordering::Relaxed);
        }
    }
}

impl Session {
    fn ask(&mut self, case: &Case, large: bool) -> Result<Vec<Measured>> {
        let path = path(case);
        match self {
            Self::One(connection) if large => Ok(vec![
                connection.put("/v1/secret/data/large", &large_body(case.kind))?,
            ]),
            Self::One(connection) => Ok(vec![connection.get(&path)?]),
            Self::Streams(connection, streams) => connection.get_each(&vec![path; *streams]),
        }
    }
}

fn path(case: &Case) -> String {
    match case.program {
        Program::Vault { .. } if case.work > 0 => format!("/v1/plugin/work?sleep={}ms", case.work),
        _ => BIG_REQUEST.to_owned(),
    }
}

/// Values are hashed, but not their names.
fn large_body(kind: Kind) -> Value {
    // A datagram over UDP holds 64 kB, one of a Unix socket 212 kB (`wmem_default`).
    let fields = if kind == Kind::UdpTooLarge { 10 } else { 30 };
    let fields =
        (0..fields).map(|number| (format!("{number}{}", "x".repeat(8000)), json!("value")));
    json!({ "data": fields.collect::<Map<_, _>>() })
}

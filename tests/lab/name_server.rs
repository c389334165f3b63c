//! A name server that knows every name, until it is told to fail: then the first label of a name says how.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::netns::Namespace;

const HEADER: usize = 12;
/// `A` (RFC 1035, 3.2.2).
const ADDRESS: u16 = 1;
/// An answer to a query that asked for recursion, and had it.
const ANSWERED: u16 = 0x8180;
const TRUNCATED: u16 = 0x0200;
/// How often its thread looks whether it is to end.
const POLL: Duration = Duration::from_millis(50);

/// A server in a thread of this process. Stopped when dropped.
#[derive(Debug)]
pub struct NameServer {
    fails: Arc<AtomicBool>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    /// Names whose look-ups fail, each in its own way.
    pub const FAILING: [&'static str; 5] =
        ["nxdomain", "empty", "servfail", "refused", "truncated"];

    /// Starts it in `namespace` at port 53 of `at`; all names lead to that address.
    pub fn start(namespace: &Namespace, at: Ipv4Addr) -> Result<Self> {
        let bind = || Ok(UdpSocket::bind(SocketAddr::new(IpAddr::V4(at), 53))?);
        let socket = namespace.run(bind).context("cannot listen on port 53")?;
        socket.set_read_timeout(Some(POLL))?;
        let (fails, ends) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (failing, ending) = (fails.clone(), ends.clone());
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            while !ending.load(Ordering::Relaxed) {
                let Ok((length, client)) = socket.recv_from(&mut query) else {
                    continue;
                };
                let answer = answer(&query[..length], at, failing.load(Ordering::Relaxed));
                // A client that has gone wants no answer.
                let _ = answer.map(|answer| socket.send_to(&answer, client));
            }
        });
        Ok(Self {
            fails,
            ends,
            thread: Some(thread),
        })
    }

    /// From now on look-ups fail.
    pub fn fail(&self) {
        self.fails.store(true, Ordering::Relaxed);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `None` for what is no question.
fn answer(query: &[u8], at: Ipv4Addr, fails: bool) -> Option<Vec<u8>> {
    let (header, rest) = query.split_at_checked(HEADER)?;
    let name = rest.split(|byte| *byte == 0).next()?;
    let question = rest.get(..name.len() + 5)?;
    let kind = u16::from_be_bytes(
        question
            .get(name.len() + 1..name.len() + 3)?
            .try_into()
            .ok()?,
    );
    let label = name.get(1..=usize::from(*name.first()?))?;
    let (code, has_address) = match std::str::from_utf8(label) {
        Ok("nxdomain") if fails => (3, false),
        Ok("empty") if fails => (0, false),
        Ok("servfail") if fails => (2, false),
        Ok("refused") if fails => (5, false),
        Ok("truncated") if fails => (TRUNCATED, false),
        _ => (0, kind == ADDRESS),
    };
    let mut answer = header[..2].to_vec();
    for field in [ANSWERED | code, 1, u16::from(has_address), 0, 0] {
        answer.extend(field.to_be_bytes());
    }
    answer.extend(question);
    if has_address {
        // The name in the question, class IN, a minute.
        answer.extend([
            0xc0,
            HEADER as u8,
            0,
            ADDRESS as u8,
            0,
            1,
            0,
            0,
            0,
            60,
            0,
            4,
        ]);
        answer.extend(at.octets());
    }
    Some(answer)
}

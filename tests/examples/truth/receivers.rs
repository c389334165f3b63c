//! Who takes entries, or answers, in threads of this process until it ends: a syslog daemon, the reader of a pipe, a name server.

use std::{
    fs::{self, File, OpenOptions},
    io::Read,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::{fs::OpenOptionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::Namespace;
use nix::{libc, sys::stat::Mode, unistd::mkfifo};

const NAP: Duration = Duration::from_millis(5);

/// Reads a pipe, unless it is paused.
pub(crate) struct PipeReader {
    paused: Arc<AtomicBool>,
}

impl PipeReader {
    /// Makes the pipe, and opens it for writing too: else the server waits for a reader.
    pub(crate) fn make(at: &Path) -> Result<Self> {
        mkfifo(at, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK);
        let mut pipe: File = options.open(at).context("cannot open the pipe")?;
        let paused = Arc::new(AtomicBool::new(false));
        let shared = paused.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                // Empty, or not to be read.
                if shared.load(Ordering::Relaxed) || pipe.read(&mut buffer).is_err() {
                    thread::sleep(NAP);
                }
            }
        });
        Ok(Self { paused })
    }

    pub(crate) fn pause(&self, is: bool) {
        self.paused.store(is, Ordering::Relaxed);
    }
}

/// A syslog daemon.
pub(crate) struct Syslog {
    namespace: Namespace,
    at: PathBuf,
    paused: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
}

impl Syslog {
    /// In the server's namespace: sockets in one namespace that have the same path cannot be distinguished.
    pub(crate) fn start(namespace: &Namespace, at: &Path) -> Result<Self> {
        let mut daemon = Self {
            namespace: namespace.clone(),
            at: at.to_owned(),
            paused: Arc::default(),
            ended: Arc::default(),
        };
        daemon.restart()?;
        Ok(daemon)
    }

    pub(crate) fn restart(&mut self) -> Result<()> {
        let socket = self.namespace.run(|| Ok(UnixDatagram::bind(&self.at)?))?;
        socket.set_read_timeout(Some(NAP))?;
        self.ended = Arc::default();
        let (paused, ended) = (self.paused.clone(), self.ended.clone());
        thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                if paused.load(Ordering::Relaxed) {
                    thread::sleep(NAP);
                } else {
                    // Nothing within the time-out is no matter.
                    let _ = socket.recv(&mut [0]);
                }
            }
        });
        Ok(())
    }

    pub(crate) fn pause(&self, is: bool) {
        self.paused.store(is, Ordering::Relaxed);
    }

    /// Takes its socket with it.
    pub(crate) fn end(&self) -> Result<()> {
        self.ended.store(true, Ordering::Relaxed);
        fs::remove_file(&self.at)?;
        thread::sleep(NAP * 4); // until its thread has closed the socket
        Ok(())
    }
}

/// What a name server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Address = 0,
    Nothing = 1,
    NoSuchName = 2,
}

/// A name server that knows one address, for all names.
pub(crate) struct NameServer {
    answer: Arc<AtomicU8>,
}

impl NameServer {
    pub(crate) fn start(namespace: &Namespace, at: SocketAddr, address: Ipv4Addr) -> Result<Self> {
        let socket = namespace.run(|| Ok(UdpSocket::bind(at)?))?;
        let answer = Arc::new(AtomicU8::new(Answer::Address as u8));
        let shared = answer.clone();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let answer = shared.load(Ordering::Relaxed);
                if let Some(reply) = reply(&buffer[..length], answer, address) {
                    // The client may have gone.
                    let _ = socket.send_to(&reply, from);
                }
            }
        });
        Ok(Self { answer })
    }

    pub(crate) fn say(&self, answer: Answer) {
        self.answer.store(answer as u8, Ordering::Relaxed);
    }
}

/// Bytes of the header, and of type and class behind the name of the question (RFC 1035, 4.1).
const HEADER: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];

/// The answer to a query of one question, without what comes after that (EDNS).
fn reply(query: &[u8], answer: u8, address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = query.get(HEADER..)?.iter().position(|&byte| byte == 0)?;
    let end = HEADER + name + 1 + 4;
    let question = query.get(HEADER..end)?;
    let is_a = question[question.len() - 4..][..2] == TYPE_A;
    let (code, answers) = match answer {
        answer if answer == Answer::Address as u8 => (0, u8::from(is_a)),
        answer if answer == Answer::NoSuchName as u8 => (3, 0),
        _ => return None,
    };
    let mut reply = query[..2].to_vec();
    // A response, recursion desired and available; one question.
    reply.extend([0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers > 0 {
        // The name of the question, class IN, no time to live.
        reply.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `log.lab`, type A or AAAA.
    fn query(kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend(b"\x03log\x03lab\x00");
        query.extend([0, kind, 0, 1]);
        // An OPT record.
        query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        query
    }

    #[test]
    fn a_name_has_one_address_and_no_other() {
        let address = Ipv4Addr::new(10, 77, 0, 2);
        let reply = |kind, answer| reply(&query(kind), answer as u8, address);
        let found = reply(1, Answer::Address).expect("an answer");
        assert_eq!(found[..8], [7, 9, 0x81, 0x80, 0, 1, 0, 1]);
        assert_eq!(found[found.len() - 4..], [10, 77, 0, 2]);
        let other = reply(28, Answer::Address).expect("an answer");
        assert_eq!(other[2..8], [0x81, 0x80, 0, 1, 0, 0]);
        let none = reply(1, Answer::NoSuchName).expect("an answer");
        assert_eq!(none[3] & 15, 3);
        assert_eq!(reply(1, Answer::Nothing), None);
    }
}

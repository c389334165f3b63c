//! An HTTP client inside a namespace that measures, and knows the port it asked from.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::netns::Namespace;
use crate::wait;

mod connection;
#[cfg(feature = "tls")]
mod secure;
mod unix;

pub use connection::Connection;
#[cfg(feature = "tls")]
pub use secure::{Multiplexed, SecureClient};
pub use unix::get_over_unix;

/// Longer than any hang the lab makes; a request that takes longer is a failure.
const TIMEOUT: Duration = Duration::from_mins(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// One request as the client saw it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// When the request was sent.
    pub started: SystemTime,
    /// From there to the last byte of the answer.
    pub duration: Duration,
    /// Of that, how long the client's thread was ready to run and had no processor.
    pub starved: Duration,
    /// The client's port.
    pub local_port: u16,
    /// HTTP status.
    pub status: u16,
    /// `request_id` of the answer, which is also `request.id` in the audit entries.
    pub request_id: Option<String>,
    /// Path of the request, `/v1/sys/mounts`.
    pub path: String,
    /// The answer.
    pub body: Vec<u8>,
}

impl Measured {
    /// The path as audit entries give it: `sys/mounts`.
    pub fn audit_path(&self) -> &str {
        let path = self.path.split('?').next().unwrap_or_default();
        path.strip_prefix("/v1/").unwrap_or(path)
    }

    /// Whether it took longer than the lab's requests ever do unless something holds them up.
    pub fn hung(&self) -> bool {
        self.duration > Duration::from_secs(1)
    }
}

const SECRET_LIMIT: Duration = Duration::from_secs(20);

/// Sends requests to one server from inside one namespace.
#[derive(Debug, Clone)]
pub struct Client {
    namespace: Namespace,
    server: SocketAddr,
    token: String,
    timeout: Duration,
}

impl Client {
    /// A client for `server`, in `namespace`.
    pub fn new(namespace: &Namespace, server: SocketAddr, token: &str) -> Self {
        Self {
            namespace: namespace.clone(),
            server,
            token: token.to_owned(),
            timeout: TIMEOUT,
        }
    }

    /// The same with another limit for each request.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// GET on a connection of its own.
    pub fn get(&self, path: &str) -> Result<Measured> {
        self.connect()?.get(path)
    }

    /// PUT on a connection of its own.
    pub fn put(&self, path: &str, body: &Value) -> Result<Measured> {
        self.connect()?.put(path, body)
    }

    /// Writes a secret as soon as the server takes one: a development server refuses that while it upgrades `secret/`, just
    /// after its start.
    pub fn write_secret(&self, path: &str, body: &Value) -> Result<()> {
        wait::until("the server to take a secret", SECRET_LIMIT, || {
            Ok((self.put(path, body)?.status < 300).then_some(()))
        })
    }

    /// DELETE on a connection of its own.
    pub fn delete(&self, path: &str) -> Result<Measured> {
        self.connect()?.delete(path)
    }

    /// GET in a thread of its own, to look around while it hangs.
    pub fn get_in_background(&self, path: &str) -> JoinHandle<Result<Measured>> {
        let (client, path) = (self.clone(), path.to_owned());
        std::thread::spawn(move || client.get(&path))
    }

    /// `count` GETs at once, each on a connection of its own.
    pub fn get_concurrently(&self, count: usize, path: &str) -> Result<Vec<Measured>> {
        self.get_each(&vec![path; count])
    }

    /// A GET of each path, all at once, each on a connection of its own.
    pub fn get_each(&self, paths: &[impl AsRef<str>]) -> Result<Vec<Measured>> {
        let start = |path: &_| self.get_in_background(AsRef::as_ref(path));
        let started: Vec<_> = paths.iter().map(start).collect();
        started.into_iter().map(join).collect()
    }

    /// A bare connection, for whoever wants to speak (or read slowly) without help.
    pub fn stream(&self) -> Result<TcpStream> {
        let connect =
            || TcpStream::connect_timeout(&self.server, CONNECT_TIMEOUT).map_err(Into::into);
        let stream = self.namespace.run(connect);
        stream.with_context(|| {
            format!(
                "cannot connect to {} in {}",
                self.server,
                self.namespace.name()
            )
        })
    }

    /// A connection for several requests, one after the other.
    pub fn connect(&self) -> Result<Connection> {
        Connection::over(self.stream()?, self.clone(), async |stream| Ok(stream))
    }
}

fn join(thread: JoinHandle<Result<Measured>>) -> Result<Measured> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Makes a stream fit for a runtime of its own, which moves only while a request blocks on it; returns the local port too.
fn prepare(stream: &TcpStream) -> Result<(u16, Runtime)> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok((stream.local_addr()?.port(), own_runtime()?))
}

fn own_runtime() -> Result<Runtime> {
    let mut builder = runtime::Builder::new_current_thread();
    builder.enable_all().build().map_err(Into::into)
}

/// Measures a request, from now to the last byte of the answer.
async fn measure(
    exchange: impl Future<Output = hyper::Result<Response<Incoming>>>,
    path: String,
    local_port: u16,
    limit: Duration,
) -> Result<Measured> {
    let before = without_processor();
    let (started, clock) = (SystemTime::now(), Instant::now());
    let answer = async {
        let (head, body) = exchange.await?.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        anyhow::Ok((head.status.as_u16(), body))
    };
    let answer = bounded(limit, answer).await;
    let duration = clock.elapsed();
    let lacked = without_processor().saturating_sub(before);
    let (status, body) = answer.with_context(|| format!("{path} from port {local_port}"))?;
    let request_id = request_id(&body);
    Ok(Measured {
        started,
        duration,
        starved: lacked,
        local_port,
        status,
        request_id,
        path,
        body,
    })
}

/// How long this thread has been ready to run without a processor (`Documentation/scheduler/sched-stats.rst`); zero on a kernel
/// that does not count it.
fn without_processor() -> Duration {
    let counted = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = counted
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Gives up after `limit`, and soon after a Ctrl-C.
async fn bounded<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let give_up = async {
        let end = Instant::now() + limit;
        while Instant::now() < end && !wait::interrupted() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        outcome = work => outcome,
        () = give_up => {
            wait::check_interrupt()?;
            anyhow::bail!("no answer within {} s", limit.as_secs())
        }
    }
}

fn request_id(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    answer["request_id"].as_str().map(ToOwned::to_owned)
}

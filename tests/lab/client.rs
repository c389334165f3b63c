//! An HTTP client inside a namespace that measures, and knows the port it asked from.

use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::netns::Namespace;
use crate::wait;

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

    /// GET on a connection of its own.
    pub fn get(&self, path: &str) -> Result<Measured> {
        self.connect()?.get(path)
    }

    /// PUT on a connection of its own.
    pub fn put(&self, path: &str, body: &Value) -> Result<Measured> {
        self.connect()?.put(path, body)
    }

    /// GET in a thread of its own, to look around while it hangs.
    pub fn get_in_background(&self, path: &str) -> JoinHandle<Result<Measured>> {
        let (client, path) = (self.clone(), path.to_owned());
        std::thread::spawn(move || client.get(&path))
    }

    /// `count` GETs at once, each on a connection of its own.
    pub fn get_concurrently(&self, count: usize, path: &str) -> Result<Vec<Measured>> {
        let started: Vec<_> = (0..count).map(|_| self.get_in_background(path)).collect();
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
        Connection::over(self.stream()?, self.clone())
    }
}

fn join(thread: JoinHandle<Result<Measured>>) -> Result<Measured> {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    local_port: u16,
    client: Client,
}

impl Connection {
    fn over(stream: TcpStream, client: Client) -> Result<Self> {
        let local_port = stream.local_addr()?.port();
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sender = runtime.block_on(async {
            let stream = TokioIo::new(tokio::net::TcpStream::from_std(stream)?);
            let (sender, connection) = http1::handshake(stream).await?;
            // It moves on while a request below blocks on the runtime. Its errors come out there too.
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self {
            runtime,
            sender,
            local_port,
            client,
        })
    }

    /// The client's port.
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Result<Measured> {
        self.send(Method::GET, path, Bytes::new())
    }

    /// PUT of a JSON body.
    pub fn put(&mut self, path: &str, body: &Value) -> Result<Measured> {
        self.send(Method::PUT, path, body.to_string().into())
    }

    fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Measured> {
        let what = format!("{method} {path} from port {}", self.local_port);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.client.server.to_string())
            .header("X-Vault-Token", &self.client.token)
            .body(Full::new(body))?;
        let (started, clock) = (SystemTime::now(), Instant::now());
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await?;
            let (head, body) = sender
                .send_request(request)
                .await
                .map(Response::into_parts)?;
            anyhow::Ok((
                head.status.as_u16(),
                body.collect().await?.to_bytes().to_vec(),
            ))
        };
        let answer = self
            .runtime
            .block_on(bounded(self.client.timeout, exchange));
        let duration = clock.elapsed();
        let (status, body) = answer.with_context(|| what)?;
        let (path, local_port) = (path.to_owned(), self.local_port);
        Ok(Measured {
            started,
            duration,
            local_port,
            status,
            request_id: request_id(&body),
            path,
            body,
        })
    }
}

/// Gives up after `limit`, and soon after a Ctrl-C.
async fn bounded<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    let give_up = async {
        let end = Instant::now() + limit;
        while Instant::now() < end && !wait::interrupted() {
            tokio::time::sleep(Duration::from_millis(50)).await;
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

//! TLS, and HTTP/2 over it: what the command line of Vault and `OpenBao` speaks.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Client, Connection, Measured, join, measure, prepare};

/// Sends requests over TLS: each on a connection of its own, or all on one.
#[derive(Debug, Clone)]
pub struct SecureClient {
    client: Client,
    authorities: Arc<RootCertStore>,
}

impl SecureClient {
    /// As `client`, which knows where to connect to, trusting what this PEM file certifies.
    pub fn new(client: Client, authority: &Path) -> Result<Self> {
        let mut authorities = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority);
        let certificate =
            certificate.with_context(|| format!("cannot read {}", authority.display()))?;
        authorities.add(certificate)?;
        Ok(Self {
            client,
            authorities: authorities.into(),
        })
    }

    /// An HTTP/1.1 connection for several requests, one after the other.
    pub fn connect(&self) -> Result<Connection> {
        let handshake = async |stream| self.handshake(stream, b"http/1.1").await;
        Connection::over(self.client.stream()?, self.client.clone(), handshake)
    }

    /// An HTTP/2 connection for several requests at once.
    pub fn multiplex(&self) -> Result<Multiplexed> {
        Multiplexed::over(self.client.stream()?, self)
    }

    /// A GET of each path, all at once, each on an HTTP/1.1 connection of its own.
    pub fn get_each(&self, paths: &[impl AsRef<str>]) -> Result<Vec<Measured>> {
        let start = |path: &_| self.get_in_background(AsRef::as_ref(path));
        let started: Vec<_> = paths.iter().map(start).collect();
        started.into_iter().map(join).collect()
    }

    fn get_in_background(&self, path: &str) -> JoinHandle<Result<Measured>> {
        let (client, path) = (self.clone(), path.to_owned());
        std::thread::spawn(move || client.connect()?.get(&path))
    }

    async fn handshake(
        &self,
        stream: tokio::net::TcpStream,
        protocol: &[u8],
    ) -> Result<TlsStream<tokio::net::TcpStream>> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.authorities.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_owned()];
        let name = ServerName::from(self.client.server.ip());
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await;
        stream.with_context(|| format!("no TLS with {}", self.client.server))
    }
}

/// An HTTP/2 connection: any number of requests at the same time.
#[derive(Debug)]
pub struct Multiplexed {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    local_port: u16,
    client: Client,
}

impl Multiplexed {
    fn over(stream: TcpStream, client: &SecureClient) -> Result<Self> {
        let (local_port, runtime) = prepare(&stream)?;
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream)?;
            let stream = client.handshake(stream, b"h2").await?;
            let io = TokioIo::new(stream);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
            // As of the HTTP/1.1 connection: its errors come out where a request is waited for.
            tokio::spawn(connection);
            anyhow::Ok(sender)
        })?;
        Ok(Self {
            runtime,
            sender,
            local_port,
            client: client.client.clone(),
        })
    }

    /// The client's port.
    pub fn local_port(&self) -> u16 {
        self.local_port
    }

    /// GET.
    pub fn get(&mut self, path: &str) -> Result<Measured> {
        let only = self.get_each(&[path])?.pop();
        only.context("one request, no answer")
    }

    /// A GET of each path, all at once, each in a stream of its own.
    pub fn get_each(&mut self, paths: &[impl AsRef<str>]) -> Result<Vec<Measured>> {
        let limit = self.client.timeout;
        let limited: Vec<_> = paths.iter().map(|path| (path, limit)).collect();
        self.get_each_within(&limited)?.into_iter().collect()
    }

    /// The same with a limit for each, after which its stream is reset. The others go on.
    pub fn get_each_within(
        &mut self,
        paths: &[(impl AsRef<str>, Duration)],
    ) -> Result<Vec<Result<Measured>>> {
        let streams = paths
            .iter()
            .map(|(path, limit)| self.stream(path.as_ref(), *limit));
        let streams = streams.collect::<Result<Vec<_>>>()?;
        self.runtime.block_on(async {
            let started: Vec<_> = streams.into_iter().map(tokio::spawn).collect();
            let mut measured = Vec::with_capacity(started.len());
            for stream in started {
                measured.push(stream.await?);
            }
            Ok(measured)
        })
    }

    fn stream(
        &self,
        path: &str,
        limit: Duration,
    ) -> Result<impl Future<Output = Result<Measured>> + Send + use<>> {
        let request = Request::get(format!("https://{}{path}", self.client.server))
            .header("X-Vault-Token", &self.client.token)
            .body(Full::default())?;
        let mut sender = self.sender.clone();
        let exchange = async move {
            sender.ready().await?;
            sender.send_request(request).await
        };
        Ok(measure(exchange, path.to_owned(), self.local_port, limit))
    }
}

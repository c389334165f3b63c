//! HTTP/1.1: one request after the other.

use std::net::TcpStream;

use anyhow::Result;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;

use super::{Client, Measured, measure, prepare};

/// A keep-alive connection.
#[derive(Debug)]
pub struct Connection {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
    local_port: u16,
    client: Client,
}

impl Connection {
    /// Speaks over what `wrap` makes of the stream.
    pub(super) fn over<S>(
        stream: TcpStream,
        client: Client,
        wrap: impl AsyncFnOnce(tokio::net::TcpStream) -> Result<S>,
    ) -> Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (local_port, runtime) = prepare(&stream)?;
        let sender = runtime.block_on(async {
            let stream = wrap(tokio::net::TcpStream::from_std(stream)?).await?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
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

    /// DELETE.
    pub fn delete(&mut self, path: &str) -> Result<Measured> {
        self.send(Method::DELETE, path, Bytes::new())
    }

    fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<Measured> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.client.server.to_string())
            .header("X-Vault-Token", &self.client.token)
            .body(Full::new(body))?;
        let sender = &mut self.sender;
        let exchange = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let limit = self.client.timeout;
        let measured = measure(exchange, path.to_owned(), self.local_port, limit);
        self.runtime.block_on(measured)
    }
}

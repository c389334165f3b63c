//! HTTP, of both versions, with TLS where the URL asks for it.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use http::{Request, Response};
use http_body_util::{BodyExt, combinators::MapErr};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::{Status, body::Body};
use tower_service::Service;

use super::endpoint::{Endpoint, Protocol};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// What is said to be at work.
pub(super) const USER_AGENT: &str = concat!("vault-tracer/", env!("CARGO_PKG_VERSION"));

type Connections = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// Connections to one collector.
#[derive(Clone)]
pub(super) struct Client(Connections);

/// How to make them.
pub(super) struct Maker {
    tls: ClientConfig,
    protocol: Protocol,
}

impl Maker {
    /// Reads whom the system trusts, if the URL asks for TLS.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let tls =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = if endpoint.uri.scheme_str() == Some("https") {
            tls.with_native_roots().context(
                "no certificates of authorities to trust: install them (Debian: ca-certificates), or name a file of \
                 them in SSL_CERT_FILE",
            )?
        } else {
            tls.with_root_certificates(RootCertStore::empty())
        };
        Ok(Self {
            tls: tls.with_no_client_auth(),
            protocol: endpoint.protocol,
        })
    }

    /// A client without a connection.
    pub(super) fn client(&self) -> Client {
        let mut plain = HttpConnector::new();
        plain.enforce_http(false);
        plain.set_nodelay(true);
        plain.set_connect_timeout(Some(CONNECT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(self.tls.clone())
            .https_or_http();
        let is_grpc = self.protocol == Protocol::Grpc;
        let connector = if is_grpc {
            connector.enable_http2().wrap_connector(plain)
        } else {
            connector.enable_http1().wrap_connector(plain)
        };
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(is_grpc)
            .build(connector);
        Client(client)
    }
}

/// The body of an answer; what breaks it off is a status, since tonic would guess at one otherwise.
pub(super) type Answer = MapErr<Incoming, fn(hyper::Error) -> Status>;

/// Every failure is [`tonic::Code::Unavailable`]: what a server answers is none.
impl Service<Request<Body>> for Client {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.request(request);
        Box::pin(async move {
            let answer = answer.await.map_err(|error| broken(&error))?;
            let broken: fn(hyper::Error) -> Status = |error| broken(&error);
            Ok(answer.map(|body| body.map_err(broken)))
        })
    }
}

/// The innermost error: "Connection refused", where the outer ones say that there is no connection.
fn broken(error: &(dyn Error + 'static)) -> Status {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    Status::unavailable(inner.to_string())
}

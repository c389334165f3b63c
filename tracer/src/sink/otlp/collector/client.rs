//! The HTTP client of both protocols, with TLS where the URL asks for it.

use std::{
    error::Error,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, combinators::MapErr};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tonic::{Status, body::Body};
use tower_service::Service;

use super::{
    endpoint::{Endpoint, Protocol},
    grpc, http_protobuf,
    outcome::Outcome,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const USER_AGENT: &str = concat!("vault-tracer/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one collector.
pub(super) struct Client {
    endpoint: Endpoint,
    headers: HeaderMap,
    tls: ClientConfig,
    connections: Connections,
}

impl Client {
    /// Reads the system's trusted certificates, if the URL asks for TLS. Connects with the first request.
    pub(super) fn new(endpoint: Endpoint, headers: HeaderMap) -> Result<Self> {
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
        let tls = tls.with_no_client_auth();
        let connections = Connections::new(&tls, endpoint.protocol);
        Ok(Self {
            endpoint,
            headers,
            tls,
            connections,
        })
    }

    pub(super) async fn export(&self, request: ExportTraceServiceRequest) -> Outcome {
        let (connections, headers) = (self.connections.clone(), self.headers.clone());
        let uri = self.endpoint.uri.clone();
        match self.endpoint.protocol {
            Protocol::Grpc => grpc::export(connections, uri, headers, request).await,
            Protocol::Http => http_protobuf::export(connections, uri, headers, request).await,
        }
    }

    /// Drops the open connections.
    pub(super) fn reconnect(&mut self) {
        self.connections = Connections::new(&self.tls, self.endpoint.protocol);
    }
}

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Connections(legacy::Client<HttpsConnector<HttpConnector>, Body>);

impl Connections {
    fn new(tls: &ClientConfig, protocol: Protocol) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.clone())
            .https_or_http();
        let is_grpc = protocol == Protocol::Grpc;
        let connector = if is_grpc {
            connector.enable_http2().wrap_connector(tcp)
        } else {
            connector.enable_http1().wrap_connector(tcp)
        };
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(is_grpc)
            .build(connector);
        Self(client)
    }
}

/// The body of a response. Its errors are statuses, since tonic would guess one otherwise.
pub(super) type ResponseBody = MapErr<Incoming, fn(hyper::Error) -> Status>;

/// Every error is [`tonic::Code::Unavailable`]; an answer of the server is no error.
impl Service<Request<Body>> for Connections {
    type Response = Response<ResponseBody>;
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

//! The HTTP client of both protocols, with TLS where the URL asks for it.

use std::{error::Error, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    super::messages::ExportTraceServiceRequest,
    endpoint::{Endpoint, Protocol},
    grpc, http_protobuf,
    outcome::Outcome,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit of an answer, bytes: it has a few numbers and a sentence.
const MAX_ANSWER: usize = 64 << 10;

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
pub(super) struct Connections(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

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

    /// Sends a request and reads the whole answer. An error says why there is none; an answer that is an error is none.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Collected<Bytes>>, String> {
        let answer = self.0.request(request).await;
        let (parts, body) = answer.map_err(|error| innermost(&error))?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| {
            if error.is::<LengthLimitError>() {
                "the answer is too long for a collector's".to_owned()
            } else {
                innermost(&*error)
            }
        })?;
        Ok(Response::from_parts(parts, body))
    }
}

/// The innermost error: "Connection refused", where the outer ones say that there is no connection.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

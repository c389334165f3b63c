//! The client of one collector: by either protocol, with TLS where the URL asks for it.

use std::sync::Arc;

use anyhow::{Context, Result};
use http::HeaderMap;
use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::{
    super::messages::ExportTraceServiceRequest,
    connections::Connections,
    endpoint::{Endpoint, Protocol},
    grpc, http_protobuf,
    outcome::Outcome,
};

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

//! HTTP connections to a collector, which both protocols use.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

use super::endpoint::Protocol;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit of an answer, bytes: it has a few numbers and a sentence.
const MAX_ANSWER: usize = 64 << 10;

pub(super) const USER_AGENT: &str = concat!("vault-tracer/", env!("CARGO_PKG_VERSION"));

/// A pool of connections.
#[derive(Clone)]
pub(super) struct Connections(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Connections {
    pub(super) fn new(tls: &ClientConfig, protocol: Protocol) -> Self {
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

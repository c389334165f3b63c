//! Metrics over HTTP, for Prometheus to fetch. On a thread of its own and bounded: however many clients connect and however
//! slowly they read, nothing else waits, and at most [`MAX_CONNECTIONS`] answers are in memory.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net, runtime,
    sync::oneshot,
    task::AbortHandle,
    time::{sleep, timeout},
};

use super::{Exposition, ExpositionFormat};

/// Connections at once. One more closes the oldest, so that idle ones cannot shut a scraper out.
const MAX_CONNECTIONS: usize = 64;

/// Time limit of a connection, which serves one request.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// Wait after a failed accept, for example without a free file descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Limit of a request's head, bytes: the minimum of hyper.
const MAX_HEAD: usize = 8 << 10;

/// The path of the metrics.
pub const PATH: &str = "/metrics";

const PLAIN: &str = "text/plain; charset=utf-8";

/// Serves until it is dropped.
pub(super) struct HttpServer {
    /// Dropped with the server: that ends the thread.
    _stop: oneshot::Sender<Infallible>,
}

impl HttpServer {
    /// Binds before it returns, so that an address in use is an error here. Returns the bound address.
    pub(super) fn start(address: SocketAddr, exposition: Exposition) -> Result<(Self, SocketAddr)> {
        let listen = || -> std::io::Result<_> {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().with_context(|| {
            format!("cannot serve metrics at {address} (--metrics takes another address or port)")
        })?;
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop of the metrics")?;
        let (stop, stopped) = oneshot::channel();
        thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, &exposition) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok((Self { _stop: stop }, address))
    }
}

async fn serve(listener: TcpListener, exposition: &Exposition) {
    let listener = match net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return log::warn!("metrics are not served: {error}"),
    };
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                log::debug!("metrics: no connection: {error}");
                sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() == MAX_CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = tokio::spawn(answer(stream, exposition.clone()));
        open.push_back(connection.abort_handle());
    }
}

/// Serves one request: a scrape comes every few seconds.
pub(super) async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, exposition: Exposition) {
    let service = service_fn(move |request| {
        let response = respond(&request, &exposition);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::debug!("metrics: {error}"),
        Err(_) => log::debug!("metrics: a connection timed out"),
    }
}

fn respond(request: &Request<Incoming>, exposition: &Exposition) -> Response<Full<Bytes>> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        PATH | "/" if !is_read => {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            refused
        }
        PATH => metrics(ExpositionFormat::accepted(request.headers()), exposition),
        "/" => plain(StatusCode::OK, "vault-tracer: metrics are at /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "not here: see /metrics\n"),
    }
}

fn metrics(format: ExpositionFormat, exposition: &Exposition) -> Response<Full<Bytes>> {
    match exposition.encode(format) {
        Ok(encoded) => response(StatusCode::OK, format.content_type(), encoded.into()),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot be encoded\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, PLAIN, Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

impl ExpositionFormat {
    /// The format that `Accept` prefers (RFC 9110, 12.5.1); Prometheus's text if there is no preference.
    fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).into_iter();
        let ranges = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(Self::range);
        // The first of those with the highest weight.
        let best = ranges.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(Self::Text, |(format, _)| format)
    }

    /// Format and weight of one element of `Accept`; `None` if it is not supported.
    fn range(text: &str) -> Option<(Self, f32)> {
        let mut words = text.split(';').map(str::trim);
        let kind = words.next()?;
        let parameter = |name: &str| {
            let mut values = words.clone().filter_map(|word| word.split_once('='));
            values.find_map(|(key, value)| (key == name).then_some(value))
        };
        let format = match kind {
            "application/openmetrics-text" => Self::OpenMetrics,
            "text/plain" | "text/*" | "*/*" => Self::Text,
            _ => return None,
        };
        let weight = parameter("q").map_or(Some(1.0), |weight| weight.parse().ok())?;
        (weight > 0.0).then_some((format, weight))
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

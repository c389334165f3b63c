//! Collectors within this process that answer as a test tells them to.

mod grpc;

use std::{
    collections::VecDeque,
    convert::Infallible,
    io::Read,
    net::{SocketAddr, SocketAddrV4, TcpListener},
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use prost::{Message, bytes::Bytes};
use rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net, runtime,
    sync::oneshot,
};
use tokio_rustls::TlsAcceptor;
use tracer::sink::otlp::messages::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Take,
    /// All but so many spans.
    Partly(i64),
    /// Not now; perhaps after so long.
    Busy(Option<Duration>),
    /// Not ever.
    Refuse,
    /// Not at all.
    Silence,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Grpc,
    Http,
}

/// Both.
pub(crate) const BOTH: [Speaks; 2] = [Speaks::Grpc, Speaks::Http];

impl Speaks {
    /// As `--otlp-protocol` names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http/protobuf",
        }
    }
}

/// What a server has seen, and what it is to do.
#[derive(Default)]
struct Seen {
    /// For the next requests.
    script: VecDeque<Answer>,
    /// For all after those.
    then: Option<Answer>,
    asked: Vec<(Instant, HeaderMap)>,
    taken: Vec<ExportTraceServiceRequest>,
}

#[derive(Clone, Default)]
struct Book(Arc<Mutex<Seen>>);

impl Book {
    fn open(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn on(&self, headers: HeaderMap, request: ExportTraceServiceRequest) -> Answer {
        let mut seen = self.open();
        let next = seen.script.pop_front().or(seen.then);
        let answer = next.unwrap_or(Answer::Take);
        seen.asked.push((Instant::now(), headers));
        if matches!(answer, Answer::Take | Answer::Partly(_)) {
            seen.taken.push(request);
        }
        answer
    }
}

/// A server that runs.
pub(crate) struct Fake {
    pub(crate) address: SocketAddr,
    speaks: Speaks,
    scheme: &'static str,
    book: Book,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a server shows, in PEM.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Identity {
    /// For this machine, signed by itself.
    pub(crate) fn new() -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
        })
    }
}

/// A port that nobody else gets, and on which nobody listens yet.
pub(crate) struct Port {
    socket: OwnedFd,
    pub(crate) address: SocketAddr,
}

impl Port {
    pub(crate) fn reserve() -> Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
        let bound: SockaddrIn = getsockname(socket.as_raw_fd())?;
        Ok(Self {
            socket,
            address: SocketAddrV4::from(bound).into(),
        })
    }

    fn listen(self) -> Result<TcpListener> {
        listen(&self.socket, Backlog::new(128)?)?;
        Ok(self.socket.into())
    }
}

impl Fake {
    /// That answers like this at first, and takes everything afterwards.
    pub(crate) fn new(speaks: Speaks, script: &[Answer]) -> Result<Self> {
        Self::at("127.0.0.1:0".parse()?, speaks, script, None)
    }

    /// That never answers otherwise.
    pub(crate) fn always(speaks: Speaks, answer: Answer) -> Result<Self> {
        let fake = Self::new(speaks, &[])?;
        fake.book.open().then = Some(answer);
        Ok(fake)
    }

    pub(crate) fn secure(speaks: Speaks, identity: &Identity) -> Result<Self> {
        Self::at("127.0.0.1:0".parse()?, speaks, &[], Some(identity))
    }

    pub(crate) fn at(
        address: SocketAddr,
        speaks: Speaks,
        script: &[Answer],
        identity: Option<&Identity>,
    ) -> Result<Self> {
        Self::on(TcpListener::bind(address)?, speaks, script, identity)
    }

    /// That begins to listen now.
    pub(crate) fn on_port(port: Port, speaks: Speaks) -> Result<Self> {
        Self::on(port.listen()?, speaks, &[], None)
    }

    fn on(
        listener: TcpListener,
        speaks: Speaks,
        script: &[Answer],
        identity: Option<&Identity>,
    ) -> Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let book = Book::default();
        book.open().script.extend(script);
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (shared, identity, scheme) = (
            book.clone(),
            identity.cloned(),
            identity.map_or("http", |_| "https"),
        );
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, speaks, shared, identity) => served.expect("the server runs"),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self {
            address,
            speaks,
            scheme,
            book,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(crate) fn speaks(&self) -> Speaks {
        self.speaks
    }

    /// Requests taken so far.
    pub(crate) fn taken(&self) -> Vec<ExportTraceServiceRequest> {
        self.book.open().taken.clone()
    }

    /// Requests so far: when, and with which headers.
    pub(crate) fn asked(&self) -> Vec<(Instant, HeaderMap)> {
        self.book.open().asked.clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    listener: TcpListener,
    speaks: Speaks,
    book: Book,
    identity: Option<Identity>,
) -> Result<()> {
    let listener = net::TcpListener::from_std(listener)?;
    let tls = identity.map(|identity| acceptor(&identity, speaks));
    let tls = tls.transpose()?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (book, tls) = (book.clone(), tls.clone());
        tokio::spawn(async move {
            // A client that breaks off is no failure of the server.
            let _ = match tls {
                None => connection(stream, speaks, book).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => connection(stream, speaks, book).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    speaks: Speaks,
    book: Book,
) -> hyper::Result<()> {
    let stream = TokioIo::new(stream);
    match speaks {
        Speaks::Grpc => {
            let service = service_fn(move |request| grpc::answer(book.clone(), request));
            let server = http2::Builder::new(TokioExecutor::new());
            server.serve_connection(stream, service).await
        }
        Speaks::Http => {
            let service = service_fn(move |request| answer(book.clone(), request));
            let server = http1::Builder::new();
            server.serve_connection(stream, service).await
        }
    }
}

fn acceptor(identity: &Identity, speaks: Speaks) -> Result<TlsAcceptor> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    if speaks == Speaks::Grpc {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(
    book: Book,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match export(&book, request).await {
        Ok(answer) => answer,
        Err(error) => {
            let mut answer = Response::new(Full::from(format!("{error:#}")));
            *answer.status_mut() = StatusCode::BAD_REQUEST;
            answer
        }
    })
}

async fn export(book: &Book, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
    let (parts, body) = request.into_parts();
    anyhow::ensure!(parts.uri.path() == "/v1/traces", "{}", parts.uri);
    let content = parts
        .headers
        .get("content-type")
        .context("no content type")?;
    anyhow::ensure!(content == "application/x-protobuf", "{content:?}");
    let length = parts.headers.get("content-length").context("no length")?;
    let body = body.collect().await?.to_bytes();
    anyhow::ensure!(length == &body.len().to_string(), "{length:?}");
    let message = if parts.headers.contains_key("content-encoding") {
        // Not the agent's way, but Rotel's.
        let mut plain = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut plain)?;
        ExportTraceServiceRequest::decode(plain.as_slice())?
    } else {
        ExportTraceServiceRequest::decode(body)?
    };
    let answer = Response::builder().header("content-type", "application/x-protobuf");
    Ok(match book.on(parts.headers, message) {
        Answer::Take => answer.body(Full::default())?,
        Answer::Partly(rejected) => answer.body(Full::from(partly(rejected).encode_to_vec()))?,
        Answer::Busy(None) => answer.status(503).body(Full::default())?,
        Answer::Busy(Some(delay)) => {
            let answer = answer.status(503).header("retry-after", delay.as_secs());
            answer.body(Full::default())?
        }
        Answer::Refuse => answer.status(401).body(Full::default())?,
        Answer::Silence => std::future::pending().await,
    })
}

fn partly(rejected: i64) -> ExportTraceServiceResponse {
    ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans: rejected,
            error_message: "too old".to_owned(),
        }),
    }
}

use std::{
    error::Error,
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::HOST, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tharsis_core::{Timestamp, profile::Profile, secret::Secret, signer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc::UnboundedSender, watch},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    Answer, Authority, Flaw, Judge, Received, ReceiverError, Reply,
    answer::{Answers, Serving},
    clock,
    ledger::Ledger,
};

/// What a receiver is made with. Start from [`Options::new`].
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose certificates it shows.
    pub authority: Authority,
    /// Where it listens on 127.0.0.1; 0 is any free port.
    pub port: u16,
    /// Names that its certificate is good for beside `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
    /// What is wrong with its certificate.
    pub flaw: Option<Flaw>,
    /// How it verifies what it receives; `None` verifies nothing.
    pub verify: Option<Verify>,
    /// How it answers.
    pub answer: Answer,
    /// How it answers on these paths.
    pub paths: Vec<(String, Answer)>,
    /// Who decides about each request instead, but for HEAD.
    pub judge: Option<Judge>,
    /// Where what it receives goes to.
    pub sink: Sink,
}

/// What signatures are verified with.
#[derive(Debug, Clone)]
pub struct Verify {
    /// The contract.
    pub profile: Arc<Profile>,
    /// The secret; none where the profile signs nothing.
    pub secret: Option<Secret>,
    /// The URL exactly as it was registered, where it is signed; else that of the receiver and the path that was asked for.
    pub url: Option<String>,
}

/// Where what a receiver receives goes to, before it is answered.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Sink {
    /// It is kept in memory for [`Receiver::received`]. For tests.
    #[default]
    Keep,
    /// It is only counted, and verified where a [`Verify`] was given. The cheapest, for measurements.
    Count,
    /// It is sent here; if nobody listens any more, it is dropped.
    Channel(UnboundedSender<Received>),
    /// This is called with it, on the connection's task: it must not block.
    Call(Arc<dyn Fn(Received) + Send + Sync>),
}

/// A local HTTPS receiver. It lives until it is shut down or dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    verify: Option<Verify>,
    answers: RwLock<Arc<Answers>>,
    judge: Option<Judge>,
    sink: Sink,
    ledger: Ledger,
}

impl Options {
    /// Any port, no verification, an empty 200 to everything, and what comes is kept.
    pub fn new(authority: &Authority) -> Self {
        Self {
            authority: authority.clone(),
            port: 0,
            names: Vec::new(),
            flaw: None,
            verify: None,
            answer: Answer::default(),
            paths: Vec::new(),
            judge: None,
            sink: Sink::default(),
        }
    }
}

impl Receiver {
    /// Listens on 127.0.0.1.
    ///
    /// # Errors
    /// When the port is taken, or a certificate for these names cannot be made.
    pub async fn bind(options: Options) -> Result<Self, ReceiverError> {
        let leaf = options.authority.issue(&options.names, options.flaw)?;
        let acceptor = TlsAcceptor::from(Arc::new(leaf.server_config()?));
        let listen_error = |source| ReceiverError::Listen {
            port: options.port,
            source,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port))
            .await
            .map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let shared = Arc::new(Shared {
            verify: options.verify,
            answers: RwLock::new(Arc::new(answers(options.answer, options.paths))),
            judge: options.judge,
            sink: options.sink,
            ledger: Ledger::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, acceptor, shared.clone(), stopped));
        Ok(Self {
            address,
            shared,
            stop,
            accepting,
        })
    }

    /// `https://localhost:PORT` followed by `path`, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// From now on it answers like this; failures to come are counted anew.
    pub fn answer(&self, answer: Answer, paths: Vec<(String, Answer)>) {
        *(self.shared.answers.write()).unwrap_or_else(PoisonError::into_inner) =
            Arc::new(answers(answer, paths));
    }

    /// Connections accepted so far, before any TLS.
    pub fn connections(&self) -> u64 {
        self.shared.ledger.connections()
    }

    /// Requests received so far, not counting HEAD.
    pub fn count(&self) -> u64 {
        self.shared.ledger.count()
    }

    /// Everything received so far, HEAD too, oldest first. Only [`Sink::Keep`] keeps it.
    pub fn received(&self) -> Vec<Received> {
        self.shared.ledger.kept()
    }

    /// Everything received so far on this path.
    pub fn received_at(&self, path: &str) -> Vec<Received> {
        let mut received = self.received();
        received.retain(|r| r.path == path);
        received
    }

    /// Waits until so many requests, not counting HEAD, have been received; `false` when the time is up first.
    pub async fn wait_until(&self, count: u64, timeout: Duration) -> bool {
        self.shared.ledger.wait_until(count, timeout).await
    }

    /// Stops listening and drops the connections.
    pub async fn shutdown(self) {
        // Without receivers there is nothing left to stop.
        let _ = self.stop.send(true);
        // It ends by itself; if it panicked, that has been reported.
        let _ = self.accepting.await;
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "Keep",
            Self::Count => "Count",
            Self::Channel(_) => "Channel",
            Self::Call(_) => "Call",
        })
    }
}

fn answers(others: Answer, paths: Vec<(String, Answer)>) -> Answers {
    Answers {
        paths: (paths.into_iter())
            .map(|(path, answer)| (path, Serving::new(answer)))
            .collect(),
        others: Serving::new(others),
    }
}

/// Ends when it is told to, or when the [`Receiver`] is dropped.
async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let until = stopped.clone();
    loop {
        let (stream, peer) = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                // No descriptor is left: wait until one is.
                Err(error) => {
                    tracing::warn!(%error, "Cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        shared.ledger.connected();
        let (acceptor, shared, mut until) = (acceptor.clone(), shared.clone(), until.clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = until.changed() => {}
                () = serve(stream, peer, acceptor, shared) => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, peer: SocketAddr, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    // It only costs latency where it cannot be set.
    let _ = stream.set_nodelay(true);
    let stream = match acceptor.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "A handshake failed");
            return;
        }
    };
    let service = service_fn(|request| handle(&shared, peer, request));
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, "A connection broke");
    }
}

async fn handle(
    shared: &Shared,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let is_head = head.method == Method::HEAD;
    let answers = (shared.answers.read())
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let serving = answers.to(head.uri.path());
    let reply = record(shared, peer, head, body);
    if !is_head {
        shared.ledger.count_one();
    }
    match reply {
        Some(reply) => obey(reply).await,
        None => {
            pause(serving.answer.delay).await;
            Ok(respond(
                &serving.answer,
                serving.next_status(is_head),
                is_head,
            ))
        }
    }
}

/// Does what the judge has decided.
async fn obey(reply: Reply) -> Result<Response<Full<Bytes>>, Box<dyn Error + Send + Sync>> {
    let Reply { answer, done } = reply;
    let Some(answer) = answer else {
        // The connection is closed without a word.
        return Err("no answer is given".into());
    };
    pause(answer.delay).await;
    done();
    Ok(respond(&answer, answer.status, false))
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Keeps, sends or counts it, and asks the judge, if there is one.
fn record(shared: &Shared, peer: SocketAddr, head: Parts, body: Bytes) -> Option<Reply> {
    let judge = shared
        .judge
        .as_ref()
        .filter(|_| head.method != Method::HEAD);
    if matches!(shared.sink, Sink::Count) && shared.verify.is_none() && judge.is_none() {
        return None;
    }
    let at = clock::timestamp();
    let (verified, reason) = verdict(shared.verify.as_ref(), &head, &body, at);
    let received = Received {
        at,
        peer,
        path: (head.uri.path_and_query()).map_or_else(String::new, ToString::to_string),
        method: head.method,
        headers: head.headers,
        body,
        verified,
        reason,
    };
    let reply = judge.map(|judge| judge.decide(&received));
    match &shared.sink {
        Sink::Keep => shared.ledger.keep(received),
        Sink::Count => {}
        // Whoever listened may have gone.
        Sink::Channel(channel) => drop(channel.send(received)),
        Sink::Call(call) => call(received),
    }
    reply
}

fn verdict(
    verify: Option<&Verify>,
    head: &Parts,
    body: &Bytes,
    now: Timestamp,
) -> (Option<bool>, Option<String>) {
    let Some(verify) = verify else {
        return (None, None);
    };
    if verify.profile.signature.is_none() {
        return (None, Some("the profile signs nothing".to_owned()));
    }
    if head.method == Method::HEAD {
        return (None, None);
    }
    let headers: Vec<_> = (head.headers.iter())
        .map(|(name, value)| (name.as_str(), value.as_bytes()))
        .collect();
    let own = || {
        let host = head.headers.get(HOST)?.to_str().ok()?;
        Some(format!("https://{host}{}", head.uri.path_and_query()?))
    };
    let url = verify.url.clone().or_else(own);
    let incoming = signer::Incoming {
        headers: &headers,
        body,
        url: url.as_deref(),
        now: Some(now),
    };
    match signer::verify(&verify.profile, verify.secret.as_ref(), &incoming) {
        Ok(()) => (Some(true), None),
        Err(rejected) => (Some(false), Some(rejected.to_string())),
    }
}

fn respond(answer: &Answer, status: StatusCode, is_head: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(if is_head {
        Full::default()
    } else {
        Full::new(answer.body.clone())
    });
    *response.status_mut() = status;
    if !answer.headers.is_empty() {
        *response.headers_mut() = answer.headers.clone();
    }
    response
}

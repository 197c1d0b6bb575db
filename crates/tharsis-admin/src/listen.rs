//! Connections: how many there are, and how long one may dawdle.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
};
use hyper::{body::Incoming, server::conn::http1, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_io_timeout::TimeoutStream;
use tracing::{error, warn};

/// What the head of a request may be at most, in bytes.
const HEAD: usize = 64 * 1024;

/// How long nothing is taken where the machine has no more files to give.
const PAUSE: Duration = Duration::from_millis(100);

/// What connections are held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// At once; the others wait in the system's queue.
    pub(crate) connections: usize,
    /// How long the other side may take for the head of its next request, or take nothing of an answer.
    pub(crate) patience: Duration,
    /// How long the last requests may take once it ends.
    pub(crate) grace: Duration,
}

/// Answers what comes until `shutdown` resolves, and the requests that came before. Whoever holds the other end of `end` learns
/// of it at once.
pub(crate) async fn listen(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    end: watch::Sender<()>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let places = Arc::new(Semaphore::new(bounds.connections));
    let mut open = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, from, place) = accept(&listener, &places) => {
                open.spawn(answer(stream, from, router.clone(), bounds, end.subscribe(), place));
            }
            Some(ended) = open.join_next() => {
                if let Err(error) = ended {
                    error!(error = &error as &dyn std::error::Error, "a request was not answered");
                }
            }
        }
    }
    drop((listener, end));
    let all = async { while open.join_next().await.is_some() {} };
    // Whoever has sent half a request, or reads no answer, keeps nobody from ending.
    if timeout(bounds.grace, all).await.is_err() {
        open.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let place = Arc::clone(places).acquire_owned().await;
        let place = place.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from, place),
            Err(error) if is_the_callers(&error) => {}
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "a connection could not be taken"
                );
                sleep(PAUSE).await;
            }
        }
    }
}

/// Who called has gone again.
fn is_the_callers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

async fn answer(
    stream: TcpStream,
    from: SocketAddr,
    router: Router,
    bounds: Bounds,
    mut ended: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    // Answers are small, and somebody waits for each.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(bounds.patience));
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(from));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.patience)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    tokio::pin!(connection);
    // How a connection comes to its end is the caller's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = ended.changed() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

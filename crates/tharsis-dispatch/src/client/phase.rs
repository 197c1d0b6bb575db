//! How far a request has come, so that a timeout can say what it waited for, and what was seen on the way.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use tharsis_core::delivery::Validity;
use tower_layer::Layer;
use tower_service::Service;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The answer. A request on a pooled connection begins here.
    Http,
    /// The addresses of the host.
    Dns,
    /// The connection.
    Tcp,
    /// The handshake.
    Tls,
}

/// One request, as the connection that is made for it sees it.
#[derive(Debug, Default)]
struct Progress {
    phase: AtomicU8,
    certificate: OnceLock<Validity>,
}

impl Progress {
    fn reached(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        let stored = self.phase.load(Ordering::Relaxed);
        [Phase::Dns, Phase::Tcp, Phase::Tls]
            .into_iter()
            .find(|phase| *phase as u8 == stored)
            .unwrap_or(Phase::Http)
    }
}

tokio::task_local! {
    // The connector is polled by the request that asked for it, so the resolver and the handshake find it here.
    static PROGRESS: Arc<Progress>;
}

/// Runs a request and keeps track of its phase.
pub(super) fn tracked<F: Future>(request: F) -> impl Future<Output = F::Output> {
    PROGRESS.scope(Arc::default(), request)
}

/// The phase of the request that is running here.
pub(super) fn current() -> Phase {
    PROGRESS
        .try_with(|progress| progress.phase())
        .unwrap_or(Phase::Http)
}

/// The request that is running here has come this far. A connection that is made in the background has none.
pub(super) fn reached(phase: Phase) {
    let _ = PROGRESS.try_with(|progress| progress.reached(phase));
}

/// The request running here connects to a receiver with this certificate.
pub(super) fn saw_certificate(certificate: Validity) {
    let _ = PROGRESS.try_with(|progress| progress.certificate.set(certificate));
}

/// For how long the receiver's certificate is good, where the request that is running here made a connection.
pub(super) fn certificate() -> Option<Validity> {
    PROGRESS
        .try_with(|progress| progress.certificate.get().copied())
        .ok()
        .flatten()
}

/// Around the connector: brings a request to [`Phase::Http`] when its connection stands, or when it got another one
/// that came free first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected;

impl<S> Layer<S> for Connected {
    type Service = Connector<S>;

    fn layer(&self, connector: S) -> Connector<S> {
        Connector(connector)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Connector<S>(S);

impl<S, Target> Service<Target> for Connector<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Connecting<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        // Where an address is dialled no resolver says so.
        reached(Phase::Tcp);
        Connecting {
            connecting: Box::pin(self.0.call(target)),
            asked_by: PROGRESS.try_with(Arc::clone).ok(),
        }
    }
}

/// A connection under way.
#[derive(Debug)]
pub(super) struct Connecting<F> {
    connecting: Pin<Box<F>>,
    /// The request that waits for it.
    asked_by: Option<Arc<Progress>>,
}

impl<F, C, E> Future for Connecting<F>
where
    F: Future<Output = Result<C, E>>,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let polled = self.connecting.as_mut().poll(cx);
        let stands = matches!(polled, Poll::Ready(Ok(_)));
        if let Some(request) = &self.asked_by
            && (stands || !is_running_here(request))
        {
            request.reached(Phase::Http);
            self.asked_by = None;
        }
        polled
    }
}

/// A connection that is polled by anybody else than its request is being finished in the background: the request has
/// got another one.
fn is_running_here(request: &Arc<Progress>) -> bool {
    PROGRESS
        .try_with(|here| Arc::ptr_eq(here, request))
        .unwrap_or(false)
}

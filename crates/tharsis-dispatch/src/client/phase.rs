//! How far a request has come, so that a timeout can say what it waited for.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use tower_layer::Layer;
use tower_service::Service;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The addresses of the host.
    Dns,
    /// The connection.
    Tcp,
    /// The handshake.
    Tls,
    /// The answer. A request on a pooled connection begins here.
    Http,
}

tokio::task_local! {
    // The connector is polled by the request that asked for it; one that is finished in the background, because
    // another connection came free first, finds no phase to set.
    static PHASE: Cell<Phase>;
}

/// Runs a request and keeps track of its phase.
pub(super) fn tracked<F: Future>(request: F) -> impl Future<Output = F::Output> {
    PHASE.scope(Cell::new(Phase::Http), request)
}

/// The phase of the request that is running here.
pub(super) fn current() -> Phase {
    PHASE.try_with(Cell::get).unwrap_or(Phase::Http)
}

/// The request that is running here, if any, has come this far.
pub(super) fn reached(phase: Phase) {
    // Nobody listens to a connection that is made in the background.
    let _ = PHASE.try_with(|current| current.set(phase));
}

/// Around the connector: a connection that stands brings its request to [`Phase::Http`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected;

impl<S> Layer<S> for Connected {
    type Service = Connecting<S>;

    fn layer(&self, connector: S) -> Connecting<S> {
        Connecting(connector)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Connecting<S>(S);

impl<S, Target> Service<Target> for Connecting<S>
where
    S: Service<Target>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, target: Target) -> Self::Future {
        let connecting = self.0.call(target);
        Box::pin(async {
            let connection = connecting.await?;
            reached(Phase::Http);
            Ok(connection)
        })
    }
}

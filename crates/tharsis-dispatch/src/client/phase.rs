//! How far a request has come, so that a timeout can say what it waited for, and what was seen on the way; and how long each
//! part of the way took.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tharsis_core::delivery::Validity;
use tower_layer::Layer;
use tower_service::Service;

use crate::Metrics;

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
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
#[derive(Debug)]
struct Progress {
    phase: AtomicU8,
    certificate: OnceLock<Validity>,
    metrics: Arc<Metrics>,
    began: Instant,
    /// When the phase began, in microseconds since then.
    since: AtomicU64,
}

impl Progress {
    fn reached(&self, phase: Phase) {
        let before = self.phase();
        let took = self.begin(phase);
        if is_after(before, phase) {
            self.metrics.passed(before, took);
        }
    }

    /// It goes on with a connection that another request made.
    fn overtaken(&self) {
        self.begin(Phase::Http);
    }

    /// Its answer is read.
    fn answered(&self) {
        let took = self.begin(Phase::Http);
        self.metrics.passed(Phase::Http, took);
    }

    /// Returns how long the phase before took.
    fn begin(&self, phase: Phase) -> Duration {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.phase.store(phase as u8, Ordering::Relaxed);
        let since = self.since.swap(now, Ordering::Relaxed);
        Duration::from_micros(now.saturating_sub(since))
    }

    fn phase(&self) -> Phase {
        let stored = self.phase.load(Ordering::Relaxed);
        [Phase::Dns, Phase::Tcp, Phase::Tls]
            .into_iter()
            .find(|phase| *phase as u8 == stored)
            .unwrap_or(Phase::Http)
    }
}

/// Whether this phase is over because that one begins. What is begun anew, or was waited for before the look-up, is no part of
/// the way.
fn is_after(phase: Phase, next: Phase) -> bool {
    matches!(
        (phase, next),
        (Phase::Dns, Phase::Tcp) | (Phase::Tcp, Phase::Tls) | (Phase::Tls, Phase::Http)
    )
}

tokio::task_local! {
    // The connector is polled by the request that asked for it, so the resolver and the handshake find it here.
    static PROGRESS: Arc<Progress>;
}

/// Runs a request that began then, and keeps track of its phase.
pub(super) fn tracked<F: Future>(
    metrics: Arc<Metrics>,
    began: Instant,
    request: F,
) -> impl Future<Output = F::Output> {
    let progress = Progress {
        phase: AtomicU8::new(Phase::Http as u8),
        certificate: OnceLock::new(),
        metrics,
        began,
        since: AtomicU64::new(0),
    };
    PROGRESS.scope(Arc::new(progress), request)
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

/// The answer to the request that is running here is read, as far as it is.
pub(super) fn answered() {
    let _ = PROGRESS.try_with(|progress| progress.answered());
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
        if let Some(request) = &self.asked_by {
            let is_overtaken = !is_running_here(request);
            if is_overtaken {
                request.overtaken();
            } else if stands {
                request.reached(Phase::Http);
            }
            if is_overtaken || stands {
                self.asked_by = None;
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What was counted of a request that came this way, from its beginning to its answer.
    async fn counted(way: &[Phase]) -> [String; 4] {
        let metrics = Arc::new(Metrics::default());
        tracked(Arc::clone(&metrics), Instant::now(), async {
            way.iter().copied().for_each(reached);
            answered();
        })
        .await;
        ["dns", "tcp", "tls", "http"].map(|phase| {
            let series = format!(r#"tharsis_attempt_phase_seconds_count{{phase="{phase}"}}"#);
            metrics.figure(&series)
        })
    }

    #[tokio::test]
    async fn each_part_of_the_way_is_counted_once() {
        use Phase::{Dns, Http, Tcp, Tls};
        assert_eq!(
            counted(&[]).await,
            ["0", "0", "0", "1"],
            "on a pooled connection"
        );
        let by_name = [Tcp, Dns, Tcp, Tls, Http];
        assert_eq!(counted(&by_name).await, ["1", "1", "1", "1"]);
        let by_address = [Tcp, Tls, Http];
        assert_eq!(counted(&by_address).await, ["0", "1", "1", "1"]);
        let through_a_proxy = [Tcp, Dns, Tcp, Tls, Tls, Http];
        assert_eq!(counted(&through_a_proxy).await, ["1", "1", "1", "1"]);
    }
}

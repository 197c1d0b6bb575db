mod counting;
mod doing;
mod lanes;
mod now;
mod operation;
mod ownership;
mod polling;
mod progress;
mod random;
mod routing;
#[cfg(test)]
mod samples;
mod settling;
#[cfg(test)]
mod simulation;
mod state;
mod step;
mod stops;

use std::{future::Future, sync::Arc, time::Duration};

use tharsis_core::WorkerId;
use tharsis_store::{Outbox, Remaining, Retention, StoreError};
use tokio::sync::Notify;

use crate::{Alerts, Client, Metrics};
use doing::{Doing, drive, now};
pub use progress::Progress;
use state::State;

/// How the engine runs.
#[derive(Debug, Clone)]
pub struct Options {
    /// Requests under way at once, over all subscriptions.
    pub max_in_flight: usize,
    /// Bytes of payloads kept in memory.
    pub cache_bytes: usize,
    /// How long requests in flight may take to end after the shutdown was asked for.
    pub grace: Duration,
    /// When to end.
    pub until: Until,
    /// Who is told when receivers fail, and by what.
    pub alerts: Alerts,
    /// How long what is over is kept.
    pub retention: Retention,
    /// Of a client of which so much waits, routed or not, no more is published; without a limit it is. Looked at every 5 s by
    /// whoever owns the client's shard, which reads as many rows.
    pub backlog_limit: Option<u64>,
    /// Is told what the run does, as it does it. Keep a clone to look at.
    pub progress: Arc<Progress>,
    /// Counts what the run does, and whatever else it is handed to. Keep a clone to tell of.
    pub metrics: Arc<Metrics>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_in_flight: 256,
            cache_bytes: 32 * 1024 * 1024,
            grace: Duration::from_secs(10),
            until: Until::Shutdown,
            alerts: Alerts::default(),
            retention: Retention::default(),
            backlog_limit: None,
            progress: Arc::default(),
            metrics: Arc::default(),
        }
    }
}

/// When the engine ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Never: it waits for the shutdown.
    Shutdown,
    /// When nothing is left but what is paused, suspended or scheduled. Retries are waited for.
    Idle,
}

/// Wakes an engine of this process at once; others notice within their poll. Cheap to clone and to call.
#[derive(Debug, Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// There is something to do. Call it after the commit.
    pub fn wake(&self) {
        self.0.notify_one();
    }
}

/// What a run did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Deliveries that ended with a success.
    pub delivered: u64,
    /// Attempts that failed and are tried again.
    pub retried: u64,
    /// Deliveries that ended without one.
    pub ended: u64,
    /// What is left.
    pub remaining: Remaining,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The database is not to be worked with; trying again does not help.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Delivers until `shutdown` resolves (or until idle), then stops claiming, lets requests in flight finish within the
/// grace period, settles them, and gives the lease back.
///
/// A database that fails is waited for, with growing pauses; only what trying again cannot mend ends the run.
///
/// # Errors
/// When the outbox is owned by another process, or the store is unusable.
pub async fn run<O: Outbox>(
    outbox: Arc<O>,
    client: Client,
    worker: WorkerId,
    options: Options,
    wake: Wake,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Summary, RunError> {
    let send = move |request| {
        let client = client.clone();
        async move { client.send(request).await }
    };
    let mut seed = [0; 8];
    // Without entropy all workers spread their retries alike, which is no reason not to deliver.
    if let Err(error) = getrandom::fill(&mut seed) {
        tracing::warn!(%error, "no randomness for the jitter of retries");
    }
    let doing = Doing::new(outbox, worker, send)
        .telling(options.alerts.clone())
        .counting(Arc::clone(&options.metrics));
    let state = State::new(options, u64::from_ne_bytes(seed), now());
    Ok(drive(state, doing, &wake, shutdown).await?)
}

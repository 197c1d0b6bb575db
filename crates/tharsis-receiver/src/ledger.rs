use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::Received;

/// What has been received so far. Counting costs two atomic operations a request, for the benchmark shares its cores
/// with this receiver.
#[derive(Debug)]
pub(crate) struct Ledger {
    connections: AtomicU64,
    requests: AtomicU64,
    /// The smallest number that somebody waits for.
    awaited: AtomicU64,
    reached: Notify,
    kept: Mutex<Vec<Received>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            kept: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Sequentially consistent, like [`Self::wait_until`]: either the count here sees the waiter or the waiter sees
    /// the count.
    pub(crate) fn count_one(&self) {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        if count >= self.awaited.load(Ordering::SeqCst) {
            self.reached.notify_waiters();
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn keep(&self, received: Received) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(received);
    }

    pub(crate) fn kept(&self) -> Vec<Received> {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) async fn wait_until(&self, count: u64, timeout: Duration) -> bool {
        let reached = async {
            loop {
                let notified = self.reached.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                self.awaited.fetch_min(count, Ordering::SeqCst);
                if self.count() >= count {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(timeout, reached).await.is_ok()
    }
}

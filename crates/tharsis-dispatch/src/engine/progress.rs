use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a run has done so far, to be read while it runs. Deliveries are counted once they are settled, so what is
/// counted is durable.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) in_flight: AtomicU64,
}

impl Progress {
    /// Deliveries that ended with a success.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Relaxed)
    }

    /// Attempts that failed and are tried again.
    pub fn retried(&self) -> u64 {
        self.retried.load(Relaxed)
    }

    /// Deliveries that ended without a success.
    pub fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    /// Requests under way at this moment.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Relaxed)
    }
}

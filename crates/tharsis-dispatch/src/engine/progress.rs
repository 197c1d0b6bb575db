use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

/// What a run has done so far, to be read while it runs. Deliveries are counted once they are settled, so what is
/// counted is durable.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) delivered: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) in_flight: AtomicU64,
    /// While it runs: when its lease ends, or ended.
    lease: Mutex<Option<Instant>>,
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

    /// Whether it has a lease, be it of no shard; `None` where nothing runs.
    pub fn is_leased(&self, now: Instant) -> Option<bool> {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.map(|until| now < until)
    }

    /// Notes when its lease ends; `None` once it runs no more.
    pub(super) fn note_lease(&self, until: Option<Instant>) {
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lease_is_there_until_its_end_and_nothing_is_said_where_nothing_runs() {
        let progress = Progress::default();
        let now = Instant::now();
        assert_eq!(progress.is_leased(now), None);
        progress.note_lease(Some(now + Duration::from_secs(1)));
        assert_eq!(progress.is_leased(now), Some(true));
        let later = now + Duration::from_secs(1);
        assert_eq!(progress.is_leased(later), Some(false));
        progress.note_lease(None);
        assert_eq!(progress.is_leased(now), None);
    }
}

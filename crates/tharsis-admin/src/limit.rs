//! How often somebody may ask.

use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use governor::{
    Quota, RateLimiter, clock::Clock, middleware::NoOpMiddleware, nanos::Nanos,
    state::keyed::HashMapStateStore,
};
use tharsis::{Timestamp, TokenId};

use crate::Problem;

/// Keys are looked through once there are so many: those that have asked nothing lately are forgotten.
const MANY: usize = 4_096;

/// What is counted, for each by itself.
#[derive(Debug)]
pub(crate) struct Limits {
    asked: Limit<TokenId>,
    failed: Limit<IpAddr>,
}

impl Limits {
    /// With a clock of the process.
    pub(crate) fn new(per_second: NonZeroU32, clock: fn() -> Timestamp) -> Self {
        Self {
            asked: Limit::new(Quota::per_second(per_second), clock),
            failed: Limit::new(FAILED, clock),
        }
    }

    /// A token asks for something.
    pub(crate) fn asked(&self, token: TokenId) -> Result<(), Problem> {
        self.asked.take(&token)
    }

    /// Somebody there came with a token that does not count.
    pub(crate) fn failed(&self, from: IpAddr) -> Result<(), Problem> {
        self.failed.take(&network(from))
    }
}

/// From one address; more than any mistake makes, and few enough for the log of who looks for attacks.
const FAILED: Quota = Quota::per_second(NonZeroU32::new(10).expect("is not nought"));

/// A clock that goes on where it is set back: else nobody would be let in until it is as late again.
#[derive(Debug, Clone)]
struct Handed {
    clock: fn() -> Timestamp,
    /// What it said last, in milliseconds.
    last: Arc<AtomicI64>,
    /// By how much it was set back so far.
    back: Arc<AtomicI64>,
}

impl Handed {
    fn new(clock: fn() -> Timestamp) -> Self {
        Self {
            clock,
            last: Arc::new(AtomicI64::new(clock().as_millis())),
            back: Arc::default(),
        }
    }
}

impl Clock for Handed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let now = (self.clock)().as_millis();
        let set_back = (self.last.swap(now, Ordering::Relaxed) - now).max(0);
        let back = self.back.fetch_add(set_back, Ordering::Relaxed) + set_back;
        Nanos::from(Duration::from_millis((now + back).unsigned_abs()))
    }
}

#[derive(Debug)]
struct Limit<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, Handed, NoOpMiddleware<Nanos>>,
    clock: Handed,
}

impl<K: Hash + Eq + Clone> Limit<K> {
    fn new(quota: Quota, clock: fn() -> Timestamp) -> Self {
        let clock = Handed::new(clock);
        Self {
            limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
            clock,
        }
    }

    fn take(&self, key: &K) -> Result<(), Problem> {
        if self.limiter.len() >= MANY {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(self.clock.now()).as_secs();
            Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "asks more often than is taken",
            )
            .retry_after(u32::try_from(wait).unwrap_or(u32::MAX).saturating_add(1))
        })
    }
}

/// Whoever has one address of IPv6 has the 64 bits behind it too.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let bits = address.to_bits() >> 64 << 64;
            IpAddr::V6(bits.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_limit_of_its_own_and_those_of_one_network_share_it() {
        let limits = Limits::new(NonZeroU32::MIN, || {
            Timestamp::from_millis(1_700_000_000_000)
        });
        let [one, other] = [1, 2].map(|n| TokenId::new(Timestamp::from_millis(1), [n; 10]));
        assert_eq!(limits.asked(one), Ok(()));
        assert!(limits.asked(one).is_err());
        assert_eq!(limits.asked(other), Ok(()));

        let address = |text: &str| text.parse().expect("an address");
        for n in 0..10 {
            let from = address(&format!("2001:db8::{n}"));
            assert_eq!(limits.failed(from), Ok(()));
        }
        assert!(limits.failed(address("2001:db8::ffff")).is_err());
        assert_eq!(limits.failed(address("2001:db8:0:1::1")), Ok(()));
        assert_eq!(limits.failed(address("192.0.2.1")), Ok(()));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_out() {
        thread_local! {
            static NOW: std::cell::Cell<i64> = const { std::cell::Cell::new(1_700_000_000_000) };
        }
        let limits = Limits::new(NonZeroU32::MIN, || Timestamp::from_millis(NOW.get()));
        let token = TokenId::new(Timestamp::from_millis(1), [1; 10]);
        assert_eq!(limits.asked(token), Ok(()));
        NOW.set(NOW.get() - 3_600_000);
        assert!(limits.asked(token).is_err());
        NOW.set(NOW.get() + 1_000);
        assert_eq!(limits.asked(token), Ok(()));
    }
}

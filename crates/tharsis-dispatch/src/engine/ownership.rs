use std::time::{Duration, Instant};

use tharsis_core::Timestamp;
use tharsis_store::{Lease, Shards};

use super::now::Now;

/// No request starts so close to the end of a lease: it could still be under way when another worker takes over.
const MARGIN: Duration = Duration::from_secs(2);

/// How soon after a renewal there can be another.
const SOON: Duration = Duration::from_millis(100);

/// Also a lease without end is renewed so often, for each renewal brings the database's clock.
const LONGEST_RENEWAL: Duration = Duration::from_secs(20);

/// Which shards are ours, until when, and what the database's clock shows.
///
/// The lease runs from the instant at which it was *asked* for, not from the answer: that errs on the safe side by the
/// time the answer took. The clock runs from the answer: it was read at the end of what may have been a long wait.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    held: Option<Held>,
    /// What the clock showed when it was last told; it outlives the lease.
    told: Option<Now>,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    asked: Instant,
}

impl Ownership {
    /// Takes a lease that was asked for at `asked` and came at `now`. Says whether it is another one: it is of other
    /// shards, or somebody else may have had them since, so what is known of them is worth nothing.
    pub(super) fn hold(&mut self, lease: Lease, asked: Instant, now: Instant) -> bool {
        let other = self.held.as_ref().is_none_or(|held| {
            (held.lease.epoch, held.lease.shards) != (lease.epoch, lease.shards)
        });
        self.held = Some(Held { lease, asked });
        self.told = Some(Now {
            instant: now,
            clock: lease.clock,
        });
        other
    }

    /// Others gave something back: the lease is asked for again soon, but not each time that somebody says so.
    pub(super) fn hurry(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            let soon = held.age(now).max(SOON);
            held.lease.renew_after = held.lease.renew_after.min(soon);
        }
    }

    /// The store says that nothing of it is ours any more.
    pub(super) fn lose(&mut self) {
        self.held = None;
    }

    /// The lease, while it lasts.
    pub(super) fn lease(&self, now: Instant) -> Option<Lease> {
        let held = self.held.as_ref()?;
        (held.age(now) < held.lease.length).then_some(held.lease)
    }

    /// When it ends, if we have one; one without end counts as of a day, for it is renewed long before.
    pub(super) fn until(&self) -> Option<Instant> {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let held = self.held.as_ref()?;
        Some(held.asked + held.lease.length.min(DAY))
    }

    /// What we are to work with under the lease that came last, also when that has run out.
    pub(super) fn shards(&self) -> Option<Shards> {
        self.held.as_ref().map(|held| held.lease.shards)
    }

    /// What we own beside that, and are to give back.
    pub(super) fn surplus(&self, now: Instant) -> Shards {
        self.lease(now).map_or(Shards::default(), |l| l.surplus)
    }

    /// This moment by both clocks; unknown until the first lease.
    pub(super) fn now(&self, instant: Instant) -> Option<Now> {
        let told = self.told?;
        let clock = told.clock + instant.saturating_duration_since(told.instant);
        Some(Now { instant, clock })
    }

    /// The database's clock, as far as it is known.
    pub(super) fn clock(&self, now: Instant) -> Timestamp {
        self.now(now).map_or(Timestamp::default(), |now| now.clock)
    }

    /// Whether the lease lasts long enough for a request to start.
    pub(super) fn may_start(&self, now: Instant) -> bool {
        self.held.as_ref().is_some_and(|held| {
            let length = held.lease.length;
            held.age(now) < length.saturating_sub(MARGIN.min(length / 4))
        })
    }

    /// When to ask for it again; at once while there is none.
    pub(super) fn renew_at(&self, now: Instant) -> Instant {
        self.held.as_ref().map_or(now, |held| {
            held.asked + held.lease.renew_after.min(LONGEST_RENEWAL)
        })
    }
}

impl Held {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.asked)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tharsis_core::WorkerId;

    use super::*;

    fn lease(epoch: i64, length: Duration) -> Lease {
        Lease {
            worker: WorkerId::new(Timestamp::from_millis(1), [7; 10]),
            shards: Shards::ALL,
            surplus: Shards::default(),
            epoch,
            clock: Timestamp::from_millis(1_000_000),
            length,
            renew_after: length / 3,
        }
    }

    fn secs(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_lease_is_renewed_when_it_says_and_no_request_starts_in_its_last_two_seconds() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        assert_eq!(ownership.renew_at(start), start);
        assert!(ownership.hold(lease(1, secs(15)), start, start));

        assert_eq!(ownership.renew_at(start), start + secs(5));
        let soon = Lease {
            renew_after: Duration::from_millis(200),
            ..lease(1, secs(15))
        };
        assert!(!ownership.hold(soon, start, start));
        assert_eq!(
            ownership.renew_at(start),
            start + Duration::from_millis(200)
        );
        assert!(ownership.may_start(start + secs(12)));
        assert!(!ownership.may_start(start + secs(13)));
        assert_eq!(ownership.until(), Some(start + secs(15)));
        assert!(ownership.lease(start + secs(14)).is_some());
        assert!(ownership.lease(start + secs(15)).is_none());
    }

    #[test]
    fn a_short_lease_keeps_a_quarter_as_its_margin() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        ownership.hold(lease(1, secs(4)), start, start);
        assert!(ownership.may_start(start + Duration::from_millis(2_999)));
        assert!(!ownership.may_start(start + secs(3)));
    }

    #[test]
    fn a_renewal_keeps_what_is_known_and_another_epoch_does_not() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        assert!(ownership.hold(lease(4, secs(15)), start, start));
        assert!(!ownership.hold(lease(4, secs(15)), start + secs(5), start + secs(5)));
        assert!(ownership.hold(lease(5, secs(15)), start + secs(60), start + secs(60)));
        ownership.lose();
        assert!(!ownership.may_start(start + secs(61)));
        assert!(ownership.hold(lease(5, secs(15)), start + secs(62), start + secs(62)));
    }

    #[test]
    fn other_shards_are_another_lease_and_a_surplus_that_shrinks_is_not() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        let of = |shards, surplus| Lease {
            shards: Shards(shards),
            surplus: Shards(surplus),
            ..lease(1, secs(15))
        };
        assert!(ownership.hold(of(0, 0), start, start), "also of none");
        assert!(ownership.may_start(start));
        assert!(ownership.hold(of(7, 0), start, start));
        assert!(ownership.hold(of(1, 6), start, start));
        assert!(!ownership.hold(of(1, 2), start, start));
        assert_eq!(ownership.shards(), Some(Shards(1)));
        assert_eq!(ownership.surplus(start), Shards(2));
        assert!(ownership.hold(of(3, 0), start, start), "ours again");

        assert!(ownership.hold(of(1, 2), start, start));
        assert_eq!(ownership.surplus(start + secs(15)), Shards::default());
        assert_eq!(ownership.shards(), Some(Shards(1)));
        ownership.lose();
        assert_eq!(ownership.shards(), None);
    }

    #[test]
    fn the_clock_is_the_databases_plus_the_time_since_it_answered_with_or_without_the_lease() {
        let start = Instant::now();
        let mut ownership = Ownership::default();
        assert!(ownership.now(start).is_none());
        ownership.hold(lease(1, Duration::MAX), start - secs(4), start);
        ownership.lose();
        let now = ownership.now(start + secs(3)).expect("told");
        assert_eq!(now.clock, Timestamp::from_millis(1_003_000));
        assert_eq!(
            now.instant_of(Timestamp::from_millis(1_004_500)),
            start + Duration::from_millis(4_500)
        );
        assert_eq!(now.instant_of(Timestamp::from_millis(0)), now.instant);
    }

    proptest! {
        #[test]
        fn nothing_starts_that_the_lease_does_not_cover(length in 0_u64..100_000, age in 0_u64..200_000) {
            let start = Instant::now();
            let now = start + Duration::from_millis(age);
            let mut ownership = Ownership::default();
            ownership.hold(lease(1, Duration::from_millis(length)), start, start);
            if ownership.may_start(now) {
                prop_assert!(ownership.lease(now).is_some());
                prop_assert!(age + (length / 4).min(2_000) <= length);
            }
            prop_assert!(ownership.renew_at(now) <= start + Duration::from_millis(length / 3 + 1));
        }
    }
}

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tharsis_store::Shards;

use super::now::Alarm;

/// One kind of operation on the store. At most one is under way; one that failed waits longer each time, so that a
/// database that is down is not beaten, and one kind that fails does not hold up the others.
#[derive(Debug, Default)]
pub(super) struct Operation {
    wanted: bool,
    under_way: bool,
    occupies: Shards,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    delays: <ExponentialBuilder as BackoffBuilder>::Backoff,
    until: Instant,
}

impl Operation {
    /// It is to be done, or done again when it is under way: what it is to see may have come after it began.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// Whether it starts now: it is wanted, not under way, and does not wait after a failure.
    pub(super) fn starts(&mut self, alarm: &mut Alarm) -> bool {
        let starts = self.wanted && self.may_start(alarm);
        if starts {
            self.begin();
        }
        starts
    }

    /// It starts now.
    pub(super) fn begin(&mut self) {
        self.wanted = false;
        self.under_way = true;
        self.occupies = Shards::default();
    }

    /// What has started changes something in these shards.
    pub(super) fn occupy(&mut self, shards: Shards) {
        self.occupies = shards;
    }

    /// The shards that it changes something in; none once it is over.
    pub(super) fn occupies(&self) -> Shards {
        if self.under_way {
            self.occupies
        } else {
            Shards::default()
        }
    }

    /// Whether it could start.
    pub(super) fn may_start(&self, alarm: &mut Alarm) -> bool {
        !self.under_way && self.failing.as_ref().is_none_or(|f| alarm.rings(f.until))
    }

    pub(super) fn succeeded(&mut self) {
        self.under_way = false;
        self.failing = None;
    }

    /// It is over and may start again after a pause: 50 ms at first, at most 4 s, with jitter made of `seed`.
    pub(super) fn failed(&mut self, now: Instant, seed: u64) {
        self.under_way = false;
        let failing = self.failing.get_or_insert_with(|| Failing {
            delays: ExponentialBuilder::new()
                .with_min_delay(Duration::from_millis(50))
                .with_max_delay(Duration::from_secs(2))
                .without_max_times()
                .with_jitter()
                .with_jitter_seed(seed)
                .build(),
            until: now,
        });
        failing.until = now + failing.delays.next().unwrap_or(Duration::from_secs(2));
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way
    }

    /// Neither wanted nor under way.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.wanted && !self.under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(operation: &mut Operation, at: Instant) -> (bool, Option<Instant>) {
        let mut alarm = Alarm::new(at);
        (operation.starts(&mut alarm), alarm.next())
    }

    #[test]
    fn what_is_wanted_while_it_is_under_way_is_done_again() {
        let now = Instant::now();
        let mut operation = Operation::default();
        assert_eq!(starts(&mut operation, now), (false, None));
        operation.want();
        assert_eq!(starts(&mut operation, now), (true, None));
        operation.want();
        assert_eq!(starts(&mut operation, now), (false, None));
        operation.succeeded();
        assert_eq!(starts(&mut operation, now), (true, None));
        operation.succeeded();
        assert!(operation.is_at_rest());
    }

    #[test]
    fn its_shards_are_occupied_until_it_is_over() {
        let now = Instant::now();
        let mut operation = Operation::default();
        operation.want();
        assert!(starts(&mut operation, now).0);
        operation.occupy(Shards(6));
        assert_eq!(operation.occupies(), Shards(6));
        operation.failed(now, 7);
        assert_eq!(operation.occupies(), Shards::default());
        operation.begin();
        assert_eq!(operation.occupies(), Shards::default());
    }

    #[test]
    fn pauses_after_failures_grow_to_a_bound_and_end_with_a_success() {
        let mut now = Instant::now();
        let mut operation = Operation::default();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            operation.want();
            assert!(starts(&mut operation, now).0);
            operation.failed(now, 7);
            operation.want();
            let (started, until) = starts(&mut operation, now);
            assert!(!started);
            let until = until.expect("a pause");
            pauses.push(until - now);
            now = until;
        }
        assert!(pauses[0] <= Duration::from_millis(100));
        assert!(pauses[9] >= Duration::from_secs(2));
        assert!(pauses.iter().all(|p| *p <= Duration::from_secs(4)));

        operation.want();
        assert!(starts(&mut operation, now).0);
        operation.succeeded();
        operation.want();
        assert!(starts(&mut operation, now).0, "no pause is left");
    }
}

//! What went on, in equal slots of time: several minutes, or quarters of an hour, are one where a chart or a table has no more
//! room.

use std::time::Duration;

use tharsis::{
    Timestamp,
    store::{Depth, Latency, Status, Traffic},
};

/// So many unfinished deliveries are counted at most: what takes some hundredths of a second.
pub(crate) const MOST_UNFINISHED: u64 = 100_000;

/// What the overview counts.
pub(crate) struct Figures {
    pub(crate) unfinished: Vec<(Status, u64)>,
    /// There may be more that is unfinished.
    pub(crate) more: bool,
    /// Of the last day.
    pub(crate) minutes: Vec<Traffic>,
}

/// A stretch of time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    from: Timestamp,
    slot: Duration,
    slots: usize,
}

impl Stretch {
    /// So long, up to this instant, in so many slots of whole minutes.
    pub(crate) fn until(end: Timestamp, long: Duration, slots: usize) -> Self {
        Self {
            from: end - long,
            slot: long / u32::try_from(slots).unwrap_or(u32::MAX).max(1),
            slots,
        }
    }

    /// When each slot begins, and after the last one when it ends.
    pub(crate) fn begins(self) -> impl Iterator<Item = Timestamp> {
        let mut at = self.from;
        (0..=self.slots).map(move |_| {
            let begin = at;
            at = at + self.slot;
            begin
        })
    }

    /// How many minutes a slot has.
    pub(crate) fn minutes(self) -> u64 {
        (self.slot.as_secs() / 60).max(1)
    }

    /// What went on in each slot.
    pub(crate) fn flows(self, traffic: &[Traffic]) -> Vec<Flow> {
        let mut flows = vec![Flow::default(); self.slots];
        for one in traffic {
            if let Some(flow) = self.slot_of(one.at).and_then(|slot| flows.get_mut(slot)) {
                flow.add(one);
            }
        }
        flows
    }

    /// The most that waited in each slot; `None` where nobody looked.
    pub(crate) fn waiting(self, depths: &[Depth]) -> Vec<Option<u64>> {
        let mut waiting = vec![None; self.slots];
        for depth in depths {
            if let Some(most) = self
                .slot_of(depth.at)
                .and_then(|slot| waiting.get_mut(slot))
            {
                *most = (*most).max(Some(depth.waiting));
            }
        }
        waiting
    }

    fn slot_of(self, at: Timestamp) -> Option<usize> {
        if at < self.from {
            return None;
        }
        let slot = at.since(self.from).as_millis() / self.slot.as_millis().max(1);
        usize::try_from(slot).ok()
    }
}

/// What went on for a while.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) attempts: u64,
    pub(crate) delivered: u64,
    pub(crate) dead: u64,
    pub(crate) expired: u64,
    pub(crate) refused: u64,
    pub(crate) latency: Latency,
}

impl Flow {
    /// All of it.
    pub(crate) fn of<'a>(traffic: impl IntoIterator<Item = &'a Traffic>) -> Self {
        let mut all = Self::default();
        for one in traffic {
            all.add(one);
        }
        all
    }

    fn add(&mut self, traffic: &Traffic) {
        for (sum, more) in [
            (&mut self.attempts, traffic.attempts),
            (&mut self.delivered, traffic.delivered),
            (&mut self.dead, traffic.dead),
            (&mut self.expired, traffic.expired),
            (&mut self.refused, traffic.refused),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.latency.merge(&traffic.latency);
    }

    /// Of what was tried, the part that was delivered, in hundredths of a percent and rounded down: what failed is not rounded
    /// away. What could never be sent says nothing of how well it goes.
    pub(crate) fn success(&self) -> Option<u64> {
        let delivered = u128::from(self.delivered);
        let tried = delivered + u128::from(self.dead) + u128::from(self.expired);
        let parts = (delivered * 10_000).checked_div(tried)?;
        u64::try_from(parts).ok()
    }

    /// Below that so many of a thousand that were delivered were answered, in milliseconds.
    pub(crate) fn quantile(&self, per_mille: u64) -> Option<u64> {
        let took = self.latency.quantile(per_mille)?;
        u64::try_from(took.as_millis()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// 22:13 of a day.
    fn now() -> Timestamp {
        Timestamp::from_millis(1_699_999_980_000)
    }

    fn minute(ago: u32, attempts: u64) -> Traffic {
        Traffic {
            at: now() - MINUTE * ago,
            attempts,
            delivered: attempts,
            ..Traffic::default()
        }
    }

    #[test]
    fn minutes_fall_into_their_slots_and_others_into_none() {
        let stretch = Stretch::until(now(), MINUTE * 6, 3);
        let minutes = [(7, 64), (6, 1), (5, 2), (2, 4), (1, 8), (0, 32)];
        let flows = stretch.flows(&minutes.map(|(ago, attempts)| minute(ago, attempts)));
        let attempts: Vec<_> = flows.iter().map(|flow| flow.attempts).collect();
        assert_eq!(attempts, [3, 0, 12]);
        assert_eq!(stretch.minutes(), 2);
        let begins: Vec<_> = stretch.begins().map(|at| at.to_string()).collect();
        assert_eq!(
            begins,
            ["22:07", "22:09", "22:11", "22:13"].map(|at| format!("2023-11-14T{at}:00.000Z"))
        );
    }

    #[test]
    fn of_what_waited_the_most_counts_and_where_nobody_looked_nothing_is_known() {
        let depths = [(2, 5), (1, 3)].map(|(ago, waiting)| Depth {
            at: now() - MINUTE * ago,
            waiting,
            overdue: None,
        });
        let stretch = Stretch::until(now(), MINUTE * 4, 2);
        assert_eq!(stretch.waiting(&depths), [None, Some(5)]);
    }

    #[test]
    fn the_rate_of_success_is_of_what_was_tried() {
        let success = |delivered, dead, expired, refused| {
            let flow = Flow {
                delivered,
                dead,
                expired,
                refused,
                ..Flow::default()
            };
            flow.success()
        };
        assert_eq!(success(0, 0, 0, 0), None);
        assert_eq!(success(0, 0, 0, 3), None);
        assert_eq!(success(7, 0, 0, 3), Some(10_000));
        assert_eq!(success(2, 1, 0, 0), Some(6_666));
        assert_eq!(success(999_999, 0, 1, 0), Some(9_999));
        assert_eq!(success(u64::MAX, u64::MAX, 0, 0), Some(5_000));
    }
}

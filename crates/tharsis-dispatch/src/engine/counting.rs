use std::{collections::BTreeMap, iter::from_fn, sync::Arc};

use tharsis_core::{ClientId, Timestamp, delivery::End};
use tharsis_store::{Fate, Figures, Settlement, Traffic};
use tracing::warn;

/// At most so many rows of a kind are written down in one transaction.
const BATCH: usize = 500;

/// At most so many of a kind are kept while the store fails; then the oldest go.
const MOST: usize = 20_000;

/// What the worker did, for clients minute by minute and for subscriptions by the quarter of an hour, until it is written down.
/// All of it is lost with the worker: these are figures.
#[derive(Debug, Default)]
pub(super) struct Counting {
    minutes: BTreeMap<(Timestamp, ClientId), Traffic>,
    quarters: BTreeMap<(Timestamp, i64), Traffic>,
    /// Those that are being written down, or were and are to be written once more.
    batch: Option<Arc<Figures>>,
    /// It failed once.
    is_second_try: bool,
    /// The oldest go, and somebody was told.
    overflows: bool,
}

impl Counting {
    /// Counts what is settled, in the minute and the quarter of an hour in which its attempt was over.
    pub(super) fn settled(&mut self, client: ClientId, settlement: &Settlement) {
        let Some(attempt) = &settlement.attempt else {
            return;
        };
        let end = match settlement.fate {
            Fate::Ended(end) if end != End::Cancelled => Some(end),
            _ => None,
        };
        if attempt.number == 0 && end.is_none() {
            return;
        }
        let at = attempt.at + attempt.duration;
        self.count(client, settlement.position.subscription, at, |traffic| {
            if attempt.number > 0 {
                traffic.attempted(attempt.duration, end == Some(End::Delivered));
            }
            if let Some(end) = end {
                traffic.ended(end);
            }
        });
    }

    /// Counts a delivery that ended without an attempt. Nobody asks for what was cancelled.
    pub(super) fn ended(&mut self, client: ClientId, subscription: i64, end: End, at: Timestamp) {
        if end != End::Cancelled {
            self.count(client, subscription, at, |traffic| traffic.ended(end));
        }
    }

    fn count(
        &mut self,
        client: ClientId,
        subscription: i64,
        at: Timestamp,
        count: impl Fn(&mut Traffic),
    ) {
        let (minute, quarter) = (Traffic::minute(at), Traffic::quarter(at));
        let is_lost = [
            make_room(&mut self.minutes, &(minute.at, client)),
            make_room(&mut self.quarters, &(quarter.at, subscription)),
        ];
        if is_lost.contains(&true) && !self.overflows {
            self.overflows = true;
            warn!(
                rows = MOST,
                "so many rows of figures wait to be written down; the oldest are lost"
            );
        }
        count((self.minutes.entry((minute.at, client))).or_insert(minute));
        count((self.quarters.entry((quarter.at, subscription))).or_insert(quarter));
    }

    /// Whether all is written down.
    pub(super) fn is_empty(&self) -> bool {
        self.minutes.is_empty() && self.quarters.is_empty() && self.batch.is_none()
    }

    /// Those to be written down now, the oldest first: those that were before and failed, as they were.
    pub(super) fn begin(&mut self) -> Arc<Figures> {
        let (minutes, quarters) = (&mut self.minutes, &mut self.quarters);
        let batch = self.batch.get_or_insert_with(|| {
            Arc::new(Figures {
                minutes: oldest(minutes),
                quarters: oldest(quarters),
            })
        });
        Arc::clone(batch)
    }

    /// They are not written down, or nobody knows. They are tried once more, and then lost: figures that are lost are better
    /// than figures that are invented. Returns how many are.
    pub(super) fn failed(&mut self) -> Option<usize> {
        self.is_second_try = !self.is_second_try;
        if self.is_second_try {
            return None;
        }
        (self.batch.take()).map(|batch| batch.minutes.len() + batch.quarters.len())
    }

    /// They are written down. Returns whether there were more than are written at once.
    pub(super) fn done(&mut self) -> bool {
        self.is_second_try = false;
        self.overflows = false;
        let batch = self.batch.take();
        let was_full = batch
            .is_some_and(|batch| batch.minutes.len() >= BATCH || batch.quarters.len() >= BATCH);
        was_full && !self.is_empty()
    }
}

/// Has the oldest go where there is no room for one more. Returns whether it went.
fn make_room<Whose: Ord>(
    counted: &mut BTreeMap<(Timestamp, Whose), Traffic>,
    key: &(Timestamp, Whose),
) -> bool {
    let is_full = counted.len() >= MOST && !counted.contains_key(key);
    is_full && counted.pop_first().is_some()
}

fn oldest<Whose: Ord>(
    counted: &mut BTreeMap<(Timestamp, Whose), Traffic>,
) -> Vec<(Whose, Traffic)> {
    from_fn(|| counted.pop_first())
        .take(BATCH)
        .map(|((_, whose), traffic)| (whose, traffic))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tharsis_core::EventId;
    use tharsis_store::{Attempt, Position};

    use super::*;
    use crate::engine::samples::client;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn settlement(number: u32, began: Timestamp, fate: Fate) -> Settlement {
        Settlement {
            position: Position {
                subscription: 1,
                lane: 0,
                due_at: at(0),
                seq: 1,
                replay: 0,
            },
            event: EventId::new(at(1), [1; 10]),
            attempts: 0,
            attempt: Some(Attempt {
                number,
                at: began,
                duration: Duration::from_millis(40),
                code: "http_200".to_owned(),
                status: None,
                excerpt: Vec::new(),
                detail: None,
            }),
            fate,
            key: None,
            suspend: None,
            certificate_ends: None,
        }
    }

    #[test]
    fn what_is_settled_counts_for_its_client_in_the_minute_of_its_end() {
        let mut counting = Counting::default();
        let delivered = Fate::Ended(End::Delivered);
        counting.settled(client(2), &settlement(1, at(59_970), delivered));
        counting.settled(client(1), &settlement(1, at(59_900), delivered));
        counting.settled(client(1), &settlement(4, at(1_000), Fate::Ended(End::Dead)));
        counting.settled(
            client(1),
            &settlement(0, at(1_000), Fate::Ended(End::Expired)),
        );
        counting.ended(client(1), 1, End::Refused, at(2_000));
        let mut nothing = settlement(1, at(1_000), Fate::Aside);
        nothing.attempt = None;
        counting.settled(client(3), &nothing);

        let batch = counting.begin();
        let [(first, ours), (second, theirs)] = &batch.minutes[..] else {
            panic!("{batch:?}");
        };
        assert_eq!((*first, ours.at), (client(1), at(0)));
        assert_eq!((ours.attempts, ours.failed), (2, 1));
        assert_eq!(
            (ours.delivered, ours.dead, ours.expired, ours.refused),
            (1, 1, 1, 1)
        );
        assert_eq!(ours.latency.quantile(500), Some(Duration::from_millis(50)));
        assert_eq!((*second, theirs.at), (client(2), at(60_000)));
        assert_eq!((theirs.attempts, theirs.delivered), (1, 1));
        // All of it went to one subscription within a quarter of an hour.
        let mut both = ours.clone();
        both.merge(theirs);
        assert_eq!(batch.quarters, [(1, both)]);
    }

    #[test]
    fn what_is_settled_counts_for_its_subscription_in_the_quarter_of_an_hour_of_its_end() {
        const QUARTER: i64 = 15 * 60_000;
        let mut counting = Counting::default();
        let mut second = settlement(1, at(QUARTER - 41), Fate::Ended(End::Delivered));
        second.position.subscription = 2;
        counting.settled(client(1), &second);
        second.attempt.as_mut().expect("it has one").at = at(QUARTER - 40);
        counting.settled(client(1), &second);
        counting.settled(client(1), &settlement(4, at(1_000), Fate::Ended(End::Dead)));
        counting.ended(client(1), 1, End::Refused, at(2_000));

        let batch = counting.begin();
        let told: Vec<_> = (batch.quarters.iter())
            .map(|(subscription, traffic)| (*subscription, traffic.at, traffic.attempts))
            .collect();
        assert_eq!(told, [(1, at(0), 1), (2, at(0), 1), (2, at(QUARTER), 1)]);
        let (_, first) = &batch.quarters[0];
        assert_eq!((first.failed, first.dead, first.refused), (1, 1, 1));
    }

    #[test]
    fn what_was_cancelled_makes_no_figures() {
        let mut counting = Counting::default();
        counting.ended(client(1), 1, End::Cancelled, at(0));
        let cancelled = settlement(0, at(0), Fate::Ended(End::Cancelled));
        counting.settled(client(1), &cancelled);
        assert!(counting.is_empty());
    }

    #[test]
    fn what_failed_twice_is_lost() {
        let mut counting = Counting::default();
        for _ in 0..2 {
            counting.ended(client(1), 1, End::Dead, at(0));
            let first = counting.begin();
            assert_eq!(counting.failed(), None);
            assert_eq!(counting.begin(), first);
            assert_eq!(counting.failed(), Some(2));
            assert!(counting.is_empty());
        }
        // The next has two tries of its own.
        counting.ended(client(1), 1, End::Dead, at(0));
        counting.begin();
        assert_eq!(counting.failed(), None);
        counting.begin();
        assert!(!counting.done());
        counting.ended(client(1), 1, End::Dead, at(0));
        counting.begin();
        assert_eq!(counting.failed(), None);
    }

    #[test]
    fn what_failed_is_written_again_as_it_was() {
        let mut counting = Counting::default();
        assert!(counting.is_empty());
        counting.ended(client(1), 1, End::Dead, at(0));
        let first = counting.begin();
        counting.ended(client(1), 1, End::Dead, at(0));
        assert_eq!(counting.begin(), first);
        assert!(!counting.done());
        assert!(!counting.is_empty());
        assert_eq!(counting.begin().minutes.len(), 1);
        assert!(!counting.done());
        assert!(counting.is_empty());
    }

    #[test]
    fn many_are_written_in_batches_and_of_too_many_the_oldest_go() {
        let mut counting = Counting::default();
        let most = i64::try_from(MOST).expect("small");
        for minute in 0..most + 10 {
            counting.ended(client(1), 1, End::Dead, at(minute * 60_000));
        }
        let batch = counting.begin();
        let minutes = &batch.minutes;
        assert_eq!((minutes.len(), minutes[0].1.at), (BATCH, at(10 * 60_000)));
        let mut written = minutes.len();
        while counting.done() {
            written += counting.begin().minutes.len();
        }
        assert_eq!(written, MOST);
        assert!(counting.is_empty());
    }

    #[test]
    fn many_subscriptions_of_one_client_are_written_in_batches() {
        let mut counting = Counting::default();
        let many = i64::try_from(BATCH).expect("small") * 2 + 1;
        for subscription in 0..many {
            counting.ended(client(1), subscription, End::Dead, at(0));
        }
        let mut written = vec![counting.begin().quarters.len()];
        while counting.done() {
            written.push(counting.begin().quarters.len());
        }
        assert_eq!(written, [BATCH, BATCH, 1]);
    }
}

use std::{collections::BTreeMap, iter::from_fn, sync::Arc};

use tharsis_core::{ClientId, Timestamp, delivery::End};
use tharsis_store::{Fate, Minute, Settlement};
use tracing::warn;

/// At most so many are written down in one transaction.
const BATCH: usize = 500;

/// At most so many are kept while the store fails; then the oldest go.
const MOST: usize = 20_000;

/// What the worker did minute by minute, until it is written down. All of it is lost with the worker: these are figures.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    counting: BTreeMap<(Timestamp, ClientId), Minute>,
    /// Those that are being written down, or were and are to be written once more.
    batch: Option<Arc<Vec<(ClientId, Minute)>>>,
    /// It failed once.
    is_second_try: bool,
    /// The oldest go, and somebody was told.
    overflows: bool,
}

impl Minutes {
    /// Counts what is settled, in the minute in which its attempt was over.
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
        let minute = self.minute(client, attempt.at + attempt.duration);
        if attempt.number > 0 {
            minute.attempted(attempt.duration, end == Some(End::Delivered));
        }
        if let Some(end) = end {
            minute.ended(end);
        }
    }

    /// Counts a delivery that ended without an attempt. Nobody asks for what was cancelled.
    pub(super) fn ended(&mut self, client: ClientId, end: End, at: Timestamp) {
        if end != End::Cancelled {
            self.minute(client, at).ended(end);
        }
    }

    fn minute(&mut self, client: ClientId, at: Timestamp) -> &mut Minute {
        let key = (Minute::start(at), client);
        if self.counting.len() >= MOST && !self.counting.contains_key(&key) {
            self.counting.pop_first();
            if !self.overflows {
                self.overflows = true;
                warn!(
                    rows = MOST,
                    "so many rows of figures wait to be written down; the oldest are lost"
                );
            }
        }
        (self.counting.entry(key)).or_insert_with(|| Minute::of(at))
    }

    /// Whether all is written down.
    pub(super) fn is_empty(&self) -> bool {
        self.counting.is_empty() && self.batch.is_none()
    }

    /// Those to be written down now, the oldest first: those that were before and failed, as they were.
    pub(super) fn begin(&mut self) -> Arc<Vec<(ClientId, Minute)>> {
        let counting = &mut self.counting;
        let batch = self.batch.get_or_insert_with(|| {
            let oldest = from_fn(|| counting.pop_first()).take(BATCH);
            Arc::new(
                oldest
                    .map(|((_, client), minute)| (client, minute))
                    .collect(),
            )
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
        self.batch.take().map(|batch| batch.len())
    }

    /// They are written down. Returns whether there were more than are written at once.
    pub(super) fn done(&mut self) -> bool {
        self.is_second_try = false;
        self.overflows = false;
        let batch = self.batch.take();
        batch.is_some_and(|batch| batch.len() >= BATCH) && !self.counting.is_empty()
    }
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
        let mut minutes = Minutes::default();
        let delivered = Fate::Ended(End::Delivered);
        minutes.settled(client(2), &settlement(1, at(59_970), delivered));
        minutes.settled(client(1), &settlement(1, at(59_900), delivered));
        minutes.settled(client(1), &settlement(4, at(1_000), Fate::Ended(End::Dead)));
        minutes.settled(
            client(1),
            &settlement(0, at(1_000), Fate::Ended(End::Expired)),
        );
        minutes.ended(client(1), End::Refused, at(2_000));
        let mut nothing = settlement(1, at(1_000), Fate::Aside);
        nothing.attempt = None;
        minutes.settled(client(3), &nothing);

        let batch = minutes.begin();
        let [(first, ours), (second, theirs)] = &batch[..] else {
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
    }

    #[test]
    fn what_was_cancelled_makes_no_minute() {
        let mut minutes = Minutes::default();
        minutes.ended(client(1), End::Cancelled, at(0));
        let cancelled = settlement(0, at(0), Fate::Ended(End::Cancelled));
        minutes.settled(client(1), &cancelled);
        assert!(minutes.is_empty());
    }

    #[test]
    fn what_failed_twice_is_lost() {
        let mut minutes = Minutes::default();
        for _ in 0..2 {
            minutes.ended(client(1), End::Dead, at(0));
            let first = minutes.begin();
            assert_eq!(minutes.failed(), None);
            assert_eq!(minutes.begin(), first);
            assert_eq!(minutes.failed(), Some(1));
            assert!(minutes.is_empty());
        }
        // The next has two tries of its own.
        minutes.ended(client(1), End::Dead, at(0));
        minutes.begin();
        assert_eq!(minutes.failed(), None);
        minutes.begin();
        assert!(!minutes.done());
        minutes.ended(client(1), End::Dead, at(0));
        minutes.begin();
        assert_eq!(minutes.failed(), None);
    }

    #[test]
    fn what_failed_is_written_again_as_it_was() {
        let mut minutes = Minutes::default();
        assert!(minutes.is_empty());
        minutes.ended(client(1), End::Dead, at(0));
        let first = minutes.begin();
        minutes.ended(client(1), End::Dead, at(0));
        assert_eq!(minutes.begin(), first);
        assert!(!minutes.done());
        assert!(!minutes.is_empty());
        assert_eq!(minutes.begin().len(), 1);
        assert!(!minutes.done());
        assert!(minutes.is_empty());
    }

    #[test]
    fn many_are_written_in_batches_and_of_too_many_the_oldest_go() {
        let mut minutes = Minutes::default();
        let most = i64::try_from(MOST).expect("small");
        for minute in 0..most + 10 {
            minutes.ended(client(1), End::Dead, at(minute * 60_000));
        }
        let batch = minutes.begin();
        assert_eq!((batch.len(), batch[0].1.at), (BATCH, at(10 * 60_000)));
        let mut written = batch.len();
        while minutes.done() {
            written += minutes.begin().len();
        }
        assert_eq!(written, MOST);
    }
}

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tharsis_core::{
    Invalid, Timestamp,
    alert::is_ending,
    delivery::{End, Fault, Outcome, Verdict, codes},
};
use tharsis_store::{Attempt, Due, Fate, Position, Settlement};

use super::now::Alarm;

/// So many settlements do not wait for more.
const ENOUGH: usize = 256;

/// At most so many settle in one transaction, so that the store's writer is free for others soon.
const BATCH: usize = 512;

/// How long the first settlement waits for others.
const PATIENCE: Duration = Duration::from_millis(10);

/// Why a subscription is suspended whose receiver is gone for good.
const GONE: &str = "http_410";

/// What an attempt makes of a delivery. One that others wait for may be to be kept when its retries are used up.
pub(super) fn attempted(
    due: &Due,
    at: Timestamp,
    outcome: Outcome,
    verdict: Verdict,
    holds: bool,
) -> Settlement {
    let holds = holds && due.key.is_some();
    let ended_at = at + outcome.duration;
    let certificate = (outcome.certificate).filter(|found| is_ending(*found, ended_at));
    let certificate_ends = certificate.map(|certificate| certificate.until);
    let (fate, counts, suspend) = match verdict {
        Verdict::Delivered => (Fate::Ended(End::Delivered), true, None),
        Verdict::Retry { due_at } => {
            let spent = due.spent.and(due_at.since(at + outcome.duration));
            (Fate::Again { due_at, spent }, true, None)
        }
        Verdict::Postpone { due_at } => {
            let spent = due.spent;
            (Fate::Again { due_at, spent }, false, None)
        }
        Verdict::Hold { due_at } => {
            let spent = due.spent;
            (Fate::Again { due_at, spent }, true, None)
        }
        Verdict::Dead if holds => (Fate::Kept { spent: due.spent }, true, None),
        Verdict::Dead => (Fate::Ended(End::Dead), true, None),
        // It is the first to go once its receiver is back.
        Verdict::Gone if holds => {
            let due_at = at + outcome.duration;
            let spent = due.spent;
            (Fate::Again { due_at, spent }, true, Some(GONE))
        }
        Verdict::Gone => (Fate::Ended(End::Dead), true, Some(GONE)),
        Verdict::Expired => (Fate::Ended(End::Expired), true, None),
    };
    let attempt = counts.then(|| Attempt {
        number: due.attempts.saturating_add(1),
        at,
        duration: outcome.duration,
        code: outcome.code.into_owned(),
        status: outcome.status,
        excerpt: outcome.excerpt,
        detail: outcome.detail,
    });
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt,
        fate,
        key: due.key,
        suspend,
        certificate_ends,
    }
}

/// A delivery that was not sent, through no fault of its own: it is due at once.
pub(super) fn again(due: &Due, now: Timestamp) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate: Fate::Again {
            due_at: now,
            spent: due.spent,
        },
        key: due.key,
        suspend: None,
        certificate_ends: None,
    }
}

/// A delivery whose campaign is paused: it is out of the way of the others until that is resumed.
pub(super) fn aside(due: &Due) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate: Fate::Aside,
        key: due.key,
        suspend: None,
        certificate_ends: None,
    }
}

/// A delivery that waits for one before it: it is out of the way of those that do not.
pub(super) fn parked(due: &Due) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: None,
        fate: Fate::Parked {
            // If it was put back itself, those after it are not to go before it for that.
            due_at: if due.is_waited_for {
                due.position.due_at.min(due.published_at)
            } else {
                due.position.due_at
            },
            spent: due.spent,
        },
        key: due.key,
        suspend: None,
        certificate_ends: None,
    }
}

/// The end of a delivery whose campaign, or whose recipient in it, is cancelled.
pub(super) fn cancelled(due: &Due, now: Timestamp) -> Settlement {
    without_request(due, now, End::Cancelled, codes::CAMPAIGN_CANCELLED, None)
}

/// The end of a delivery whose event expired while it waited.
pub(super) fn expired(due: &Due, now: Timestamp) -> Settlement {
    without_request(due, now, End::Expired, codes::EXPIRED, None)
}

/// The end of a delivery of which no request can be made.
pub(super) fn refused(due: &Due, why: &Invalid, now: Timestamp) -> Settlement {
    let code = codes::find(why.code).map_or(codes::PAYLOAD_INVALID, |known| known.code);
    without_request(due, now, End::Refused, code, Some(why.to_string()))
}

/// Whether a request cannot be made for a reason that lies in the subscription and not in what is delivered.
pub(super) fn is_ours(why: &Invalid) -> bool {
    why.code == "bad_key"
}

/// What comes of a request that cannot be signed: a fault of ours, which costs no attempt.
pub(super) fn unsigned(why: &Invalid) -> Outcome {
    Outcome {
        code: codes::SECRET_UNREADABLE.into(),
        fault: Fault::Ours,
        status: None,
        retry_after: None,
        excerpt: Vec::new(),
        detail: Some(why.to_string()),
        duration: Duration::ZERO,
        certificate: None,
    }
}

/// The end of a delivery of a type that the subscription's profile has no event of.
pub(super) fn of_unknown_type(due: &Due, now: Timestamp) -> Settlement {
    without_request(due, now, End::Refused, codes::EVENT_TYPE_UNKNOWN, None)
}

/// Attempt 0 says why a delivery ended without a request, also when there were attempts before.
fn without_request(
    due: &Due,
    now: Timestamp,
    end: End,
    code: &'static str,
    detail: Option<String>,
) -> Settlement {
    Settlement {
        position: due.position,
        event: due.id.event,
        attempts: due.attempts,
        attempt: Some(Attempt {
            number: 0,
            at: now,
            duration: Duration::ZERO,
            code: code.to_owned(),
            status: None,
            excerpt: Vec::new(),
            detail,
        }),
        fate: Fate::Ended(end),
        key: due.key,
        suspend: None,
        certificate_ends: None,
    }
}

/// Settlements on their way into the store: gathered, then written in one transaction.
#[derive(Debug, Default)]
pub(super) struct Settling {
    waiting: VecDeque<Settlement>,
    /// When the first of those that wait came.
    since: Option<Instant>,
    /// What is being written, or was and is to be written again. It may have been committed even so; then its rows come
    /// back as unchanged.
    batch: Option<Arc<Vec<Settlement>>>,
    under_way: bool,
}

impl Settling {
    pub(super) fn add(&mut self, settlement: Settlement, now: Instant) {
        self.since.get_or_insert(now);
        self.waiting.push_back(settlement);
    }

    /// How many are not in the store yet.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.batch.as_ref().map_or(0, |batch| batch.len())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is time to write: there are enough, or nobody else is coming, or the first has waited long enough.
    pub(super) fn is_ready(&self, more_come: bool, alarm: &mut Alarm) -> bool {
        if self.under_way {
            return false;
        }
        self.batch.is_some()
            || self.waiting.len() >= ENOUGH
            || self
                .since
                .is_some_and(|since| !more_come || alarm.rings(since + PATIENCE))
    }

    /// The batch to write; the same again after a failure.
    pub(super) fn begin(&mut self, now: Instant) -> Arc<Vec<Settlement>> {
        let waiting = &mut self.waiting;
        let batch = self
            .batch
            .get_or_insert_with(|| Arc::new(waiting.drain(..waiting.len().min(BATCH)).collect()));
        // Those that are left have waited for this transaction, but not for the next.
        self.since = (!waiting.is_empty()).then_some(now);
        self.under_way = true;
        Arc::clone(batch)
    }

    /// It was written, but for rows that were not as they were read, or are not ours any more. Tells of each settlement,
    /// and whether its row was left alone.
    pub(super) fn done(
        &mut self,
        left_alone: Vec<Position>,
        mut each: impl FnMut(&Settlement, bool),
    ) {
        self.under_way = false;
        let left_alone: HashSet<Position> = left_alone.into_iter().collect();
        for settlement in self.batch.take().iter().flat_map(|batch| batch.iter()) {
            each(settlement, left_alone.contains(&settlement.position));
        }
    }

    /// It failed, or its answer was lost: it is written again.
    pub(super) fn failed(&mut self) {
        self.under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tharsis_core::{
        DeliveryId, EventId, SubscriptionId,
        delivery::{Fault, Spent},
    };

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const SPENT: Spent = Spent {
        tries: 1,
        waited_ms: 5_000,
    };

    fn due(n: u8) -> Due {
        Due {
            position: Position {
                subscription: 1,
                lane: 0,
                due_at: at(5_000),
                seq: i64::from(n),
                replay: 0,
            },
            id: DeliveryId {
                event: EventId::new(at(i64::from(n)), [n; 10]),
                subscription: SubscriptionId::new(at(1), [1; 10]),
            },
            event_type: "nudge".into(),
            payload: Bytes::from_static(b"{}"),
            published_at: at(4_000),
            expires_at: None,
            attempts: 5,
            spent: SPENT,
            fresh: None,
            named: None,
            key: None,
            is_waited_for: false,
        }
    }

    fn settled(verdict: Verdict) -> Settlement {
        let outcome = Outcome {
            code: "http_503".into(),
            fault: Fault::Theirs,
            status: Some(503),
            retry_after: None,
            excerpt: b"busy".to_vec(),
            detail: None,
            duration: Duration::from_millis(12),
            certificate: None,
        };
        attempted(&due(1), at(6_000), outcome, verdict, false)
    }

    #[test]
    fn every_verdict_has_its_fate() {
        let due_at = at(9_000);
        let again = |spent| Fate::Again { due_at, spent };
        let more = SPENT.and(due_at.since(at(6_012)));
        let table = [
            (Verdict::Delivered, Fate::Ended(End::Delivered), true, None),
            (Verdict::Retry { due_at }, again(more), true, None),
            (Verdict::Postpone { due_at }, again(SPENT), false, None),
            (Verdict::Hold { due_at }, again(SPENT), true, None),
            (Verdict::Dead, Fate::Ended(End::Dead), true, None),
            (
                Verdict::Gone,
                Fate::Ended(End::Dead),
                true,
                Some("http_410"),
            ),
            (Verdict::Expired, Fate::Ended(End::Expired), true, None),
        ];
        for (verdict, fate, counts, suspend) in table {
            let settlement = settled(verdict);
            assert_eq!(settlement.fate, fate, "{verdict:?}");
            assert_eq!(settlement.attempt.is_some(), counts, "{verdict:?}");
            assert_eq!(settlement.suspend, suspend, "{verdict:?}");
            assert_eq!(
                (settlement.position, settlement.event, settlement.attempts),
                (due(1).position, due(1).id.event, 5)
            );
        }
    }

    #[test]
    fn an_attempt_is_recorded_with_all_that_is_known_of_it() {
        let attempt = settled(Verdict::Dead).attempt.expect("it counts");
        assert_eq!(
            attempt,
            Attempt {
                number: 6,
                at: at(6_000),
                duration: Duration::from_millis(12),
                code: "http_503".to_owned(),
                status: Some(503),
                excerpt: b"busy".to_vec(),
                detail: None,
            }
        );
    }

    #[test]
    fn an_end_without_a_request_is_attempt_zero_and_says_why() {
        let expired = expired(&due(1), at(7_000));
        assert_eq!(expired.fate, Fate::Ended(End::Expired));
        let attempt = expired.attempt.expect("it is recorded");
        assert_eq!((attempt.number, &*attempt.code), (0, "expired"));

        let why = Invalid::new("never_heard_of", "cannot be sent");
        let refused = refused(&due(1), &why, at(7_000));
        assert_eq!(refused.fate, Fate::Ended(End::Refused));
        let attempt = refused.attempt.expect("it is recorded");
        assert_eq!(
            (attempt.number, &*attempt.code, attempt.detail.as_deref()),
            (0, "payload_invalid", Some("cannot be sent"))
        );
    }

    fn ready(settling: &Settling, more_come: bool, now: Instant) -> (bool, Option<Instant>) {
        let mut alarm = Alarm::new(now);
        (settling.is_ready(more_come, &mut alarm), alarm.next())
    }

    fn add(settling: &mut Settling, n: u8, now: Instant) {
        settling.add(expired(&due(n), at(1)), now);
    }

    #[test]
    fn the_first_waits_five_milliseconds_for_others_unless_none_can_come() {
        let now = Instant::now();
        let mut settling = Settling::default();
        assert_eq!(ready(&settling, false, now), (false, None));
        add(&mut settling, 1, now);
        assert_eq!(ready(&settling, true, now), (false, Some(now + PATIENCE)));
        assert_eq!(ready(&settling, false, now), (true, None));
        assert_eq!(ready(&settling, true, now + PATIENCE), (true, None));
    }

    #[test]
    fn two_hundred_and_fifty_six_do_not_wait() {
        let now = Instant::now();
        let mut settling = Settling::default();
        for n in 0..=255 {
            assert!(!ready(&settling, true, now).0);
            add(&mut settling, n, now);
        }
        assert!(ready(&settling, true, now).0);
    }

    #[test]
    fn a_batch_whose_answer_was_lost_is_written_again_as_it_was() {
        let now = Instant::now();
        let mut settling = Settling::default();
        add(&mut settling, 1, now);
        let first = settling.begin(now);
        add(&mut settling, 2, now);
        assert_eq!(ready(&settling, false, now), (false, None), "one at a time");
        settling.failed();
        assert_eq!(settling.begin(now), first);

        let mut done = Vec::new();
        settling.done(vec![due(1).position], |settlement, left_alone| {
            done.push((settlement.event, left_alone));
        });
        assert_eq!(done, [(due(1).id.event, true)]);
        assert_eq!(settling.len(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_doubled_or_reordered(steps in prop::collection::vec(0_u8..4, 1..400)) {
            let now = Instant::now();
            let mut settling = Settling::default();
            let (mut added, mut written) = (Vec::new(), Vec::new());
            let mut under_way = false;
            for step in steps {
                match step {
                    0 | 1 if added.len() < 250 => {
                        let n = u8::try_from(added.len()).expect("fewer than 250");
                        add(&mut settling, n, now);
                        added.push(due(n).id.event);
                    }
                    2 if !under_way && !settling.is_empty() => {
                        prop_assert!(!settling.begin(now).is_empty());
                        under_way = true;
                    }
                    3 if under_way => {
                        if added.len() % 2 == 0 {
                            settling.failed();
                        } else {
                            settling.done(Vec::new(), |settlement, _| written.push(settlement.event));
                        }
                        under_way = false;
                    }
                    _ => {}
                }
                prop_assert_eq!(settling.len() + written.len(), added.len());
            }
            if under_way {
                settling.failed();
            }
            while !settling.is_empty() {
                settling.begin(now);
                settling.done(Vec::new(), |settlement, _| written.push(settlement.event));
            }
            prop_assert_eq!(written, added);
        }
    }
}

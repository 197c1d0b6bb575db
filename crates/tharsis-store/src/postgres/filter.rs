//! Which deliveries: the filter of lists, counts and replays as SQL, and the cursor of lists.
//!
//! Events are in the order of their ids, which begin with an instant: so time bounds ids, and ids the partitions that are
//! looked at.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, postgres::PgArguments, query::QueryAs};
use tharsis_core::{Invalid, SubscriptionId, Timestamp};
use uuid::Uuid;

use super::value::{Instant, text};
use crate::{
    DeliveryFilter, StoreError, Tally,
    filter::{Parts, bad_cursor, open_cursor, seal_cursor},
};

/// A delivery by its event and the number of its subscription.
pub(super) type Pair = (Uuid, i64);

/// Pairs as a statement takes them: an array for each half.
pub(super) fn columns<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> (Vec<Uuid>, Vec<i64>) {
    pairs.into_iter().copied().unzip()
}

/// A filter with its names resolved, ready to be bound.
pub(super) struct Matching {
    /// No event outside of these can match.
    within: Ids,
    client: Option<Uuid>,
    event_types: Option<Vec<String>>,
    campaign: Option<String>,
    since: Option<Instant>,
    until: Option<Instant>,
    subscriptions: Option<Vec<i64>>,
    statuses: Option<Vec<&'static str>>,
    ended_since: Option<Instant>,
    unreadable: Vec<i64>,
    /// Which of the three parts can hold a match.
    parts: Parts,
}

/// `$1` and `$2` are a pair to stay before, `$3` to `$13`, and `$17`, the filter. Subqueries with `OFFSET 0` are asked row by row, so
/// that a walk which ends after a page asks for a page.
macro_rules! of_event {
    ($of:literal) => {
        concat!(
            "($5 OR EXISTS (
                 SELECT
                 FROM event e
                 WHERE e.id = ",
            $of,
            ".event AND e.id BETWEEN $3 AND $4
                   AND ($6 IS NULL OR e.client = $6)
                   AND ($7 IS NULL OR e.type = ANY ($7))
                   AND ($8 IS NULL OR e.campaign = $8)
                   AND ($9 IS NULL OR e.published_at >= $9)
                   AND ($10 IS NULL OR e.published_at < $10)
                 OFFSET 0))"
        )
    };
}

/// An attempt that is how its delivery ended: nothing came after it, and it is not on its way again.
macro_rules! is_the_end {
    () => {
        "a.number = (
             SELECT n.number
             FROM attempt n
             WHERE n.event = a.event AND n.subscription = a.subscription AND n.event BETWEEN $3 AND $4
             ORDER BY coalesce(n.after, n.number) DESC, n.number
             LIMIT 1)
         AND NOT EXISTS (
             SELECT FROM delivery d WHERE d.event = a.event AND d.subscription = a.subscription OFFSET 0)
         AND ($11 IS NULL OR a.subscription = ANY ($11))
         AND ($12 IS NULL OR a.ended = ANY ($12))
         AND ($17 IS NULL OR a.at >= $17)"
    };
}

macro_rules! is_undelivered {
    () => {
        "ended IN ('dead', 'expired', 'refused', 'cancelled')"
    };
}

/// Three parts, each in the order of an index, and each skipped whole when no status that is asked for lies in it.
macro_rules! unfinished {
    () => {
        concat!(
            "SELECT d.event AS event, d.subscription AS subscription
             FROM delivery d
             WHERE $14 AND (d.event, d.subscription) < ($1, $2) AND d.event BETWEEN $3 AND $4
               AND ($11 IS NULL OR d.subscription = ANY ($11))
               AND ($12 IS NULL OR
                    CASE WHEN EXISTS (SELECT FROM event e
                                      WHERE e.id = d.event AND e.expires_at <= clock_timestamp() OFFSET 0) THEN 'expired'
                         WHEN d.lane IN (1, 2)
                              OR EXISTS (SELECT FROM delivery k
                                         WHERE k.subscription = d.subscription AND k.lane = 2
                                           AND k.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT FROM subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END)
                              OR d.subscription IN (SELECT subscription FROM subscription_state)
                            OR EXISTS (SELECT FROM subscription_health h
                                       WHERE h.subscription = d.subscription AND h.condition = 'open')
                              OR d.subscription = ANY ($13) THEN 'held'
                         WHEN d.tries > 0 THEN 'retrying'
                         ELSE 'pending' END = ANY ($12))
               AND ",
            of_event!("d")
        )
    };
}

macro_rules! undelivered {
    () => {
        concat!(
            "SELECT a.event AS event, a.subscription AS subscription
             FROM attempt a
             WHERE $15 AND a.",
            is_undelivered!(),
            " AND (a.event, a.subscription) < ($1, $2) AND a.event BETWEEN $3 AND $4
              AND ",
            is_the_end!(),
            " AND ",
            of_event!("a")
        )
    };
}

macro_rules! delivered {
    () => {
        concat!(
            "SELECT a.event AS event, a.subscription AS subscription
             FROM attempt a
             WHERE $16 AND a.ended = 'delivered'
               AND (a.event, a.subscription) < ($1, $2) AND a.event BETWEEN $3 AND $4
               AND ",
            is_the_end!(),
            " AND ",
            of_event!("a")
        )
    };
}

macro_rules! page {
    () => {
        " ORDER BY event DESC, subscription DESC LIMIT $18"
    };
}

pub(super) const NEWEST_FIRST: &str = concat!(
    "(",
    unfinished!(),
    page!(),
    ") UNION ALL (",
    undelivered!(),
    page!(),
    ") UNION ALL (",
    delivered!(),
    page!(),
    ")",
    page!()
);

/// The newest of the events at which one of the parts has been looked at for so many rows (`$8`), where there are so many.
pub(super) const FRONTIER: &str = concat!(
    "(SELECT event
      FROM delivery
      WHERE $5 AND (event, subscription) < ($1, $2) AND event BETWEEN $3 AND $4
      ORDER BY event DESC, subscription DESC
      LIMIT 1 OFFSET $8 - 1)
     UNION ALL
     (SELECT event
      FROM attempt
      WHERE $6 AND ",
    is_undelivered!(),
    "   AND (event, subscription) < ($1, $2) AND event BETWEEN $3 AND $4
      ORDER BY event DESC, subscription DESC
      LIMIT 1 OFFSET $8 - 1)
     UNION ALL
     (SELECT event
      FROM attempt
      WHERE $7 AND (event, subscription) < ($1, $2) AND event BETWEEN $3 AND $4
      ORDER BY event DESC, subscription DESC
      LIMIT 1 OFFSET $8 - 1)
     ORDER BY event DESC
     LIMIT 1"
);

pub(super) const COUNT: &str = concat!(
    "SELECT count(*) FROM (",
    unfinished!(),
    " UNION ALL ",
    undelivered!(),
    " UNION ALL ",
    delivered!(),
    ") m"
);

/// How many there are for each subscription.
pub(super) const TALLY: &str = concat!(
    "SELECT (SELECT s.id FROM subscription s WHERE s.seq = m.subscription), count(*) FROM (",
    unfinished!(),
    " UNION ALL ",
    undelivered!(),
    " UNION ALL ",
    delivered!(),
    ") m GROUP BY m.subscription ORDER BY 2 DESC, m.subscription"
);

/// The next attempts after a pair (`$1`, `$2`), all of each pair, and whether such a one is an end that matches.
macro_rules! next {
    ($which:expr) => {
        concat!(
            "SELECT a.event, a.subscription, a.ended IS NOT NULL AND ",
            is_the_end!(),
            " AND ",
            of_event!("a"),
            " FROM (
                 SELECT event, subscription, number, ended, at
                 FROM attempt
                 WHERE (event, subscription) > ($1, $2) AND event BETWEEN $3 AND $4",
            $which,
            "    ORDER BY event, subscription
                 FETCH FIRST $18 ROWS WITH TIES) a
             ORDER BY a.event, a.subscription"
        )
    };
}

pub(super) const NEXT: &str = next!("");
pub(super) const NEXT_UNDELIVERED: &str = next!(concat!(" AND ", is_undelivered!()));

pub(super) const NEWEST: &str =
    "SELECT id FROM event WHERE id BETWEEN $1 AND $2 ORDER BY id DESC LIMIT 1";

const BEYOND_ALL: Pair = (Uuid::max(), i64::MAX);

impl Matching {
    /// `unreadable` are the subscriptions that are held because this process cannot read them whole.
    pub(super) async fn of(
        conn: &mut PgConnection,
        filter: &DeliveryFilter,
        unreadable: &[i64],
    ) -> Result<Self, StoreError> {
        let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        Ok(Self {
            within: Ids::of(filter),
            client: filter.client.map(|c| *c.as_uuid()),
            event_types: some(filter.event_type.iter().map(|t| text(t).into_owned())),
            campaign: filter.campaign.as_deref().map(|c| text(c).into_owned()),
            since: filter.since.map(Instant),
            until: filter.until.map(Instant),
            subscriptions: numbers(conn, &filter.subscription).await?,
            statuses: some(words),
            ended_since: filter.ended_since.map(Instant),
            unreadable: unreadable.to_vec(),
            parts: Parts::of(filter),
        })
    }

    /// As far as it was published by this instant.
    pub(super) fn published_by(mut self, instant: Timestamp) -> Self {
        let after = Timestamp::from_millis(instant.as_millis().saturating_add(1));
        if self.until.is_none_or(|Instant(until)| until > after) {
            self.until = Some(Instant(after));
            self.within.last = self.within.last.min(Ids::published(None, Some(after)).last);
        }
        self
    }

    /// At most so many that match, and the event at which the walk ended, if there may be more behind it. It looks at the
    /// newest day first and then at more and more days at once: in old ones there may be nothing for long. Of each of these
    /// it looks at so many rows of each part, and the rest of the last event's; where there are more it ends.
    pub(super) async fn newest_first(
        &self,
        conn: &mut PgConnection,
        after: Option<Cursor>,
        limit: usize,
        looked: usize,
    ) -> Result<(Vec<Pair>, Option<Uuid>), StoreError> {
        let before = after.map_or(BEYOND_ALL, |cursor| cursor.0);
        let within = Ids {
            last: self.within.last.min(before.0),
            ..self.within
        };
        let newest: Option<Uuid> = sqlx::query_scalar(NEWEST)
            .bind(within.first)
            .bind(within.last)
            .fetch_optional(&mut *conn)
            .await?;
        let mut pairs: Vec<Pair> = Vec::new();
        for part in newest.map_or_else(Vec::new, |newest| within.days_before(newest)) {
            let frontier = self.frontier(conn, before, part, looked).await?;
            let part = Ids {
                first: frontier.unwrap_or(part.first),
                ..part
            };
            let missing = limit - pairs.len();
            let found: Vec<Pair> = self
                .bind(sqlx::query_as(NEWEST_FIRST), before, part)
                .bind(i64::try_from(missing).unwrap_or(i64::MAX))
                .fetch_all(&mut *conn)
                .await?;
            pairs.extend(found);
            if frontier.is_some() || pairs.len() >= limit {
                return Ok((pairs, frontier));
            }
        }
        Ok((pairs, None))
    }

    async fn frontier(
        &self,
        conn: &mut PgConnection,
        before: Pair,
        within: Ids,
        looked: usize,
    ) -> Result<Option<Uuid>, StoreError> {
        Ok(sqlx::query_scalar(FRONTIER)
            .bind(before.0)
            .bind(before.1)
            .bind(within.first)
            .bind(within.last)
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .bind(i64::try_from(looked).unwrap_or(i64::MAX))
            .fetch_optional(conn)
            .await?)
    }

    pub(super) async fn count(&self, conn: &mut PgConnection) -> Result<u64, StoreError> {
        let (count,): (i64,) = self
            .bind(sqlx::query_as(COUNT), BEYOND_ALL, self.within)
            .fetch_one(conn)
            .await?;
        Ok(count.unsigned_abs())
    }

    /// Of all that matches, or of the newest, where each part is looked at for so many rows, and the rest of its last
    /// event's.
    pub(super) async fn tally(
        &self,
        conn: &mut PgConnection,
        looked: Option<usize>,
    ) -> Result<Tally, StoreError> {
        let frontier = match looked {
            Some(looked) => self.frontier(conn, BEYOND_ALL, self.within, looked).await?,
            None => None,
        };
        let within = Ids {
            first: frontier.unwrap_or(self.within.first),
            ..self.within
        };
        let rows: Vec<(Uuid, i64)> = self
            .bind(sqlx::query_as(TALLY), BEYOND_ALL, within)
            .fetch_all(conn)
            .await?;
        let one = |(id, count): (Uuid, i64)| (SubscriptionId::from_uuid(id), count.unsigned_abs());
        Ok(Tally {
            counts: rows.into_iter().map(one).collect(),
            may_be_more: frontier.is_some(),
        })
    }

    /// The next attempts after this pair, at least as many as asked for if there are, each with its pair and whether it is
    /// an end that matches.
    pub(super) async fn next(
        &self,
        conn: &mut PgConnection,
        after: Pair,
        limit: u32,
    ) -> Result<Vec<(Uuid, i64, bool)>, StoreError> {
        // What was not delivered is little beside the rest, and has an index of its own.
        let statement = if self.parts.delivered {
            NEXT
        } else {
            NEXT_UNDELIVERED
        };
        Ok(self
            .bind(sqlx::query_as(statement), after, self.within)
            .bind(i64::from(limit))
            .fetch_all(conn)
            .await?)
    }

    fn bind<'q, T>(
        &self,
        query: QueryAs<'q, Postgres, T, PgArguments>,
        (event, subscription): Pair,
        within: Ids,
    ) -> QueryAs<'q, Postgres, T, PgArguments> {
        let any_event = self.client.is_none()
            && self.event_types.is_none()
            && self.campaign.is_none()
            && self.since.is_none()
            && self.until.is_none();
        query
            .bind(event)
            .bind(subscription)
            .bind(within.first)
            .bind(within.last)
            .bind(any_event)
            .bind(self.client)
            .bind(self.event_types.clone())
            .bind(self.campaign.clone())
            .bind(self.since)
            .bind(self.until)
            .bind(self.subscriptions.clone())
            .bind(self.statuses.clone())
            .bind(self.unreadable.clone())
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .bind(self.ended_since)
    }
}

/// When an event was published.
pub(super) async fn published_at(
    conn: &mut PgConnection,
    event: Uuid,
) -> Result<Option<Timestamp>, StoreError> {
    let at = sqlx::query_scalar("SELECT published_at FROM event WHERE id = $1")
        .bind(event)
        .fetch_optional(conn)
        .await?;
    Ok(at.map(|Instant(at)| at))
}

/// The short numbers of these subscriptions, also of removed ones; `None` where there is no such restriction.
pub(super) async fn numbers(
    conn: &mut PgConnection,
    subscriptions: &[SubscriptionId],
) -> Result<Option<Vec<i64>>, StoreError> {
    if subscriptions.is_empty() {
        return Ok(None);
    }
    let ids: Vec<Uuid> = subscriptions.iter().map(|id| *id.as_uuid()).collect();
    let numbers = sqlx::query_scalar("SELECT seq FROM subscription WHERE id = ANY ($1)")
        .bind(ids)
        .fetch_all(conn)
        .await?;
    Ok(Some(numbers))
}

pub(super) fn some<T>(values: impl IntoIterator<Item = T>) -> Option<Vec<T>> {
    Some(values.into_iter().collect()).filter(|values: &Vec<T>| !values.is_empty())
}

/// Events from one id to another, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) first: Uuid,
    pub(super) last: Uuid,
}

/// A UUIDv7 begins with 48 bits of milliseconds.
const INSTANT_AT: u32 = 80;
const DAY: u128 = 86_400_000 << INSTANT_AT;

/// An id is of its publisher's clock, `published_at` of the database's: how far they may be apart.
pub(super) const APART: Duration = Duration::from_secs(60 * 60);

impl Ids {
    /// Which events can match at all: one, or those of a time.
    pub(super) fn of(filter: &DeliveryFilter) -> Self {
        match filter.event {
            Some(event) => Self {
                first: *event.as_uuid(),
                last: *event.as_uuid(),
            },
            None => Self::published(filter.since, filter.until),
        }
    }

    fn published(since: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        Self {
            first: since.map_or(Uuid::nil(), |since| first_at((since - APART).as_millis())),
            last: until.map_or(Uuid::max(), |until| {
                before(first_at((until + APART).as_millis()))
            }),
        }
    }

    /// These in parts, the newest first: a day, then eight times as many days as in the part before.
    fn days_before(self, newest: Uuid) -> Vec<Self> {
        let mut parts = Vec::new();
        let (mut last, mut begin, mut length) = (self.last, newest, DAY);
        loop {
            let first = Uuid::from_u128(begin.as_u128().saturating_sub(length)).max(self.first);
            parts.push(Self { first, last });
            if first == self.first {
                return parts;
            }
            (last, begin, length) = (before(first), first, length.saturating_mul(8));
        }
    }
}

/// The first id of an instant.
pub(super) fn first_at(millis: i64) -> Uuid {
    let millis = u128::try_from(millis).unwrap_or(0);
    Uuid::from_u128(millis.min(u128::MAX >> INSTANT_AT) << INSTANT_AT)
}

fn before(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128().saturating_sub(1))
}

/// Up to where a page goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(Pair);

impl Cursor {
    pub(super) fn at(pair: Pair) -> Self {
        Self(pair)
    }

    /// All of this event has been looked at: numbers of subscriptions begin with 1.
    pub(super) fn behind(event: Uuid) -> Self {
        Self((event, 0))
    }

    pub(super) fn to_text(self, filter: &DeliveryFilter) -> String {
        let (event, subscription) = self.0;
        seal_cursor(filter, &format!("{}{subscription:016x}", event.simple()))
    }

    /// # Errors
    /// `bad_cursor` for what [`Self::to_text`] did not write for this very filter.
    pub(super) fn parse(filter: &DeliveryFilter, text: &str) -> Result<Self, Invalid> {
        let (event, subscription) = open_cursor(filter, text)?
            .split_at_checked(32)
            .ok_or_else(bad_cursor)?;
        Ok(Self((
            Uuid::try_parse(event).map_err(|_| bad_cursor())?,
            i64::from_str_radix(subscription, 16).map_err(|_| bad_cursor())?,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_700_000_000_000;

    fn id(millis: i64, rest: u128) -> Uuid {
        Uuid::from_u128(first_at(millis).as_u128() | rest)
    }

    fn published(since: Option<i64>, until: Option<i64>) -> Ids {
        Ids::published(
            since.map(Timestamp::from_millis),
            until.map(Timestamp::from_millis),
        )
    }

    #[test]
    fn times_bound_ids_an_hour_wider() {
        let ids = published(Some(NOW), Some(NOW + 1));
        assert_eq!(ids.first, id(NOW - HOUR, 0));
        assert_eq!(ids.last, id(NOW + HOUR, (1 << INSTANT_AT) - 1));
        assert_eq!(
            published(None, None),
            Ids {
                first: Uuid::nil(),
                last: Uuid::max()
            }
        );
        for beyond in [i64::MIN, -1, 0] {
            assert_eq!(published(Some(beyond), None).first, Uuid::nil());
        }
        let never = published(Some(i64::MAX), Some(i64::MIN));
        assert!(never.first > never.last);
    }

    #[test]
    fn parts_follow_on_each_other_and_leave_nothing_out() {
        for (ids, newest) in [
            (published(None, None), id(NOW, 77)),
            (published(None, None), Uuid::max()),
            (published(None, None), Uuid::nil()),
            (
                published(Some(NOW), Some(NOW + 99 * HOUR)),
                id(NOW + HOUR, 5),
            ),
            (
                published(Some(NOW), Some(NOW + 99 * HOUR)),
                id(NOW + 98 * HOUR, 5),
            ),
        ] {
            let parts = ids.days_before(newest);
            assert_eq!(parts.first().map(|part| part.last), Some(ids.last));
            assert_eq!(parts.last().map(|part| part.first), Some(ids.first));
            assert!(parts.iter().all(|part| part.first <= part.last));
            assert!(
                parts
                    .windows(2)
                    .all(|two| two[1].last == before(two[0].first))
            );
            assert!(parts.len() < 12, "{} parts", parts.len());
        }
        let parts = published(None, None).days_before(id(NOW, 0));
        assert_eq!(parts[0].first, id(NOW - 24 * HOUR, 0));
        assert_eq!(parts[1].first, id(NOW - 9 * 24 * HOUR, 0));
    }

    #[test]
    fn a_cursor_comes_back_for_its_own_list_alone() {
        let filter = DeliveryFilter::default();
        let other = DeliveryFilter {
            campaign: Some("spring".to_owned()),
            ..DeliveryFilter::default()
        };
        let text = Cursor::at((id(NOW, 7), i64::MAX)).to_text(&filter);
        assert_eq!(
            Cursor::parse(&filter, &text).map(|c| c.0),
            Ok((id(NOW, 7), i64::MAX))
        );
        assert_eq!(
            Cursor::parse(&other, &text)
                .map(|c| c.0)
                .map_err(|e| e.code),
            Err("bad_cursor")
        );
    }
}

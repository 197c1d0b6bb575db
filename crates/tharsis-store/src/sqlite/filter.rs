//! Which deliveries: the filter of lists, counts and replays as SQL, and the cursor of lists.

use serde::Serialize;
use sqlx::{Sqlite, SqliteConnection, query::QueryAs, sqlite::SqliteArguments};
use tharsis_core::{Invalid, SubscriptionId, Timestamp};

use super::value::{Id, Millis, blob, hex, json};
use crate::{
    DeliveryFilter, StoreError, Tally,
    filter::{Parts, bad_cursor, open_cursor, seal_cursor},
};

/// A delivery by the numbers of its event and its subscription.
pub(super) type Pair = (i64, i64);

/// A filter with its names resolved, ready to be bound.
pub(super) struct Matching {
    /// No event outside of these can match.
    within: Pair,
    client: Option<Vec<u8>>,
    event_types: Option<String>,
    campaign: Option<String>,
    since: Option<i64>,
    until: Option<i64>,
    subscriptions: Option<String>,
    statuses: Option<String>,
    ended_since: Option<i64>,
    unreadable: String,
    /// Which of the three parts can hold a match.
    parts: Parts,
}

/// `?1` and `?2` are a pair to stay before, `?3` to `?13` the filter.
macro_rules! of_event {
    () => {
        "e.seq BETWEEN ?3 AND ?4
         AND (?5 IS NULL OR e.client = ?5)
         AND (?6 IS NULL OR e.type IN (SELECT value FROM json_each(?6)))
         AND (?7 IS NULL OR e.campaign = ?7)
         AND (?8 IS NULL OR e.published_at >= ?8)
         AND (?9 IS NULL OR e.published_at < ?9)"
    };
}

/// An attempt that is how its delivery ended: nothing came after it, and it is not on its way again.
macro_rules! is_the_end {
    () => {
        "a.number = (
             SELECT number
             FROM tharsis_attempt
             WHERE event = a.event AND subscription = a.subscription
             ORDER BY coalesce(after, number) DESC, number
             LIMIT 1)
         AND NOT EXISTS (
             SELECT 1 FROM tharsis_delivery d WHERE d.event = a.event AND d.subscription = a.subscription)
         AND (?10 IS NULL OR a.subscription IN (SELECT value FROM json_each(?10)))
         AND (?11 IS NULL OR a.ended IN (SELECT value FROM json_each(?11)))
         AND (?13 IS NULL OR a.at >= ?13)"
    };
}

/// Three parts, each in the order of an index, and each skipped whole when no status that is asked for lies in it.
macro_rules! pairs {
    () => {
        concat!(
            "SELECT d.event AS event, d.subscription AS subscription
             FROM tharsis_delivery d INDEXED BY tharsis_delivery_pair
             CROSS JOIN tharsis_event e ON e.seq = d.event
             WHERE ?14 AND (d.event, d.subscription) < (?1, ?2) AND d.event BETWEEN ?3 AND ?4 AND ",
            of_event!(),
            " AND (?10 IS NULL OR d.subscription IN (SELECT value FROM json_each(?10)))
             AND (?11 IS NULL OR
                  CASE WHEN e.expires_at <= CAST(round(unixepoch('subsec') * 1000) AS INTEGER) THEN 'expired'
                       WHEN d.lane IN (1, 2)
                              OR EXISTS (SELECT 1 FROM tharsis_delivery k
                                         WHERE k.subscription = d.subscription AND k.lane = 2
                                           AND k.order_key = CASE
                                   WHEN d.lane > 0 THEN d.order_key
                                   WHEN EXISTS (SELECT 1 FROM tharsis_subscription o
                                                WHERE o.seq = d.subscription AND o.order_by = 'strict') THEN 0
                               END)
                            OR d.subscription IN (SELECT subscription FROM tharsis_subscription_state)
                            OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                                       WHERE h.subscription = d.subscription AND h.condition = 'open')
                            OR d.subscription IN (SELECT value FROM json_each(?12)) THEN 'held'
                       WHEN d.tries > 0 THEN 'retrying'
                       ELSE 'pending' END
                  IN (SELECT value FROM json_each(?11)))
             UNION ALL
             SELECT a.event, a.subscription
             FROM tharsis_attempt a INDEXED BY tharsis_attempt_undelivered
             CROSS JOIN tharsis_event e ON e.seq = a.event
             WHERE ?15 AND a.ended IN ('dead', 'expired', 'refused', 'cancelled')
               AND (a.event, a.subscription) < (?1, ?2) AND a.event BETWEEN ?3 AND ?4 AND ",
            of_event!(),
            " AND ",
            is_the_end!(),
            " UNION ALL
             SELECT a.event, a.subscription
             FROM tharsis_attempt a
             CROSS JOIN tharsis_event e ON e.seq = a.event
             WHERE ?16 AND a.ended = 'delivered'
               AND (a.event, a.subscription) < (?1, ?2) AND a.event BETWEEN ?3 AND ?4 AND ",
            of_event!(),
            " AND ",
            is_the_end!(),
        )
    };
}

pub(super) const NEWEST_FIRST: &str = concat!(
    pairs!(),
    " ORDER BY event DESC, subscription DESC LIMIT ?17"
);

/// The newest of the events at which one of the parts has been looked at for so many rows (`?8`), where there are so many.
pub(super) const FRONTIER: &str = "
    SELECT max(event)
    FROM (
        SELECT (SELECT event FROM tharsis_delivery INDEXED BY tharsis_delivery_pair
                WHERE ?5 AND (event, subscription) < (?1, ?2) AND event BETWEEN ?3 AND ?4
                ORDER BY event DESC, subscription DESC
                LIMIT 1 OFFSET ?8 - 1) AS event
        UNION ALL
        SELECT (SELECT event FROM tharsis_attempt INDEXED BY tharsis_attempt_undelivered
                WHERE ?6 AND ended IN ('dead', 'expired', 'refused', 'cancelled')
                  AND (event, subscription) < (?1, ?2) AND event BETWEEN ?3 AND ?4
                ORDER BY event DESC, subscription DESC
                LIMIT 1 OFFSET ?8 - 1)
        UNION ALL
        SELECT (SELECT event FROM tharsis_attempt
                WHERE ?7 AND (event, subscription) < (?1, ?2) AND event BETWEEN ?3 AND ?4
                ORDER BY event DESC, subscription DESC
                LIMIT 1 OFFSET ?8 - 1))";

pub(super) const COUNT: &str = concat!("SELECT count(*) FROM (", pairs!(), ")");

/// How many there are for each subscription.
pub(super) const TALLY: &str = concat!(
    "SELECT (SELECT s.id FROM tharsis_subscription s WHERE s.seq = m.subscription), count(*)
     FROM (",
    pairs!(),
    ") m GROUP BY m.subscription ORDER BY 2 DESC, m.subscription"
);

/// Those that have ended, after one pair (`?14`, `?15`) and before another.
pub(super) const ENDED_BETWEEN: &str = concat!(
    "SELECT a.event, a.subscription
     FROM tharsis_attempt a
     CROSS JOIN tharsis_event e ON e.seq = a.event
     WHERE a.ended IS NOT NULL
       AND (a.event, a.subscription) > (?14, ?15) AND (a.event, a.subscription) <= (?1, ?2) AND ",
    of_event!(),
    " AND ",
    is_the_end!(),
    " AND ?12 IS NOT NULL"
);

const BEYOND_ALL: Pair = (i64::MAX, i64::MAX);

/// Bounds that nothing lies in.
const NONE: Pair = (i64::MAX, i64::MIN);

impl Matching {
    /// `unreadable` are the subscriptions that are held because this process cannot read them whole.
    pub(super) async fn of(
        conn: &mut SqliteConnection,
        filter: &DeliveryFilter,
        unreadable: &[i64],
    ) -> Result<Self, StoreError> {
        let bounds = bounds(conn, filter).await?;
        Self::within(conn, filter, bounds, unreadable).await
    }

    /// As [`Self::of`], where no event outside of `bounds` is looked at.
    pub(super) async fn within(
        conn: &mut SqliteConnection,
        filter: &DeliveryFilter,
        bounds: Pair,
        unreadable: &[i64],
    ) -> Result<Self, StoreError> {
        let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        Ok(Self {
            within: bounds,
            client: filter.client.map(|c| blob(c.as_uuid())),
            event_types: some_json(&filter.event_type)?,
            campaign: filter.campaign.clone(),
            since: filter.since.map(Timestamp::as_millis),
            until: filter.until.map(Timestamp::as_millis),
            subscriptions: numbers(conn, &filter.subscription).await?,
            statuses: some_json(&words)?,
            ended_since: filter.ended_since.map(Timestamp::as_millis),
            unreadable: json(&unreadable)?,
            parts: Parts::of(filter),
        })
    }

    /// At most so many that match, where each part is looked at for so many rows, and the rest of its last event's. With
    /// them comes the event at which that ended, if there may be more behind it.
    pub(super) async fn newest_first(
        &self,
        conn: &mut SqliteConnection,
        after: Option<Cursor>,
        limit: usize,
        looked: usize,
    ) -> Result<(Vec<Pair>, Option<i64>), StoreError> {
        let before = after.map_or(BEYOND_ALL, |cursor| cursor.0);
        let (first, last) = (self.within.0, self.within.1.min(before.0));
        let frontier = self.frontier(conn, before, (first, last), looked).await?;
        let within = (frontier.unwrap_or(first), last);
        let pairs = self
            .bind(sqlx::query_as(NEWEST_FIRST), before, within)
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(conn)
            .await?;
        Ok((pairs, frontier))
    }

    async fn frontier(
        &self,
        conn: &mut SqliteConnection,
        before: Pair,
        (first, last): Pair,
        looked: usize,
    ) -> Result<Option<i64>, StoreError> {
        Ok(sqlx::query_scalar(FRONTIER)
            .bind(before.0)
            .bind(before.1)
            .bind(first)
            .bind(last)
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .bind(i64::try_from(looked).unwrap_or(i64::MAX))
            .fetch_one(conn)
            .await?)
    }

    pub(super) async fn count(&self, conn: &mut SqliteConnection) -> Result<u64, StoreError> {
        let (count,) = self
            .bind(sqlx::query_as(COUNT), BEYOND_ALL, self.within)
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .fetch_one(conn)
            .await?;
        Ok(count)
    }

    /// Of all that matches, or of the newest, where each part is looked at for so many rows, and the rest of its last
    /// event's.
    pub(super) async fn tally(
        &self,
        conn: &mut SqliteConnection,
        looked: Option<usize>,
    ) -> Result<Tally, StoreError> {
        let frontier = match looked {
            Some(looked) => self.frontier(conn, BEYOND_ALL, self.within, looked).await?,
            None => None,
        };
        let (first, last) = self.within;
        let within = (frontier.unwrap_or(first), last);
        let rows: Vec<(Id, u64)> = self
            .bind(sqlx::query_as(TALLY), BEYOND_ALL, within)
            .bind(self.parts.unfinished)
            .bind(self.parts.undelivered)
            .bind(self.parts.delivered)
            .fetch_all(conn)
            .await?;
        let one = |(Id(id), count)| (SubscriptionId::from_uuid(id), count);
        Ok(Tally {
            counts: rows.into_iter().map(one).collect(),
            may_be_more: frontier.is_some(),
        })
    }

    /// Those that have ended, after the one pair up to the other.
    pub(super) async fn ended_between(
        &self,
        conn: &mut SqliteConnection,
        after: Pair,
        to: Pair,
    ) -> Result<Vec<Pair>, StoreError> {
        Ok(self
            .bind(sqlx::query_as(ENDED_BETWEEN), to, self.within)
            .bind(after.0)
            .bind(after.1)
            .fetch_all(conn)
            .await?)
    }

    fn bind<'q, T>(
        &self,
        query: QueryAs<'q, Sqlite, T, SqliteArguments>,
        (event, subscription): Pair,
        (first, last): Pair,
    ) -> QueryAs<'q, Sqlite, T, SqliteArguments> {
        query
            .bind(event)
            .bind(subscription)
            .bind(first)
            .bind(last)
            .bind(self.client.clone())
            .bind(self.event_types.clone())
            .bind(self.campaign.clone())
            .bind(self.since)
            .bind(self.until)
            .bind(self.subscriptions.clone())
            .bind(self.statuses.clone())
            .bind(self.unreadable.clone())
            .bind(self.ended_since)
    }
}

/// Clocks step back now and then, so what is first by time need not be first by number: by how much, in milliseconds.
const APART: i64 = 3_600_000;

/// The first by number of those that were published at or after `?1`. It is among the first of them by time.
pub(super) const FIRST_SINCE: &str = "
    SELECT min(seq)
    FROM tharsis_event INDEXED BY tharsis_event_published
    WHERE published_at >= ?1
      AND published_at <= ?2 + (SELECT min(published_at) FROM tharsis_event WHERE published_at >= ?1)";

/// The last by number of those that were published before `?1`.
pub(super) const LAST_BEFORE: &str = "
    SELECT max(seq)
    FROM tharsis_event INDEXED BY tharsis_event_published
    WHERE published_at < ?1
      AND published_at >= (SELECT max(published_at) FROM tharsis_event WHERE published_at < ?1) - ?2";

/// Which events can match at all: one, or those of a time, as far as clocks step back no further than people know.
pub(super) async fn bounds(
    conn: &mut SqliteConnection,
    filter: &DeliveryFilter,
) -> Result<Pair, StoreError> {
    within(conn, filter, APART).await
}

/// The same, however far they stepped back. It looks at all events since then.
pub(super) async fn exact_bounds(
    conn: &mut SqliteConnection,
    filter: &DeliveryFilter,
) -> Result<Pair, StoreError> {
    const ANY: i64 = 1 << 50;
    within(conn, filter, ANY).await
}

async fn within(
    conn: &mut SqliteConnection,
    filter: &DeliveryFilter,
    apart: i64,
) -> Result<Pair, StoreError> {
    if let Some(event) = filter.event {
        let seq: Option<i64> = sqlx::query_scalar("SELECT seq FROM tharsis_event WHERE id = ?1")
            .bind(blob(event.as_uuid()))
            .fetch_optional(conn)
            .await?;
        return Ok(seq.map_or(NONE, |seq| (seq, seq)));
    }
    let first = match filter.since {
        Some(since) => bound(conn, FIRST_SINCE, since, apart).await?,
        None => Some(i64::MIN),
    };
    let last = match filter.until {
        Some(until) => bound(conn, LAST_BEFORE, until, apart).await?,
        None => Some(i64::MAX),
    };
    Ok(first.zip(last).unwrap_or(NONE))
}

async fn bound(
    conn: &mut SqliteConnection,
    statement: &'static str,
    instant: Timestamp,
    apart: i64,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(statement)
        .bind(instant.as_millis())
        .bind(apart)
        .fetch_one(conn)
        .await?)
}

/// When an event was published.
pub(super) async fn published_at(
    conn: &mut SqliteConnection,
    event: i64,
) -> Result<Option<Timestamp>, StoreError> {
    let at = sqlx::query_scalar("SELECT published_at FROM tharsis_event WHERE seq = ?1")
        .bind(event)
        .fetch_optional(conn)
        .await?;
    Ok(at.map(|Millis(at)| at))
}

/// The short numbers of these subscriptions, also of removed ones; `None` where there is no such restriction.
pub(super) async fn numbers(
    conn: &mut SqliteConnection,
    subscriptions: &[SubscriptionId],
) -> Result<Option<String>, StoreError> {
    if subscriptions.is_empty() {
        return Ok(None);
    }
    let ids: Vec<String> = subscriptions
        .iter()
        .map(|id| hex(id.as_uuid().as_bytes()))
        .collect();
    let numbers: Vec<i64> = sqlx::query_scalar(
        "SELECT s.seq
         FROM jsonb_each(?1) r
         CROSS JOIN tharsis_subscription s ON s.id = unhex(r.value)",
    )
    .bind(json(&ids)?)
    .fetch_all(conn)
    .await?;
    json(&numbers).map(Some)
}

pub(super) fn some_json<T: Serialize>(values: &[T]) -> Result<Option<String>, StoreError> {
    (!values.is_empty()).then(|| json(&values)).transpose()
}

/// Up to where a page goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor(Pair);

impl Cursor {
    pub(super) fn at(pair: Pair) -> Self {
        Self(pair)
    }

    /// All of this event has been looked at: numbers of subscriptions begin with 1.
    pub(super) fn behind(event: i64) -> Self {
        Self((event, 0))
    }

    pub(super) fn to_text(self, filter: &DeliveryFilter) -> String {
        let (event, subscription) = self.0;
        seal_cursor(filter, &format!("{event:016x}{subscription:016x}"))
    }

    /// # Errors
    /// `bad_cursor` for what [`Self::to_text`] did not write for this very filter.
    pub(super) fn parse(filter: &DeliveryFilter, text: &str) -> Result<Self, Invalid> {
        let (event, subscription) = open_cursor(filter, text)?
            .split_at_checked(16)
            .ok_or_else(bad_cursor)?;
        let number = |text| i64::from_str_radix(text, 16).map_err(|_| bad_cursor());
        Ok(Self((number(event)?, number(subscription)?)))
    }
}

#[cfg(test)]
mod tests {
    use tharsis_core::delivery::End;

    use super::*;
    use crate::{Status, fuzz};

    /// A cursor from outside, of one filter: it is one that we wrote, or refused. And whatever was sealed as one, by
    /// somebody who reads this file, is read without a panic.
    fn cursor(bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        let filter = DeliveryFilter {
            status: vec![Status::Ended(End::Dead)],
            ..DeliveryFilter::default()
        };
        match Cursor::parse(&filter, &text) {
            Err(refused) => assert_eq!(refused.code, "bad_cursor"),
            Ok(cursor) => assert_eq!(cursor.to_text(&filter), text),
        }
        assert!(Cursor::parse(&DeliveryFilter::default(), &text).is_err());
        let _ = Cursor::parse(&filter, &seal_cursor(&filter, &text));
    }

    #[test]
    fn fuzz_cursor() {
        let filter = DeliveryFilter {
            status: vec![Status::Ended(End::Dead)],
            ..DeliveryFilter::default()
        };
        let samples = [(7, 1), (i64::MAX, 0)].map(|pair| Cursor(pair).to_text(&filter));
        let mut samples: Vec<&[u8]> = samples.iter().map(|text| text.as_bytes()).collect();
        samples.push(b"00000000000000070000000000000001");
        fuzz::run("cursor", &samples, cursor);
    }
}

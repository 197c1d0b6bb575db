//! What was settled lately, for those who follow it.

use sqlx::{
    FromRow as _, Row as _, Sqlite, SqliteConnection,
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};
use tharsis_core::{ClientId, DeliveryId, EventId, SubscriptionId, Timestamp};

use super::{
    SqliteStore,
    filter::{numbers, some_json},
    history::AttemptRow,
    value::{Id, blob, count},
};
use crate::{DeliveryFilter, Settled, SettledAttempt, StoreError, registry::begun_before};

/// So many attempts of the newest events are looked at: those of some seconds, however much is delivered.
const LOOKED: i64 = 10_000;

/// Those that began at or after `?1` and were settled at or after `?2`: of the newest `?12` by key, and of what is not plain.
macro_rules! settled {
    () => {
        "FROM (
             SELECT event, subscription, number
             FROM (SELECT event, subscription, number, at, duration_us
                   FROM tharsis_attempt
                   ORDER BY event DESC, subscription DESC, number DESC
                   LIMIT ?12)
             WHERE at >= ?1 AND at + duration_us / 1000 >= ?2
             UNION
             SELECT event, subscription, number
             FROM tharsis_attempt INDEXED BY tharsis_attempt_notable
             WHERE (number <> 1 OR ended IS NOT 'delivered')
               AND at >= ?1 AND at + duration_us / 1000 >= ?2) k
         CROSS JOIN tharsis_attempt a
             ON a.event = k.event AND a.subscription = k.subscription AND a.number = k.number
         CROSS JOIN tharsis_event e ON e.seq = k.event
         CROSS JOIN tharsis_subscription s ON s.seq = k.subscription
         WHERE (?3 IS NULL OR e.client = ?3)
           AND (?4 IS NULL OR e.type IN (SELECT value FROM json_each(?4)))
           AND (?5 IS NULL OR e.campaign = ?5)
           AND (?6 IS NULL OR e.id = ?6)
           AND (?7 IS NULL OR e.published_at >= ?7)
           AND (?8 IS NULL OR e.published_at < ?8)
           AND (?9 IS NULL OR a.subscription IN (SELECT value FROM json_each(?9)))
           AND (?10 IS NULL OR coalesce(a.ended, 'retrying') IN (SELECT value FROM json_each(?10)))
           AND (?11 IS NULL OR a.at >= ?11)"
    };
}

pub(super) const SETTLED: &str = concat!(
    "SELECT a.number, a.at, a.duration_us, a.code, a.status, a.excerpt, a.detail, a.ended, a.due_at,
            e.id, s.id, e.type, e.client, e.campaign, s.name ",
    settled!(),
    " ORDER BY a.at + a.duration_us / 1000 DESC, a.event DESC, a.subscription DESC, a.number DESC
      LIMIT ?13"
);

pub(super) const COUNT: &str = concat!("SELECT count(*) ", settled!());

pub(super) async fn settled(
    store: &SqliteStore,
    filter: &DeliveryFilter,
    since: Timestamp,
    limit: u32,
) -> Result<Settled, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let wanted = Wanted::of(&mut read, filter, since).await?;
    let rows = wanted
        .bind(sqlx::query(SETTLED))
        .bind(i64::from(limit))
        .fetch_all(&mut *read)
        .await?;
    let items: Vec<SettledAttempt> = rows.iter().rev().map(item).collect::<Result<_, _>>()?;
    let found = count(items.iter());
    let left_out = if found < u64::from(limit) {
        0
    } else {
        let row = wanted
            .bind(sqlx::query(COUNT))
            .fetch_one(&mut *read)
            .await?;
        row.try_get::<u64, _>(0)?.saturating_sub(found)
    };
    Ok(Settled { items, left_out })
}

/// What is asked for, ready to be bound.
struct Wanted {
    begun_since: i64,
    since: i64,
    client: Option<Vec<u8>>,
    event_types: Option<String>,
    campaign: Option<String>,
    event: Option<Vec<u8>>,
    published_since: Option<i64>,
    published_until: Option<i64>,
    subscriptions: Option<String>,
    statuses: Option<String>,
    ended_since: Option<i64>,
}

impl Wanted {
    async fn of(
        conn: &mut SqliteConnection,
        filter: &DeliveryFilter,
        since: Timestamp,
    ) -> Result<Self, StoreError> {
        let longest: i64 =
            sqlx::query_scalar("SELECT coalesce(max(timeout_ms), 0) FROM tharsis_subscription")
                .fetch_one(&mut *conn)
                .await?;
        let words: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        Ok(Self {
            begun_since: (since - begun_before(longest)).as_millis(),
            since: since.as_millis(),
            client: filter.client.map(|id| blob(id.as_uuid())),
            event_types: some_json(&filter.event_type)?,
            campaign: filter.campaign.clone(),
            event: filter.event.map(|id| blob(id.as_uuid())),
            published_since: filter.since.map(Timestamp::as_millis),
            published_until: filter.until.map(Timestamp::as_millis),
            subscriptions: numbers(conn, &filter.subscription).await?,
            statuses: some_json(&words)?,
            ended_since: filter.ended_since.map(Timestamp::as_millis),
        })
    }

    fn bind<'q>(
        &self,
        query: Query<'q, Sqlite, SqliteArguments>,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        query
            .bind(self.begun_since)
            .bind(self.since)
            .bind(self.client.clone())
            .bind(self.event_types.clone())
            .bind(self.campaign.clone())
            .bind(self.event.clone())
            .bind(self.published_since)
            .bind(self.published_until)
            .bind(self.subscriptions.clone())
            .bind(self.statuses.clone())
            .bind(self.ended_since)
            .bind(LOOKED)
    }
}

fn item(row: &SqliteRow) -> Result<SettledAttempt, sqlx::Error> {
    let AttemptRow(record) = AttemptRow::from_row(row)?;
    let Id(event) = row.try_get(9)?;
    let Id(subscription) = row.try_get(10)?;
    let Id(client) = row.try_get(12)?;
    Ok(SettledAttempt {
        id: DeliveryId {
            event: EventId::from_uuid(event),
            subscription: SubscriptionId::from_uuid(subscription),
        },
        event_type: row.try_get(11)?,
        client: ClientId::from_uuid(client),
        campaign: row.try_get(13)?,
        subscription_name: row.try_get(14)?,
        record,
    })
}

//! What was settled lately, for those who follow it.

use sqlx::{
    FromRow as _, PgConnection, Postgres, Row as _,
    postgres::{PgArguments, PgRow},
    query::Query,
};
use tharsis_core::{ClientId, DeliveryId, EventId, SubscriptionId, Timestamp};
use uuid::Uuid;

use super::{
    PostgresStore,
    connect::Write,
    filter::{numbers, some},
    history::{AttemptRow, look},
    value::{Instant, text},
};
use crate::{DeliveryFilter, Settled, SettledAttempt, StoreError, registry::begun_before};

/// Those that began at or after `$1` and were settled at or after `$2`. They lie in a few ranges of each day's pages.
macro_rules! settled {
    () => {
        "FROM (
             SELECT *, at + duration_us * interval '1 microsecond' AS settled_at
             FROM attempt
             WHERE at >= $1 AND at + duration_us * interval '1 microsecond' >= $2
               AND ($6 IS NULL OR event = $6)
               AND ($9 IS NULL OR subscription = ANY ($9))
               AND ($10 IS NULL OR coalesce(ended, 'retrying') = ANY ($10))
               AND ($11 IS NULL OR at >= $11)) a
         CROSS JOIN LATERAL (SELECT * FROM event WHERE id = a.event OFFSET 0) e
         CROSS JOIN LATERAL (SELECT * FROM subscription WHERE seq = a.subscription OFFSET 0) s
         WHERE ($3 IS NULL OR e.client = $3)
           AND ($4 IS NULL OR e.type = ANY ($4))
           AND ($5 IS NULL OR e.campaign = $5)
           AND ($7 IS NULL OR e.published_at >= $7)
           AND ($8 IS NULL OR e.published_at < $8)"
    };
}

pub(super) const SETTLED: &str = concat!(
    "SELECT a.number, a.at, a.duration_us, a.code, a.status, a.excerpt, a.detail, a.ended, a.due_at,
            e.id, s.id, e.type, e.client, e.campaign, s.name ",
    settled!(),
    " ORDER BY a.settled_at DESC, a.event DESC, a.subscription DESC, a.number DESC
      LIMIT $12"
);

const COUNT: &str = concat!("SELECT count(*) ", settled!());

pub(super) async fn settled(
    store: &PostgresStore,
    filter: &DeliveryFilter,
    since: Timestamp,
    limit: u32,
) -> Result<Settled, StoreError> {
    let mut read = look_by_ranges(store).await?;
    let wanted = Wanted::of(&mut read, filter, since).await?;
    let rows = wanted
        .bind(sqlx::query(SETTLED))
        .bind(i64::from(limit))
        .fetch_all(&mut *read)
        .await?;
    let items: Vec<SettledAttempt> = rows.iter().rev().map(item).collect::<Result<_, _>>()?;
    let found = u64::try_from(items.len()).unwrap_or(u64::MAX);
    let left_out = if found < u64::from(limit) {
        0
    } else {
        let row = wanted
            .bind(sqlx::query(COUNT))
            .fetch_one(&mut *read)
            .await?;
        row.try_get::<i64, _>(0)?
            .unsigned_abs()
            .saturating_sub(found)
    };
    read.roll_back().await?;
    Ok(Settled { items, left_out })
}

/// A look at one moment that goes by ranges of pages, and by no plan that was made when there was nothing in them.
async fn look_by_ranges(store: &PostgresStore) -> Result<Write, StoreError> {
    let mut read = look(store).await?;
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_indexscan', 'off', true),
                set_config('plan_cache_mode', 'force_custom_plan', true)",
    )
    .execute(&mut *read)
    .await?;
    Ok(read)
}

/// What is asked for, ready to be bound.
struct Wanted {
    begun_since: Instant,
    since: Instant,
    client: Option<Uuid>,
    event_types: Option<Vec<String>>,
    campaign: Option<String>,
    event: Option<Uuid>,
    published_since: Option<Instant>,
    published_until: Option<Instant>,
    subscriptions: Option<Vec<i64>>,
    statuses: Option<Vec<&'static str>>,
    ended_since: Option<Instant>,
}

impl Wanted {
    async fn of(
        conn: &mut PgConnection,
        filter: &DeliveryFilter,
        since: Timestamp,
    ) -> Result<Self, StoreError> {
        let longest: i64 =
            sqlx::query_scalar("SELECT coalesce(max(timeout_ms), 0) FROM subscription")
                .fetch_one(&mut *conn)
                .await?;
        Ok(Self {
            begun_since: Instant(since - begun_before(longest)),
            since: Instant(since),
            client: filter.client.map(|id| *id.as_uuid()),
            event_types: some(filter.event_type.iter().map(|t| text(t).into_owned())),
            campaign: filter.campaign.as_deref().map(|c| text(c).into_owned()),
            event: filter.event.map(|id| *id.as_uuid()),
            published_since: filter.since.map(Instant),
            published_until: filter.until.map(Instant),
            subscriptions: numbers(conn, &filter.subscription).await?,
            statuses: some(filter.status.iter().map(|status| status.as_str())),
            ended_since: filter.ended_since.map(Instant),
        })
    }

    fn bind<'q>(
        &self,
        query: Query<'q, Postgres, PgArguments>,
    ) -> Query<'q, Postgres, PgArguments> {
        query
            .bind(self.begun_since)
            .bind(self.since)
            .bind(self.client)
            .bind(self.event_types.clone())
            .bind(self.campaign.clone())
            .bind(self.event)
            .bind(self.published_since)
            .bind(self.published_until)
            .bind(self.subscriptions.clone())
            .bind(self.statuses.clone())
            .bind(self.ended_since)
    }
}

fn item(row: &PgRow) -> Result<SettledAttempt, sqlx::Error> {
    let AttemptRow(record) = AttemptRow::from_row(row)?;
    Ok(SettledAttempt {
        id: DeliveryId {
            event: EventId::from_uuid(row.try_get(9)?),
            subscription: SubscriptionId::from_uuid(row.try_get(10)?),
        },
        event_type: row.try_get(11)?,
        client: ClientId::from_uuid(row.try_get(12)?),
        campaign: row.try_get(13)?,
        subscription_name: row.try_get(14)?,
        record,
    })
}

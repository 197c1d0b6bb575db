//! Where an event has got to.

use sqlx::{FromRow, PgConnection, Row as _, postgres::PgRow};
use tharsis_core::{EventId, SubscriptionId, order::OrderKey};
use uuid::Uuid;

use super::{PostgresStore, campaign, history, owner, subscription, value::Instant};
use crate::{
    Candidate, DeliveryRow, EventRecord, StoreError, Whereabouts,
    whereabouts::{CandidateRow, Row, fill, stops_of},
};

/// All at one moment.
pub(super) async fn whereabouts(
    store: &PostgresStore,
    id: EventId,
) -> Result<Whereabouts, StoreError> {
    let reader = store.reader()?;
    let mut read = history::look(store).await?;
    let Instant(now) = sqlx::query_scalar("SELECT clock_timestamp()")
        .fetch_one(&mut *read)
        .await?;
    let mut event = history::event_on(&mut read, reader, id).await?;
    let deliveries = std::mem::take(&mut event.deliveries);
    let attempts = history::attempts(&mut read, id).await?;
    let present = subscription::list_on(&mut read, reader, Some(event.client)).await?;
    let mut rows = rows(&mut read, &event, &deliveries).await?;
    fill(&mut rows, present, deliveries, attempts);
    let mut candidates = Vec::with_capacity(rows.len());
    for row in rows {
        let behind = match row.waits_by(&event) {
            Some((row, key)) => before(&mut read, row, key).await?,
            None => None,
        };
        candidates.push(row.behind(behind));
    }
    let stops = stops_of(&event, campaign::stops(&mut read).await?);
    let owned = owner::owned_shards(&mut read).await?;
    read.roll_back().await?;
    Ok(Whereabouts {
        now,
        event,
        candidates,
        stops,
        owned,
    })
}

/// Of removed ones, those to which it may have gone.
const CANDIDATES: &str = "
    SELECT s.id, s.name, s.created_at, s.removed_at, st.since, s.seq, d.seq, d.lane, d.tries, d.order_key
    FROM subscription s
    LEFT JOIN subscription_state st ON st.subscription = s.seq
    LEFT JOIN LATERAL (
        SELECT * FROM delivery WHERE event = $2 AND subscription = s.seq OFFSET 0) d ON true
    WHERE s.client = $1 AND (s.removed_at IS NULL OR s.removed_at >= $3 OR s.id = ANY ($4))
    ORDER BY s.seq";

impl<'r> FromRow<'r, PgRow> for CandidateRow {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let instant =
            |at| Ok::<_, sqlx::Error>(row.try_get::<Option<Instant>, _>(at)?.map(|Instant(at)| at));
        let Instant(created_at) = row.try_get(2)?;
        let unfinished: Option<i64> = row.try_get(6)?;
        let unfinished = match unfinished {
            None => None,
            Some(seq) => Some(Row {
                subscription: row.try_get(5)?,
                seq,
                lane: row.try_get::<i16, _>(7)?.unsigned_abs(),
                tries: row.try_get::<i32, _>(8)?.unsigned_abs(),
                key: row.try_get(9)?,
            }),
        };
        Ok(Self {
            candidate: Candidate {
                id: SubscriptionId::from_uuid(row.try_get(0)?),
                name: row.try_get(1)?,
                created_at,
                removed_at: instant(3)?,
                held_since: instant(4)?,
                subscription: None,
                delivery: None,
                place: None,
            },
            row: unfinished,
        })
    }
}

async fn rows(
    conn: &mut PgConnection,
    event: &EventRecord,
    deliveries: &[DeliveryRow],
) -> Result<Vec<CandidateRow>, StoreError> {
    let went_to: Vec<Uuid> = (deliveries.iter())
        .map(|row| *row.id.subscription.as_uuid())
        .collect();
    Ok(sqlx::query_as(CANDIDATES)
        .bind(event.client.as_uuid())
        .bind(event.id.as_uuid())
        .bind(Instant(event.published_at))
        .bind(went_to)
        .fetch_all(conn)
        .await?)
}

/// The first of its key that was put back before it, or is kept.
const BEFORE: &str = "
    SELECT event
    FROM delivery
    WHERE subscription = $1 AND order_key = $2 AND lane IN (0, 2) AND seq <> $3 AND (lane = 2 OR seq < $3)
    ORDER BY seq
    LIMIT 1";

async fn before(
    conn: &mut PgConnection,
    row: Row,
    OrderKey(key): OrderKey,
) -> Result<Option<EventId>, StoreError> {
    let event: Option<Uuid> = sqlx::query_scalar(BEFORE)
        .bind(row.subscription)
        .bind(key)
        .bind(row.seq)
        .fetch_optional(conn)
        .await?;
    Ok(event.map(EventId::from_uuid))
}

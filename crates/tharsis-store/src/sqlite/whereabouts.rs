//! Where an event has got to.

use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{EventId, SubscriptionId, order::OrderKey};

use super::{
    SqliteStore, campaign, history, owner, subscription,
    value::{Id, Millis, blob, hex, json},
};
use crate::{
    Candidate, DeliveryRow, EventRecord, Shards, StoreError, Whereabouts,
    whereabouts::{CandidateRow, Row, fill, stops_of},
};

/// All at one moment.
pub(super) async fn whereabouts(
    store: &SqliteStore,
    id: EventId,
) -> Result<Whereabouts, StoreError> {
    let reader = store.reader();
    let mut read = store.0.lists.begin().await?;
    let now = owner::clock(&mut read).await?;
    let (seq, mut event) = history::event_on(&mut read, reader, id).await?;
    let deliveries = std::mem::take(&mut event.deliveries);
    let attempts = history::attempts(&mut read, seq).await?;
    let present = subscription::list_on(&mut *read, reader, Some(event.client)).await?;
    let mut rows = rows(&mut read, seq, &event, &deliveries).await?;
    fill(&mut rows, present, deliveries, attempts);
    let mut candidates = Vec::with_capacity(rows.len());
    for row in rows {
        let behind = match row.waits_by(&event) {
            Some((row, key)) => before(&mut read, row, key).await?,
            None => None,
        };
        candidates.push(row.behind(behind));
    }
    let stops = stops_of(&event, campaign::stops(&mut *read).await?);
    Ok(Whereabouts {
        now,
        event,
        candidates,
        stops,
        owned: if store.0.owner.is_held()? {
            Shards::ALL
        } else {
            Shards::default()
        },
    })
}

/// Of removed ones, those to which it may have gone.
pub(super) const CANDIDATES: &str = "
    SELECT s.id, s.name, s.created_at, s.removed_at, st.since, s.seq, d.event, d.lane, d.tries, d.order_key
    FROM tharsis_subscription s
    LEFT JOIN tharsis_subscription_state st ON st.subscription = s.seq
    LEFT JOIN tharsis_delivery d ON d.event = ?2 AND d.subscription = s.seq
    WHERE s.client = ?1
      AND (s.removed_at IS NULL OR s.removed_at >= ?3 OR hex(s.id) IN (SELECT upper(value) FROM jsonb_each(?4)))
    ORDER BY s.seq";

impl<'r> FromRow<'r, SqliteRow> for CandidateRow {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let instant =
            |at| Ok::<_, sqlx::Error>(row.try_get::<Option<Millis>, _>(at)?.map(|Millis(at)| at));
        let Id(id) = row.try_get(0)?;
        let Millis(created_at) = row.try_get(2)?;
        let unfinished: Option<i64> = row.try_get(6)?;
        let unfinished = match unfinished {
            None => None,
            Some(seq) => Some(Row {
                subscription: row.try_get(5)?,
                seq,
                lane: row.try_get(7)?,
                tries: row.try_get(8)?,
                key: row.try_get(9)?,
            }),
        };
        Ok(Self {
            candidate: Candidate {
                id: SubscriptionId::from_uuid(id),
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
    conn: &mut SqliteConnection,
    seq: i64,
    event: &EventRecord,
    deliveries: &[DeliveryRow],
) -> Result<Vec<CandidateRow>, StoreError> {
    let went_to: Vec<String> = (deliveries.iter())
        .map(|row| hex(row.id.subscription.as_uuid().as_bytes()))
        .collect();
    Ok(sqlx::query_as(CANDIDATES)
        .bind(blob(event.client.as_uuid()))
        .bind(seq)
        .bind(event.published_at.as_millis())
        .bind(json(&went_to)?)
        .fetch_all(conn)
        .await?)
}

/// The first of its key that was put back before it, or is kept.
pub(super) const BEFORE: &str = "
    SELECT e.id
    FROM tharsis_delivery b
    CROSS JOIN tharsis_event e ON e.seq = b.event
    WHERE b.subscription = ?1 AND b.order_key = ?2 AND b.lane IN (0, 2) AND b.event <> ?3
      AND (b.lane = 2 OR b.event < ?3)
    ORDER BY b.event
    LIMIT 1";

async fn before(
    conn: &mut SqliteConnection,
    row: Row,
    OrderKey(key): OrderKey,
) -> Result<Option<EventId>, StoreError> {
    let event: Option<Id> = sqlx::query_scalar(BEFORE)
        .bind(row.subscription)
        .bind(key)
        .bind(row.seq)
        .fetch_optional(conn)
        .await?;
    Ok(event.map(|Id(event)| EventId::from_uuid(event)))
}

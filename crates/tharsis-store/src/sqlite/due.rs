//! Reading lanes: what is due, with everything that an attempt needs.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::{FromRow, Row as _, sqlite::SqliteRow};
use tharsis_core::{DeliveryId, EventId, SubscriptionId, Timestamp};

use super::{
    SqliteStore,
    value::{Id, Millis, json},
};
use crate::{Due, LaneRead, Lease, Pending, Position, Rows, StoreError};

/// Skips from lane to lane, however long they are.
pub(super) const LANES: &str = "
    SELECT s.seq,
           (SELECT d.due_at
            FROM tharsis_delivery d
            WHERE d.subscription = s.seq AND d.lane = 0
            ORDER BY d.due_at
            LIMIT 1)
    FROM tharsis_subscription s
    WHERE s.removed_at IS NULL";

pub(super) async fn lanes(store: &SqliteStore, lease: &Lease) -> Result<Vec<Pending>, StoreError> {
    store.0.owner.check(lease)?;
    let rows: Vec<FirstRow> = sqlx::query_as(LANES).fetch_all(&store.0.reads).await?;
    Ok(rows.into_iter().filter_map(pending).collect())
}

/// A lane and when the first of its rows is due that was asked for, if it has such a row.
type FirstRow = (i64, Option<Millis>);

fn pending((subscription, due_at): FirstRow) -> Option<Pending> {
    due_at.map(|Millis(due_at)| Pending {
        subscription,
        due_at,
    })
}

/// SQLite has no lateral join, but a table-valued function takes a subquery of the tables before it: the keys of each
/// lane's first rows as an array. So it reads of each lane at most the greatest limit of all, and keeps its own.
pub(super) const DUE: &str = "
    SELECT s.seq, k.value ->> 0, e.seq, e.id, s.id, e.type, e.published_at, e.expires_at,
           k.value ->> 1, k.value ->> 2, e.payload
    FROM jsonb_each(?1) l
    CROSS JOIN tharsis_subscription s ON s.seq = l.value ->> 0
    CROSS JOIN jsonb_each((
        SELECT jsonb_group_array(jsonb_array(d.due_at, d.attempts, d.tries, d.event))
        FROM (
            SELECT due_at, attempts, tries, event
            FROM tharsis_delivery
            WHERE subscription = s.seq AND lane = 0
              AND due_at <= ?2
              AND (due_at, event) > (l.value ->> 1, l.value ->> 2)
            ORDER BY due_at, event
            LIMIT ?3) d)) k
    CROSS JOIN tharsis_event e ON e.seq = k.value ->> 3
    WHERE k.key < l.value ->> 3";

impl<'r> FromRow<'r, SqliteRow> for Due {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        let Millis(due_at) = row.try_get(1)?;
        let Id(event) = row.try_get(3)?;
        let Id(subscription) = row.try_get(4)?;
        let Millis(published_at) = row.try_get(6)?;
        Ok(Self {
            position: Position {
                subscription: row.try_get(0)?,
                lane: 0,
                due_at,
                seq: row.try_get(2)?,
            },
            id: DeliveryId {
                event: EventId::from_uuid(event),
                subscription: SubscriptionId::from_uuid(subscription),
            },
            event_type: row.try_get::<&str, _>(5)?.into(),
            payload: Bytes::from(row.try_get::<Vec<u8>, _>(10)?),
            published_at,
            expires_at: row
                .try_get::<Option<i64>, _>(7)?
                .map(Timestamp::from_millis),
            attempts: row.try_get(8)?,
            tries: row.try_get(9)?,
        })
    }
}

/// The first row of each lane that is not due yet.
pub(super) const LATER: &str = "
    SELECT l.value,
           (SELECT d.due_at
            FROM tharsis_delivery d
            WHERE d.subscription = l.value AND d.lane = 0 AND d.due_at > ?2
            ORDER BY d.due_at
            LIMIT 1)
    FROM jsonb_each(?1) l";

pub(super) async fn due(
    store: &SqliteStore,
    lease: &Lease,
    lanes: &[LaneRead],
    now: Timestamp,
) -> Result<Rows, StoreError> {
    store.0.owner.check(lease)?;
    let arguments: Vec<(i64, i64, i64, u32)> = lanes.iter().map(argument).collect();
    let most = lanes.iter().map(|lane| lane.limit).max().unwrap_or(0);
    let mut read = store.0.reads.acquire().await?;
    let mut due: Vec<Due> = sqlx::query_as(DUE)
        .bind(json(&arguments)?)
        .bind(now.as_millis())
        .bind(most)
        .fetch_all(&mut *read)
        .await?;
    // They come in this order as it is; to ask SQLite for it would have it sort the payloads too.
    due.sort_by_key(|due| due.position);
    let exhausted = exhausted(lanes, &due);
    if exhausted.is_empty() {
        return Ok(Rows {
            due,
            later: Vec::new(),
        });
    }
    let later: Vec<FirstRow> = sqlx::query_as(LATER)
        .bind(json(&exhausted)?)
        .bind(now.as_millis())
        .fetch_all(&mut *read)
        .await?;
    Ok(Rows {
        due,
        later: later.into_iter().filter_map(pending).collect(),
    })
}

/// Before every row, and far enough from the end of the integers for JSON.
const START: i64 = i64::MIN / 2;

fn argument(lane: &LaneRead) -> (i64, i64, i64, u32) {
    let (due_at, seq) = lane
        .after
        .map_or((START, START), |at| (at.due_at.as_millis(), at.seq));
    (lane.subscription, due_at, seq, lane.limit)
}

/// Lanes that returned fewer rows than they might have.
fn exhausted(lanes: &[LaneRead], due: &[Due]) -> Vec<i64> {
    let mut counts: HashMap<i64, u32> = HashMap::with_capacity(lanes.len());
    for row in due {
        *counts.entry(row.position.subscription).or_default() += 1;
    }
    lanes
        .iter()
        .filter(|lane| counts.get(&lane.subscription).copied().unwrap_or(0) < lane.limit)
        .map(|lane| lane.subscription)
        .collect()
}

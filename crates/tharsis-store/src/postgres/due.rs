//! Reading lanes: what is due, with everything that an attempt needs.

use std::collections::HashMap;

use bytes::Bytes;
use sqlx::{FromRow, Row as _, postgres::PgRow};
use tharsis_core::{DeliveryId, EventId, ReplayId, SubscriptionId, Timestamp, delivery::Spent};
use uuid::Uuid;

use super::{PostgresStore, owner, value::Instant};
use crate::{Due, LaneRead, Lease, Named, Pending, Position, Rows, StoreError};

/// Skips from lane to lane, however long they are.
pub(super) const LANES: &str = "
    SELECT s.seq, d.due_at
    FROM subscription s
    CROSS JOIN LATERAL (
        SELECT d.due_at
        FROM delivery d
        WHERE d.subscription = s.seq AND d.lane = 0
        ORDER BY d.due_at, d.seq
        LIMIT 1) d
    WHERE s.removed_at IS NULL AND s.shard = ANY ($1::smallint[])";

pub(super) async fn lanes(
    store: &PostgresStore,
    lease: &Lease,
) -> Result<Vec<Pending>, StoreError> {
    owner::check(store, lease)?;
    let rows: Vec<(i64, Instant)> = sqlx::query_as(LANES)
        .bind(owner::array(lease.shards))
        .fetch_all(&mut *store.0.engine.get().await?)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(subscription, Instant(due_at))| Pending {
            subscription,
            due_at,
        })
        .collect())
}

/// Of each lane the rows that are due, and then the first one that is not.
pub(super) const DUE: &str = "
    SELECT l.subscription, d.due_at, d.seq, e.id, s.id, e.type, e.published_at, e.expires_at, d.attempts, d.tries, e.payload,
           d.replay,
           CASE WHEN d.replay > 0 THEN (SELECT r.id FROM replay r WHERE r.seq = d.replay AND r.fresh) END, d.waited,
           CASE WHEN (SELECT EXISTS (SELECT FROM campaign_stop)) THEN e.campaign END,
           CASE WHEN l.named OR (SELECT EXISTS (SELECT FROM campaign_stop)) THEN e.recipient END,
           d.order_key IS NOT NULL
    FROM unnest($1::bigint[], $2::timestamptz[], $3::bigint[], $4::bigint[], $7::boolean[])
         AS l(subscription, due_at, seq, most, named)
    CROSS JOIN LATERAL (
        SELECT s.id FROM subscription s WHERE s.seq = l.subscription AND s.shard = ANY ($5::smallint[]) OFFSET 0) s
    CROSS JOIN LATERAL (
        SELECT d.due_at, d.seq, d.event, d.attempts, d.tries, d.replay, d.waited, d.order_key
        FROM delivery d
        WHERE d.subscription = l.subscription AND d.lane = 0 AND (d.due_at, d.seq) > (l.due_at, l.seq) AND d.due_at <= $6
        ORDER BY d.due_at, d.seq
        LIMIT l.most) d
    CROSS JOIN LATERAL (
        SELECT e.id, e.type, e.published_at, e.expires_at, e.payload, e.campaign, e.recipient
        FROM event e
        WHERE e.id = d.event
        OFFSET 0) e
    UNION ALL
    SELECT l.subscription, d.due_at, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
           NULL
    FROM unnest($1::bigint[]) AS l(subscription)
    CROSS JOIN LATERAL (
        SELECT s.id FROM subscription s WHERE s.seq = l.subscription AND s.shard = ANY ($5::smallint[]) OFFSET 0) s
    CROSS JOIN LATERAL (
        SELECT d.due_at
        FROM delivery d
        WHERE d.subscription = l.subscription AND d.lane = 0 AND d.due_at > $6
        ORDER BY d.due_at, d.seq
        LIMIT 1) d";

enum Row {
    Due(Due),
    Later(Pending),
}

impl<'r> FromRow<'r, PgRow> for Row {
    fn from_row(row: &'r PgRow) -> Result<Self, sqlx::Error> {
        let decode = |error| sqlx::Error::Decode(Box::new(error));
        let subscription: i64 = row.try_get(0)?;
        let Instant(due_at) = row.try_get(1)?;
        let Some(seq) = row.try_get(2)? else {
            return Ok(Self::Later(Pending {
                subscription,
                due_at,
            }));
        };
        let event: Uuid = row.try_get(3)?;
        let of: Uuid = row.try_get(4)?;
        let event_type: &str = row.try_get(5)?;
        let Instant(published_at) = row.try_get(6)?;
        let expires_at: Option<Instant> = row.try_get(7)?;
        let attempts: i32 = row.try_get(8)?;
        let tries: i32 = row.try_get(9)?;
        let payload: &str = row.try_get(10)?;
        let replay: i64 = row.try_get(11)?;
        let fresh: Option<Uuid> = row.try_get(12)?;
        let waited: i64 = row.try_get(13)?;
        let campaign: Option<Box<str>> = row.try_get(14)?;
        let recipient: Option<Box<str>> = row.try_get(15)?;
        Ok(Self::Due(Due {
            position: Position {
                subscription,
                lane: 0,
                due_at,
                seq,
                replay: replay.try_into().map_err(decode)?,
            },
            id: DeliveryId {
                event: EventId::from_uuid(event),
                subscription: SubscriptionId::from_uuid(of),
            },
            event_type: event_type.into(),
            // A copy each, so that one that stays long in memory does not keep all of them.
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            published_at,
            expires_at: expires_at.map(|Instant(at)| at),
            attempts: attempts.try_into().map_err(decode)?,
            spent: Spent {
                tries: tries.try_into().map_err(decode)?,
                waited_ms: waited.try_into().map_err(decode)?,
            },
            fresh: fresh.map(|id| Box::new(ReplayId::from_uuid(id))),
            named: Named::of(campaign, recipient),
            key: None,
            is_waited_for: row.try_get(16)?,
        }))
    }
}

/// Before every instant that a row can have, and one that PostgreSQL can compare.
const START: Timestamp = Timestamp::from_millis(-62_135_596_800_000);

pub(super) async fn due(
    store: &PostgresStore,
    lease: &Lease,
    lanes: &[LaneRead],
    now: Timestamp,
) -> Result<Rows, StoreError> {
    owner::check(store, lease)?;
    if lanes.is_empty() || lease.shards.is_empty() {
        return Ok(Rows::default());
    }
    let subscriptions: Vec<i64> = lanes.iter().map(|lane| lane.subscription).collect();
    let after = |lane: &LaneRead| {
        lane.after
            .map_or((START, i64::MIN), |at| (at.due_at, at.seq))
    };
    let due_ats: Vec<Instant> = lanes.iter().map(|lane| Instant(after(lane).0)).collect();
    let seqs: Vec<i64> = lanes.iter().map(|lane| after(lane).1).collect();
    let limits: Vec<i64> = lanes.iter().map(|lane| lane.limit.into()).collect();
    let named: Vec<bool> = lanes.iter().map(|lane| lane.named).collect();
    let rows: Vec<Row> = sqlx::query_as(DUE)
        .bind(subscriptions)
        .bind(due_ats)
        .bind(seqs)
        .bind(limits)
        .bind(owner::array(lease.shards))
        .bind(Instant(now))
        .bind(named)
        .fetch_all(&mut *store.0.engine.get().await?)
        .await?;
    Ok(sort(lanes, rows))
}

/// Of lanes that may have more rows that are due, it is not yet said what comes after these.
fn sort(lanes: &[LaneRead], rows: Vec<Row>) -> Rows {
    let mut sorted = Rows::default();
    let mut counts: HashMap<i64, u32> = HashMap::with_capacity(lanes.len());
    for row in rows {
        match row {
            Row::Due(due) => {
                *counts.entry(due.position.subscription).or_default() += 1;
                sorted.due.push(due);
            }
            Row::Later(pending) => sorted.later.push(pending),
        }
    }
    let limits: HashMap<i64, u32> = lanes.iter().map(|l| (l.subscription, l.limit)).collect();
    sorted.later.retain(|pending| {
        let read = counts.get(&pending.subscription).copied().unwrap_or(0);
        limits
            .get(&pending.subscription)
            .is_some_and(|limit| read < *limit)
    });
    // They come in this order as it is, but nobody promised it.
    sorted.due.sort_by_key(|due| due.position);
    sorted
}

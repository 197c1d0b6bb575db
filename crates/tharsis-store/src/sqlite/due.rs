//! Reading lanes: what is due, with everything that an attempt needs.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use serde::Deserialize;
use tharsis_core::{DeliveryId, EventId, ReplayId, SubscriptionId, Timestamp, delivery::Spent};

use super::{
    SqliteStore,
    value::{Millis, corrupt, json, uuid},
};
use crate::{Due, LaneRead, Lease, Named, Pending, Position, Rows, StoreError};

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
    if lease.shards.is_empty() {
        return Ok(Vec::new());
    }
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
///
/// All of them come as one row, and their payloads as one text: rows are handed from SQLite's thread one by one, which
/// costs more than the rows themselves.
pub(super) const DUE: &str = "
    SELECT json_group_array(json_array(
               s.seq, k.value ->> 0, e.seq, hex(e.id), hex(s.id), e.type, e.published_at, e.expires_at,
               k.value ->> 1, k.value ->> 2, k.value ->> 5, octet_length(e.payload), k.value ->> 4,
               CASE WHEN k.value ->> 4 > 0
                    THEN (SELECT hex(r.id) FROM tharsis_replay r WHERE r.seq = k.value ->> 4 AND r.fresh) END,
               CASE WHEN EXISTS (SELECT 1 FROM tharsis_campaign_stop) THEN e.campaign END,
               CASE WHEN l.value ->> 4 OR EXISTS (SELECT 1 FROM tharsis_campaign_stop) THEN e.recipient END,
               k.value ->> 6)),
           group_concat(e.payload, '')
    FROM jsonb_each(?1) l
    CROSS JOIN tharsis_subscription s ON s.seq = l.value ->> 0
    CROSS JOIN jsonb_each((
        SELECT jsonb_group_array(jsonb_array(d.due_at, d.attempts, d.tries, d.event, d.replay, d.waited, d.is_waited_for))
        FROM (
            SELECT due_at, attempts, tries, event, replay, waited, order_key IS NOT NULL AS is_waited_for
            FROM tharsis_delivery
            WHERE subscription = s.seq AND lane = 0
              AND due_at <= ?2
              AND (due_at, event) > (l.value ->> 1, l.value ->> 2)
            ORDER BY due_at, event
            LIMIT ?3) d)) k
    CROSS JOIN tharsis_event e ON e.seq = k.value ->> 3
    WHERE k.key < l.value ->> 3";

/// A delivery as the statement writes it, by its places.
#[derive(Deserialize)]
struct DueRow<'a>(
    i64,
    i64,
    i64,
    &'a str,
    &'a str,
    #[serde(borrow)] Cow<'a, str>,
    i64,
    Option<i64>,
    u32,
    u32,
    u32,
    usize,
    u32,
    Option<&'a str>,
    Option<Box<str>>,
    Option<Box<str>>,
    u8,
);

impl DueRow<'_> {
    /// Its payload is what `payloads` begins with.
    fn read(self, payloads: &mut &[u8]) -> Result<Due, StoreError> {
        let Self(
            subscription,
            due_at,
            seq,
            event_id,
            subscription_id,
            event_type,
            published_at,
            expires_at,
            attempts,
            tries,
            waited_ms,
            size,
            replay,
            fresh,
            campaign,
            recipient,
            is_waited_for,
        ) = self;
        let (payload, rest) = payloads
            .split_at_checked(size)
            .ok_or_else(|| corrupt("payloads"))?;
        *payloads = rest;
        Ok(Due {
            position: Position {
                subscription,
                lane: 0,
                due_at: Timestamp::from_millis(due_at),
                seq,
                replay,
            },
            id: DeliveryId {
                event: EventId::from_uuid(uuid(event_id)?),
                subscription: SubscriptionId::from_uuid(uuid(subscription_id)?),
            },
            event_type: event_type.into(),
            // A copy each, so that one that stays long in memory does not keep all of them.
            payload: Bytes::copy_from_slice(payload),
            published_at: Timestamp::from_millis(published_at),
            expires_at: expires_at.map(Timestamp::from_millis),
            attempts,
            spent: Spent { tries, waited_ms },
            fresh: fresh
                .map(|id| Ok::<_, StoreError>(Box::new(ReplayId::from_uuid(uuid(id)?))))
                .transpose()?,
            named: Named::of(campaign, recipient),
            key: None,
            is_waited_for: is_waited_for > 0,
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
    if lease.shards.is_empty() {
        return Ok(Rows::default());
    }
    let arguments: Vec<(i64, i64, i64, u32, bool)> = lanes.iter().map(argument).collect();
    let most = lanes.iter().map(|lane| lane.limit).max().unwrap_or(0);
    let mut read = store.0.reads.acquire().await?;
    let (rows, payloads): (String, Option<Vec<u8>>) = sqlx::query_as(DUE)
        .bind(json(&arguments)?)
        .bind(now.as_millis())
        .bind(most)
        .fetch_one(&mut *read)
        .await?;
    let rows: Vec<DueRow<'_>> = serde_json::from_str(&rows).map_err(corrupt)?;
    let mut payloads = payloads.as_deref().unwrap_or_default();
    let mut due = rows
        .into_iter()
        .map(|row| row.read(&mut payloads))
        .collect::<Result<Vec<Due>, _>>()?;
    // They come in this order as it is, but nobody promised it.
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

fn argument(lane: &LaneRead) -> (i64, i64, i64, u32, bool) {
    let (due_at, seq) = lane
        .after
        .map_or((START, START), |at| (at.due_at.as_millis(), at.seq));
    (lane.subscription, due_at, seq, lane.limit, lane.named)
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

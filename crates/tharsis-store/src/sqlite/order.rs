//! Deliveries that go one after the other: who waits, and who goes next.

use sqlx::SqliteConnection;
use tharsis_core::{Timestamp, order::OrderKey};

use super::{
    SqliteStore, owner,
    value::{corrupt, json},
};
use crate::{Blocked, Lease, LetGo, Position, StoreError, failpoint, order::LET_GO as MOST};

/// Skips from key to key, however many wait for each.
pub(super) const BLOCKED: &str = "
    WITH RECURSIVE blocked (subscription, order_key) AS (
        SELECT l.value,
               (SELECT min(d.order_key)
                FROM tharsis_delivery d
                WHERE d.subscription = l.value AND d.order_key IS NOT NULL)
        FROM jsonb_each(?1) l
        UNION ALL
        SELECT b.subscription,
               (SELECT min(d.order_key)
                FROM tharsis_delivery d
                WHERE d.subscription = b.subscription AND d.order_key > b.order_key)
        FROM blocked b
        WHERE b.order_key IS NOT NULL
    )
    SELECT b.subscription, b.order_key
    FROM blocked b
    WHERE b.order_key IS NOT NULL";

/// The first of a key in one lane.
pub(super) const FIRST: &str = "
    SELECT d.due_at, d.event, d.replay
    FROM tharsis_delivery d
    WHERE d.subscription = ?1 AND d.order_key = ?2 AND d.lane = ?3
    ORDER BY d.event
    LIMIT 1";

async fn first(
    conn: &mut SqliteConnection,
    subscription: i64,
    OrderKey(key): OrderKey,
    lane: u16,
) -> Result<Option<Position>, StoreError> {
    let row: Option<(i64, i64, i64)> = sqlx::query_as(FIRST)
        .bind(subscription)
        .bind(key)
        .bind(lane)
        .fetch_optional(conn)
        .await?;
    let position = |(due_at, seq, replay): (i64, i64, i64)| {
        Ok(Position {
            subscription,
            lane,
            due_at: Timestamp::from_millis(due_at),
            seq,
            replay: replay.try_into().map_err(corrupt)?,
        })
    };
    row.map(position).transpose()
}

/// The first that was put back.
async fn first_back(
    conn: &mut SqliteConnection,
    subscription: i64,
    key: OrderKey,
) -> Result<Option<Position>, StoreError> {
    let live = first(conn, subscription, key, 0).await?;
    let kept = first(conn, subscription, key, crate::KEPT).await?;
    Ok(live.into_iter().chain(kept).min_by_key(|first| first.seq))
}

pub(super) async fn blocked(
    store: &SqliteStore,
    lease: &Lease,
    subscriptions: &[i64],
) -> Result<Vec<Blocked>, StoreError> {
    store.0.owner.check(lease)?;
    if lease.shards.is_empty() {
        return Ok(Vec::new());
    }
    let mut read = store.0.reads.begin().await?;
    let keys: Vec<(i64, i64)> = sqlx::query_as(BLOCKED)
        .bind(json(&subscriptions)?)
        .fetch_all(&mut *read)
        .await?;
    let mut blocked = Vec::with_capacity(keys.len());
    for (subscription, key) in keys {
        let key = OrderKey(key);
        let parked = first(&mut read, subscription, key, crate::PARKED).await?;
        let one = Blocked {
            subscription,
            key,
            first: first_back(&mut read, subscription, key).await?,
            parked: parked.map(|first| first.seq),
        };
        if one.first.is_some() || one.parked.is_some() {
            blocked.push(one);
        }
    }
    Ok(blocked)
}

/// The next of a key.
pub(super) const NEXT: &str = "
    SELECT d.event, d.due_at
    FROM tharsis_delivery d
    WHERE d.subscription = ?1 AND d.order_key = ?2 AND d.lane = 3
    ORDER BY d.event
    LIMIT ?3";

pub(super) const LET_GO: &str = "
    UPDATE tharsis_delivery
    SET lane = 0, order_key = NULL, due_at = ?4
    WHERE subscription = ?1 AND order_key = ?2 AND lane = 3 AND event <= ?3";

pub(super) async fn let_go(
    store: &SqliteStore,
    lease: &Lease,
    keys: &[(i64, OrderKey)],
) -> Result<Vec<LetGo>, StoreError> {
    store.0.owner.check(lease)?;
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let mut done = Vec::with_capacity(keys.len());
    for (subscription, key) in keys {
        done.push(next(&mut write, *subscription, *key).await?);
    }
    write.commit(failpoint::LET_GO).await?;
    Ok(done)
}

async fn next(
    conn: &mut SqliteConnection,
    subscription: i64,
    key: OrderKey,
) -> Result<LetGo, StoreError> {
    let done = |upto, waits| LetGo {
        subscription,
        key,
        upto,
        waits,
    };
    if let Some(first) = first_back(conn, subscription, key).await? {
        return Ok(done(Some(first.seq), true));
    }
    let next: Vec<(i64, i64)> = sqlx::query_as(NEXT)
        .bind(subscription)
        .bind(key.0)
        .bind(MOST + 1)
        .fetch_all(&mut *conn)
        .await?;
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let next_ones = next.iter().take(most);
    let due_at = next_ones.clone().map(|(_, due_at)| *due_at).min();
    let Some(last) = next_ones.last().map(|(event, _)| *event) else {
        return Ok(done(None, false));
    };
    sqlx::query(LET_GO)
        .bind(subscription)
        .bind(key.0)
        .bind(last)
        .bind(due_at)
        .execute(conn)
        .await?;
    let is_more = next.len() > most;
    Ok(done(is_more.then_some(last), false))
}

//! Deliveries that go one after the other: who waits, and who goes next.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;
use tharsis_core::{Timestamp, order::OrderKey};

use super::{
    SqliteStore, owner,
    value::{corrupt, json},
};
use crate::{Blocked, KEPT, Lease, LetGo, Position, StoreError, failpoint, order::LET_GO as MOST};

/// Skips from key to key, however many wait for each, in all of the table or in these subscriptions (`?1`), and finds the
/// first of each in each lane.
///
/// Without an order, or where nothing is held for a dead one, what was kept waits for nobody. A column that is compared with
/// another table's loses its affinity by a plus sign: otherwise the index would be searched by its first column alone.
macro_rules! blocked {
    ($first:literal, $next:literal) => {
        concat!(
            "WITH RECURSIVE blocked (subscription, order_key) AS (",
            $first,
            "    UNION ALL
                 SELECT (SELECT d.subscription FROM tharsis_delivery d WHERE ",
            $next,
            "            ORDER BY d.subscription, d.order_key LIMIT 1),
                        (SELECT d.order_key FROM tharsis_delivery d WHERE ",
            $next,
            "            ORDER BY d.subscription, d.order_key LIMIT 1)
                 FROM blocked b
                 WHERE b.order_key IS NOT NULL
             )
             SELECT b.subscription, b.order_key, s.order_by IS NOT NULL AND s.on_dead = 'hold', l.value,
                    (SELECT json_array(d.due_at, d.event, d.replay)
                     FROM tharsis_delivery d
                     WHERE d.subscription = b.subscription AND d.order_key = b.order_key AND d.lane = l.value
                     ORDER BY d.event
                     LIMIT 1)
             FROM blocked b
             CROSS JOIN tharsis_subscription s ON s.seq = b.subscription
             CROSS JOIN jsonb_each('[0, 2, 3]') l
             WHERE b.order_key IS NOT NULL"
        )
    };
}

pub(super) const BLOCKED: &str = blocked!(
    "SELECT *
     FROM (
         SELECT d.subscription, d.order_key
         FROM tharsis_delivery d
         WHERE d.order_key IS NOT NULL
         ORDER BY d.subscription, d.order_key
         LIMIT 1)",
    "d.order_key IS NOT NULL AND (d.subscription, d.order_key) > (+b.subscription, +b.order_key)"
);

pub(super) const BLOCKED_OF: &str = blocked!(
    "SELECT l.value,
            (SELECT d.order_key
             FROM tharsis_delivery d
             WHERE d.subscription = l.value AND d.order_key IS NOT NULL
             ORDER BY d.order_key
             LIMIT 1)
     FROM jsonb_each(?1) l",
    "d.subscription = b.subscription AND d.order_key > b.order_key"
);

type BlockedRow = (i64, i64, bool, u16, Option<String>);

pub(super) async fn blocked(
    store: &SqliteStore,
    lease: &Lease,
    subscriptions: &[i64],
) -> Result<Vec<Blocked>, StoreError> {
    store.0.owner.check(lease)?;
    if lease.shards.is_empty() {
        return Ok(Vec::new());
    }
    let blocked = match subscriptions {
        [] => sqlx::query_as(BLOCKED),
        named => sqlx::query_as(BLOCKED_OF).bind(json(&named)?),
    };
    let rows: Vec<BlockedRow> = blocked.fetch_all(&store.0.reads).await?;
    let mut blocked: BTreeMap<(i64, OrderKey), Blocked> = BTreeMap::new();
    for (subscription, key, holds, lane, first) in rows {
        let Some(first) = first else { continue };
        let (due_at, seq, replay) = serde_json::from_str(&first).map_err(corrupt)?;
        let key = OrderKey(key);
        let one = blocked.entry((subscription, key)).or_insert(Blocked {
            subscription,
            key,
            first: None,
            parked: None,
        });
        if lane == 0 || lane == KEPT && holds {
            let position = Position {
                subscription,
                lane,
                due_at: Timestamp::from_millis(due_at),
                seq,
                replay,
            };
            let before = one.first.filter(|first| first.seq < seq);
            one.first = before.or(Some(position));
        } else {
            one.parked = Some(one.parked.map_or(seq, |parked| parked.min(seq)));
        }
    }
    Ok(blocked.into_values().collect())
}

/// Whether a subscription has an order still, and holds what is dead. A release would not see what is let go behind it.
const ORDER: &str = "
    SELECT s.order_by IS NOT NULL, s.order_by IS NOT NULL AND s.on_dead = 'hold'
    FROM tharsis_subscription s
    WHERE s.seq = ?1 AND NOT EXISTS (SELECT 1 FROM tharsis_release r WHERE r.subscription = s.seq)";

/// The first that was put back.
pub(super) const FIRST: &str = "
    SELECT min(f.event)
    FROM (
        SELECT min(d.event) AS event
        FROM tharsis_delivery d
        WHERE ?3 AND d.subscription = ?1 AND d.order_key = ?2 AND d.lane = 0
        UNION ALL
        SELECT min(d.event)
        FROM tharsis_delivery d
        WHERE ?4 AND d.subscription = ?1 AND d.order_key = ?2 AND d.lane = 2) f";

/// The next of a key.
pub(super) const NEXT: &str = "
    SELECT *
    FROM (
        SELECT d.event, d.due_at
        FROM tharsis_delivery d
        WHERE d.subscription = ?1 AND d.order_key = ?2 AND d.lane = 3
        ORDER BY d.event
        LIMIT ?3)
    UNION ALL
    SELECT *
    FROM (
        SELECT d.event, d.due_at
        FROM tharsis_delivery d
        WHERE NOT ?4 AND d.subscription = ?1 AND d.order_key = ?2 AND d.lane = 2
        ORDER BY d.event
        LIMIT ?3)
    ORDER BY event
    LIMIT ?3";

/// The last of them bears the key on, so that those after it wait.
pub(super) const LET_GO: &str = "
    UPDATE tharsis_delivery
    SET lane = 0, due_at = ?4, order_key = CASE WHEN ?5 AND event = ?3 THEN order_key END
    WHERE subscription = ?1 AND order_key = ?2 AND lane IN (2, 3) AND event <= ?3";

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
        done.extend(next(&mut write, *subscription, *key).await?);
    }
    write.commit(failpoint::LET_GO).await?;
    Ok(done)
}

async fn next(
    conn: &mut SqliteConnection,
    subscription: i64,
    key: OrderKey,
) -> Result<Option<LetGo>, StoreError> {
    let done = |upto, waits| {
        Some(LetGo {
            subscription,
            key,
            upto,
            waits,
        })
    };
    let order: Option<(bool, bool)> = sqlx::query_as(ORDER)
        .bind(subscription)
        .fetch_optional(&mut *conn)
        .await?;
    let Some((is_ordered, holds)) = order else {
        return Ok(None);
    };
    let first: Option<i64> = sqlx::query_scalar(FIRST)
        .bind(subscription)
        .bind(key.0)
        .bind(is_ordered)
        .bind(holds)
        .fetch_one(&mut *conn)
        .await?;
    if first.is_some() {
        return Ok(done(first, true));
    }
    let mut next: Vec<(i64, i64)> = sqlx::query_as(NEXT)
        .bind(subscription)
        .bind(key.0)
        .bind(MOST + 1)
        .bind(holds)
        .fetch_all(&mut *conn)
        .await?;
    let most = usize::try_from(MOST).unwrap_or(usize::MAX);
    let is_more = next.len() > most;
    next.truncate(most);
    let due_at = next.iter().map(|(_, due_at)| *due_at).min();
    let Some((last, _)) = next.last() else {
        return Ok(done(None, false));
    };
    sqlx::query(LET_GO)
        .bind(subscription)
        .bind(key.0)
        .bind(last)
        .bind(due_at)
        .bind(is_more)
        .execute(conn)
        .await?;
    Ok(done(is_more.then_some(*last), false))
}

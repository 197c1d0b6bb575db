//! Deliveries that go one after the other: who waits, and who goes next.

use tharsis_core::order::OrderKey;

use super::{PostgresStore, owner, value::Instant, value::corrupt};
use crate::{
    Blocked, Lease, LetGo, Position, StoreError,
    failpoint::{Failpoint, reached},
    order::LET_GO as MOST,
};

/// Skips from key to key, however many wait for each: in all of the table, or in these subscriptions (`$2`).
///
/// Without an order, or where nothing is held for a dead one, what was kept waits for nobody.
macro_rules! blocked {
    ($first:literal, $next:literal) => {
        concat!(
            "WITH RECURSIVE blocked AS (",
            $first,
            "    UNION ALL
                 SELECT k.subscription, k.order_key
                 FROM blocked b
                 CROSS JOIN LATERAL (
                     SELECT d.subscription, d.order_key
                     FROM delivery d
                     WHERE ",
            $next,
            "        ORDER BY d.subscription, d.order_key
                     LIMIT 1) k
             )
             SELECT b.subscription, b.order_key, f.lane, f.due_at, f.seq, f.replay, p.seq
             FROM blocked b
             CROSS JOIN LATERAL (
                 SELECT s.order_by IS NOT NULL AND s.on_dead = 'hold' AS holds
                 FROM subscription s
                 WHERE s.seq = b.subscription AND s.shard = ANY ($1::smallint[])
                 OFFSET 0) s
             LEFT JOIN LATERAL (
                 (SELECT d.lane, d.due_at, d.seq, d.replay
                  FROM delivery d
                  WHERE d.subscription = b.subscription AND d.order_key = b.order_key AND d.lane = 0
                  ORDER BY d.seq
                  LIMIT 1)
                 UNION ALL
                 (SELECT d.lane, d.due_at, d.seq, d.replay
                  FROM delivery d
                  WHERE s.holds AND d.subscription = b.subscription AND d.order_key = b.order_key AND d.lane = 2
                  ORDER BY d.seq
                  LIMIT 1)
                 ORDER BY seq
                 LIMIT 1) f ON true
             CROSS JOIN LATERAL (
                 SELECT least(
                            (SELECT min(d.seq) FROM delivery d
                             WHERE d.subscription = b.subscription AND d.order_key = b.order_key AND d.lane = 3),
                            (SELECT min(d.seq) FROM delivery d
                             WHERE d.subscription = b.subscription AND d.order_key = b.order_key AND d.lane = 2
                               AND NOT s.holds)
                        ) AS seq) p
             WHERE f.seq IS NOT NULL OR p.seq IS NOT NULL"
        )
    };
}

pub(super) const BLOCKED: &str = blocked!(
    "(SELECT d.subscription, d.order_key
      FROM delivery d
      WHERE d.order_key IS NOT NULL
      ORDER BY d.subscription, d.order_key
      LIMIT 1)",
    "d.order_key IS NOT NULL AND (d.subscription, d.order_key) > (b.subscription, b.order_key)"
);

pub(super) const BLOCKED_OF: &str = blocked!(
    "SELECT k.subscription, k.order_key
     FROM unnest($2::bigint[]) AS l(subscription)
     CROSS JOIN LATERAL (
         SELECT d.subscription, d.order_key
         FROM delivery d
         WHERE d.subscription = l.subscription AND d.order_key IS NOT NULL
         ORDER BY d.order_key
         LIMIT 1) k",
    "d.subscription = b.subscription AND d.order_key > b.order_key"
);

type BlockedRow = (
    i64,
    i64,
    Option<i16>,
    Option<Instant>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

pub(super) async fn blocked(
    store: &PostgresStore,
    lease: &Lease,
    subscriptions: &[i64],
) -> Result<Vec<Blocked>, StoreError> {
    owner::check(store, lease)?;
    let shards = owner::array(lease.shards);
    let blocked = match subscriptions {
        [] => sqlx::query_as(BLOCKED).bind(shards),
        named => sqlx::query_as(BLOCKED_OF).bind(shards).bind(named),
    };
    let mut conn = store.0.engine.get().await?;
    let rows: Vec<BlockedRow> = blocked.fetch_all(&mut *conn).await?;
    rows.into_iter().map(read).collect()
}

fn read(
    (subscription, key, lane, due_at, seq, replay, parked): BlockedRow,
) -> Result<Blocked, StoreError> {
    let first = match (lane, due_at, seq, replay) {
        (Some(lane), Some(Instant(due_at)), Some(seq), Some(replay)) => Some(Position {
            subscription,
            lane: lane.try_into().map_err(corrupt)?,
            due_at,
            seq,
            replay: replay.try_into().map_err(corrupt)?,
        }),
        _ => None,
    };
    Ok(Blocked {
        subscription,
        key: OrderKey(key),
        first,
        parked,
    })
}

/// Of each key (`$3`, `$4`) the next ones, unless one that was put back is before them, in a subscription that has an order
/// still. The last of them bears the key on, so that those after it wait. A release would not see what is let go behind it.
pub(super) const LET_GO: &str = "
    WITH held AS MATERIALIZED (
        SELECT ARRAY(SELECT shard FROM shard WHERE owner = $1 AND epoch <= $2) AS shards
    ), asked AS MATERIALIZED (
        SELECT k.subscription, k.order_key, f.seq AS first, p.places, p.seqs
        FROM unnest($3::bigint[], $4::bigint[]) AS k(subscription, order_key)
        CROSS JOIN LATERAL (
            SELECT s.order_by IS NOT NULL AS is_ordered, s.order_by IS NOT NULL AND s.on_dead = 'hold' AS holds
            FROM subscription s
            WHERE s.seq = k.subscription AND s.shard = ANY ((SELECT shards FROM held)::smallint[])
              AND NOT EXISTS (SELECT FROM release r WHERE r.subscription = s.seq OFFSET 0)
            OFFSET 0) s
        CROSS JOIN LATERAL (
            SELECT least(
                       (SELECT min(d.seq) FROM delivery d
                        WHERE s.is_ordered AND d.subscription = k.subscription AND d.order_key = k.order_key AND d.lane = 0),
                       (SELECT min(d.seq) FROM delivery d
                        WHERE s.holds AND d.subscription = k.subscription AND d.order_key = k.order_key AND d.lane = 2)
                   ) AS seq) f
        CROSS JOIN LATERAL (
            SELECT array_agg(d.place ORDER BY d.seq) AS places, array_agg(d.seq ORDER BY d.seq) AS seqs
            FROM (
                (SELECT d.ctid AS place, d.seq
                 FROM delivery d
                 WHERE d.subscription = k.subscription AND d.order_key = k.order_key AND d.lane = 3
                 ORDER BY d.seq
                 LIMIT $5 + 1)
                UNION ALL
                (SELECT d.ctid, d.seq
                 FROM delivery d
                 WHERE NOT s.holds AND d.subscription = k.subscription AND d.order_key = k.order_key AND d.lane = 2
                 ORDER BY d.seq
                 LIMIT $5 + 1)
                ORDER BY seq
                LIMIT $5 + 1) d) p
    ), gone AS (
        DELETE FROM delivery
        WHERE ctid = ANY (ARRAY(
            SELECT u.place FROM asked a CROSS JOIN LATERAL unnest(a.places[:$5]) AS u(place) WHERE a.first IS NULL))
        RETURNING subscription, order_key, due_at, seq, event, attempts, tries, replay, waited
    ), moved AS (
        INSERT INTO delivery (subscription, lane, due_at, seq, event, attempts, tries, replay, waited, order_key)
        SELECT g.subscription, 0, min(g.due_at) OVER (PARTITION BY g.subscription, g.order_key), g.seq, g.event, g.attempts,
               g.tries, g.replay, g.waited,
               CASE WHEN cardinality(a.seqs) > $5 AND g.seq = a.seqs[$5] THEN g.order_key END
        FROM gone g
        JOIN asked a ON a.subscription = g.subscription AND a.order_key = g.order_key
    )
    SELECT (SELECT cardinality(shards) FROM held), a.subscription, a.order_key,
           coalesce(a.first, CASE WHEN cardinality(a.seqs) > $5 THEN a.seqs[$5] END), a.first IS NOT NULL
    FROM (SELECT) one
    LEFT JOIN asked a ON true";

/// How many shards are owned, the subscription, the key, up to where they may go, and whether they wait.
type LetGoRow = (i32, Option<i64>, Option<i64>, Option<i64>, bool);

pub(super) async fn let_go(
    store: &PostgresStore,
    lease: &Lease,
    keys: &[(i64, OrderKey)],
) -> Result<Vec<LetGo>, StoreError> {
    owner::check(store, lease)?;
    let (subscriptions, order_keys): (Vec<i64>, Vec<i64>) =
        keys.iter().map(|(of, OrderKey(key))| (*of, *key)).unzip();
    let rows: Vec<LetGoRow> = sqlx::query_as(LET_GO)
        .bind(lease.worker.as_uuid())
        .bind(lease.epoch)
        .bind(subscriptions)
        .bind(order_keys)
        .bind(i32::try_from(MOST).unwrap_or(i32::MAX))
        .fetch_all(&mut *store.0.engine.get().await?)
        .await?;
    reached(Failpoint::LetGoCommitted);
    if rows.iter().any(|(owned, ..)| *owned == 0) && !lease.owned().is_empty() {
        return Err(StoreError::LeaseLost);
    }
    Ok((rows.into_iter())
        .filter_map(|(_, subscription, key, upto, waits)| {
            Some(LetGo {
                subscription: subscription?,
                key: OrderKey(key?),
                upto,
                waits,
            })
        })
        .collect())
}

//! What is not finished, counted.

use tharsis_core::Timestamp;

use super::{PostgresStore, subscription::unreadable, value::Instant};
use crate::{Remaining, StoreError};

/// One pass over the deliveries. Their events are asked only where they can say something: one that was tried is past its
/// `not_before`.
pub(super) const REMAINING: &str = "
    SELECT
        (SELECT count(*) FROM outbox),
        (SELECT count(*) FROM command) + (SELECT count(*) FROM release)
            + (SELECT count(*)
               FROM replay r
               WHERE finished_at IS NULL AND NOT paused AND EXISTS (
                   SELECT
                   FROM replay_part p
                   WHERE p.replay = r.seq AND NOT p.done
                     AND (p.waits_for IS NULL
                          OR NOT p.stuck
                             AND NOT EXISTS (SELECT FROM subscription_state st WHERE st.subscription = p.waits_for)
                             AND NOT EXISTS (SELECT FROM subscription_health h
                                             WHERE h.subscription = p.waits_for AND h.condition = 'open' AND h.probe_at > $1)
                             AND p.waits_for <> ALL ($2)))),
        count(*),
        count(*) FILTER (WHERE held),
        count(*) FILTER (WHERE NOT held AND due_at > $1 AND tries = 0 AND EXISTS (
            SELECT FROM event e WHERE e.id = d.event AND e.not_before > $1 OFFSET 0))
    FROM (
        SELECT event, due_at, tries,
               lane IN (1, 2)
               OR lane = 3 AND (subscription, order_key) IN (
                   SELECT k.subscription, k.order_key FROM delivery k WHERE k.order_key IS NOT NULL AND k.lane = 2)
               OR lane = 0 AND subscription IN (
                   SELECT k.subscription
                   FROM delivery k
                   JOIN subscription s ON s.seq = k.subscription
                   WHERE k.order_key = 0 AND k.lane = 2 AND s.order_by = 'strict')
               OR subscription IN (SELECT subscription FROM subscription_state)
               OR EXISTS (SELECT FROM subscription_health h
                          WHERE h.subscription = d.subscription AND h.condition = 'open' AND h.probe_at > $1)
               OR subscription = ANY ($2) AS held
        FROM delivery d) d";

pub(super) async fn remaining(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<Remaining, StoreError> {
    let reader = store.reader()?;
    let mut read = store.0.lists.get().await?;
    let unreadable = unreadable(&mut read, reader, None).await?;
    let counted: (i64, i64, i64, i64, i64) = sqlx::query_as(REMAINING)
        .bind(Instant(now))
        .bind(unreadable)
        .fetch_one(&mut *read)
        .await?;
    let (unrouted, commands, every, held, scheduled) = counted;
    Ok(Remaining {
        unrouted: unrouted.unsigned_abs(),
        pending: (every - held - scheduled).unsigned_abs(),
        held: held.unsigned_abs(),
        scheduled: scheduled.unsigned_abs(),
        commands: commands.unsigned_abs(),
    })
}

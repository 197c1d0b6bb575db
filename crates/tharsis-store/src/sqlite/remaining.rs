//! What is not finished, counted.

use tharsis_core::Timestamp;

use super::{SqliteStore, subscription::unreadable, value::json};
use crate::{Remaining, StoreError};

const REMAINING: &str = "
    SELECT
        (SELECT count(*) FROM tharsis_outbox o CROSS JOIN tharsis_event e ON e.seq = o.event),
        (SELECT count(*) FROM tharsis_command) + (SELECT count(*) FROM tharsis_release)
            + (SELECT count(*)
               FROM tharsis_replay r
               WHERE finished_at IS NULL AND NOT paused AND EXISTS (
                   SELECT 1
                   FROM tharsis_replay_part p
                   WHERE p.replay = r.seq AND NOT p.done
                     AND (p.waits_for IS NULL
                          OR NOT p.stuck
                             AND p.waits_for NOT IN (SELECT subscription FROM tharsis_subscription_state)
                             AND NOT EXISTS (SELECT 1 FROM tharsis_subscription_health h
                                             WHERE h.subscription = p.waits_for AND h.condition = 'open' AND h.probe_at > ?1)
                             AND p.waits_for NOT IN (SELECT value FROM jsonb_each(?2))))),
        count(*),
        count(*) FILTER (WHERE held),
        count(*) FILTER (WHERE NOT held AND due_at > ?1 AND tries = 0 AND EXISTS (
            SELECT 1 FROM tharsis_event e WHERE e.seq = event AND e.not_before > ?1))
    FROM (
        SELECT event, due_at, tries,
               lane IN (1, 2)
               OR lane = 3 AND (subscription, order_key) IN (
                   SELECT k.subscription, k.order_key FROM tharsis_delivery k WHERE k.order_key IS NOT NULL AND k.lane = 2)
               OR lane = 0 AND subscription IN (
                   SELECT k.subscription
                   FROM tharsis_delivery k
                   JOIN tharsis_subscription s ON s.seq = k.subscription
                   WHERE k.order_key = 0 AND k.lane = 2 AND s.order_by = 'strict')
               OR subscription IN (SELECT subscription FROM tharsis_subscription_state)
               OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                          WHERE h.subscription = d.subscription AND h.condition = 'open' AND h.probe_at > ?1)
               OR subscription IN (SELECT value FROM jsonb_each(?2)) AS held
        FROM tharsis_delivery d)";

pub(super) async fn remaining(
    store: &SqliteStore,
    now: Timestamp,
) -> Result<Remaining, StoreError> {
    let mut read = store.0.reads.acquire().await?;
    let unreadable = unreadable(&mut read, store.reader(), None).await?;
    let (unrouted, commands, every, held, scheduled): (u64, u64, u64, u64, u64) =
        sqlx::query_as(REMAINING)
            .bind(now.as_millis())
            .bind(json(&unreadable)?)
            .fetch_one(&mut *read)
            .await?;
    Ok(Remaining {
        unrouted,
        pending: every.saturating_sub(held + scheduled),
        held,
        scheduled,
        commands,
    })
}

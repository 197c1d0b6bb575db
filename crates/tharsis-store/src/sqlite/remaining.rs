//! What is not finished, counted.

use tharsis_core::Timestamp;

use super::{SqliteStore, subscription::unreadable, value::json};
use crate::{Remaining, StoreError};

const REMAINING: &str = "
    SELECT
        (SELECT count(*) FROM tharsis_outbox o CROSS JOIN tharsis_event e ON e.seq = o.event),
        (SELECT count(*) FROM tharsis_command)
            + (SELECT count(*) FROM tharsis_replay WHERE finished_at IS NULL),
        d.held, d.scheduled, d.every
    FROM (
        SELECT count(*) AS every,
               count(*) FILTER (WHERE held) AS held,
               count(*) FILTER (WHERE NOT held AND attempts = 0 AND due_at > ?1) AS scheduled
        FROM (
            SELECT d.attempts, d.due_at,
                   d.subscription IN (SELECT subscription FROM tharsis_subscription_state)
                   OR d.subscription IN (SELECT value FROM jsonb_each(?2)) AS held
            FROM tharsis_delivery d)) d";

pub(super) async fn remaining(
    store: &SqliteStore,
    now: Timestamp,
) -> Result<Remaining, StoreError> {
    let mut read = store.0.reads.acquire().await?;
    let unreadable = unreadable(&mut read, &store.0.key).await?;
    let (unrouted, commands, held, scheduled, every): (u64, u64, u64, u64, u64) =
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

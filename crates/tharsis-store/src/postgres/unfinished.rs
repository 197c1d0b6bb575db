//! How much is unfinished, counted without a look at events.

use tharsis_core::{ClientId, SubscriptionId};

use super::{PostgresStore, connect::Write, history::look, subscription::unreadable};
use crate::{StoreError, Unfinished};

/// So many rows (`$2`) in the order of the lanes' key, then what holds them, asked once for all that are alike.
pub(super) const UNFINISHED: &str = "
    SELECT coalesce(sum(n) FILTER (WHERE NOT held AND NOT tried), 0)::bigint,
           coalesce(sum(n) FILTER (WHERE NOT held AND tried), 0)::bigint,
           coalesce(sum(n) FILTER (WHERE held), 0)::bigint
    FROM (
        SELECT n, tried,
               waits
               OR live AND EXISTS (
                   SELECT
                   FROM subscription o
                   CROSS JOIN LATERAL (
                       SELECT FROM delivery k
                       WHERE k.subscription = o.seq AND k.order_key = 0 AND k.lane = 2
                       LIMIT 1) k
                   WHERE o.seq = g.subscription AND o.order_by = 'strict'
                   OFFSET 0)
               OR subscription IN (SELECT subscription FROM subscription_state)
               OR EXISTS (SELECT FROM subscription_health h
                          WHERE h.subscription = g.subscription AND h.condition = 'open')
               OR subscription = ANY ($3) AS held
        FROM (
            SELECT subscription, lane = 0 AS live, tries > 0 AS tried,
                   lane IN (1, 2)
                   OR lane = 3 AND EXISTS (
                       SELECT
                       FROM delivery k
                       WHERE k.subscription = r.subscription AND k.order_key = r.order_key AND k.lane = 2
                       OFFSET 0) AS waits,
                   count(*) AS n
            FROM (
                SELECT d.subscription, d.lane, d.order_key, d.tries
                FROM subscription s
                CROSS JOIN LATERAL (
                    SELECT i.subscription, i.lane, i.order_key, i.tries
                    FROM delivery i
                    WHERE i.subscription = s.seq
                    ORDER BY i.lane, i.due_at, i.seq
                    OFFSET 0) d
                WHERE ($1 IS NULL OR s.client = $1) AND ($4 IS NULL OR s.id = $4)
                LIMIT $2) r
            GROUP BY 1, 2, 3, 4) g
        OFFSET 0) h";

pub(super) async fn unfinished(
    store: &PostgresStore,
    client: Option<ClientId>,
    subscription: Option<SubscriptionId>,
    most: u64,
) -> Result<Unfinished, StoreError> {
    let read = look(store).await?;
    counted(store, read, client, subscription, most).await
}

/// By keys alone, whatever statistics say, in this transaction, which it ends.
pub(super) async fn counted(
    store: &PostgresStore,
    mut read: Write,
    client: Option<ClientId>,
    subscription: Option<SubscriptionId>,
    most: u64,
) -> Result<Unfinished, StoreError> {
    sqlx::query(
        "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true)",
    )
    .execute(&mut *read)
    .await?;
    let unreadable = unreadable(&mut read, store.reader()?, client).await?;
    let (pending, retrying, held): (i64, i64, i64) = sqlx::query_as(UNFINISHED)
        .bind(client.map(|c| *c.as_uuid()))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .bind(unreadable)
        .bind(subscription.map(|id| *id.as_uuid()))
        .fetch_one(&mut *read)
        .await?;
    read.roll_back().await?;
    let counted = [pending, retrying, held].map(i64::unsigned_abs);
    Ok(Unfinished::of(counted.into(), most))
}

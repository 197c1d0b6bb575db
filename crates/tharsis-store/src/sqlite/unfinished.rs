//! How much is unfinished, counted without a look at events.

use tharsis_core::{ClientId, SubscriptionId};

use super::{
    SqliteStore,
    subscription::unreadable,
    value::{blob, json},
};
use crate::{StoreError, Unfinished};

/// So many rows (`?2`) in the order of the lanes' key, then what holds them, asked once for all that are alike.
pub(super) const UNFINISHED: &str = "
    SELECT coalesce(sum(n) FILTER (WHERE NOT held AND NOT tried), 0),
           coalesce(sum(n) FILTER (WHERE NOT held AND tried), 0),
           coalesce(sum(n) FILTER (WHERE held), 0)
    FROM (
        SELECT n, tried,
               waits
               OR live AND EXISTS (
                   SELECT 1
                   FROM tharsis_subscription o
                   CROSS JOIN tharsis_delivery k ON k.subscription = o.seq AND k.order_key = 0 AND k.lane = 2
                   WHERE o.seq = g.subscription AND o.order_by = 'strict')
               OR subscription IN (SELECT subscription FROM tharsis_subscription_state)
               OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                          WHERE h.subscription = g.subscription AND h.condition = 'open')
               OR subscription IN (SELECT value FROM json_each(?3)) AS held
        FROM (
            SELECT subscription, lane = 0 AS live, tries > 0 AS tried,
                   lane IN (1, 2)
                   OR lane = 3 AND EXISTS (
                       SELECT 1
                       FROM tharsis_delivery k
                       WHERE k.subscription = r.subscription AND k.order_key = r.order_key AND k.lane = 2) AS waits,
                   count(*) AS n
            FROM (
                SELECT d.subscription, d.lane, d.order_key, d.tries
                FROM tharsis_subscription s
                CROSS JOIN tharsis_delivery d ON d.subscription = s.seq
                WHERE (?1 IS NULL OR s.client = ?1) AND (?4 IS NULL OR s.id = ?4)
                LIMIT ?2) r
            GROUP BY 1, 2, 3, 4) g)";

pub(super) async fn unfinished(
    store: &SqliteStore,
    client: Option<ClientId>,
    subscription: Option<SubscriptionId>,
    most: u64,
) -> Result<Unfinished, StoreError> {
    let mut read = store.0.lists.begin().await?;
    let unreadable = unreadable(&mut read, store.reader(), client).await?;
    let counted: (u64, u64, u64) = sqlx::query_as(UNFINISHED)
        .bind(client.map(|c| blob(c.as_uuid())))
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .bind(json(&unreadable)?)
        .bind(subscription.map(|id| blob(id.as_uuid())))
        .fetch_one(&mut *read)
        .await?;
    Ok(Unfinished::of(counted, most))
}

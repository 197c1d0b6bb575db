//! What lies in the database at a moment, by shard.

use super::{
    SqliteStore, owner,
    survey::{COUNTS, FIRST_DUE_OF_SHARDS},
    unfinished,
    value::{Millis, corrupt},
};
use crate::{
    Gauges, MOST_COUNTED, Shard, StoreError,
    gauges::{by_shard, met_since},
};

/// By the last byte of its subscription's id, which its shard is made of.
const BACKLOG: &str = "
    SELECT substr(s.id, 16, 1), sum(c.n)
    FROM (SELECT subscription, count(*) AS n
          FROM (SELECT subscription FROM tharsis_delivery LIMIT ?1)
          GROUP BY subscription) c
    CROSS JOIN tharsis_subscription s ON s.seq = c.subscription
    GROUP BY 1";

/// What was told last of each receiver that was met since (`?2`).
const CERTIFICATES: &str = "
    SELECT max(a.since)
    FROM tharsis_subscription s
    CROSS JOIN tharsis_alert a ON a.subscription = s.seq AND a.cause = 'certificate.expiring'
    WHERE s.removed_at IS NULL AND a.since > ?1 AND a.raised_at > ?2
    GROUP BY s.seq";

pub(super) async fn gauges(store: &SqliteStore) -> Result<Gauges, StoreError> {
    let workers = store.workers().await?;
    let unfinished = unfinished::unfinished(store, None, None, MOST_COUNTED).await?;
    let most = i64::try_from(MOST_COUNTED).map_err(corrupt)?;
    let mut read = store.0.lists.begin().await?;
    let clock = owner::clock(&mut read).await?;
    let (unrouted, _, commands): (u64, u64, u64) = sqlx::query_as(COUNTS)
        .bind(most)
        .fetch_one(&mut *read)
        .await?;
    let counted: Vec<(Vec<u8>, u64)> = sqlx::query_as(BACKLOG)
        .bind(most)
        .fetch_all(&mut *read)
        .await?;
    let due: Vec<(Vec<u8>, Option<Millis>)> = sqlx::query_as(FIRST_DUE_OF_SHARDS)
        .fetch_all(&mut *read)
        .await?;
    let certificates: Vec<Millis> = sqlx::query_scalar(CERTIFICATES)
        .bind(clock.as_millis())
        .bind(met_since(clock).as_millis())
        .fetch_all(&mut *read)
        .await?;
    let counted: Vec<(Shard, u64)> = (counted.into_iter())
        .map(|(last, n)| Ok((shard(&last)?, n)))
        .collect::<Result<_, StoreError>>()?;
    let due: Vec<_> = (due.into_iter())
        .filter_map(|(last, due_at)| Some((last, due_at?)))
        .map(|(last, Millis(due_at))| Ok((shard(&last)?, due_at)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Gauges {
        clock,
        shards: by_shard(counted, due, clock),
        unrouted,
        held: unfinished.held,
        commands,
        workers: u64::try_from(workers.len()).map_err(corrupt)?,
        certificates: certificates.into_iter().map(|Millis(at)| at).collect(),
    })
}

fn shard(last: &[u8]) -> Result<Shard, StoreError> {
    match last {
        [last] => Ok(Shard::of_last_byte(*last)),
        _ => Err(corrupt("the end of an id")),
    }
}

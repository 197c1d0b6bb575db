//! What lies in the database at a moment, by shard.

use super::{
    PostgresStore,
    history::{look, look_by_keys},
    owner,
    survey::{COUNTS, FIRST_DUE_OF_SHARDS},
    unfinished,
    value::{Instant, corrupt},
};
use crate::{
    Gauges, MOST_COUNTED, Shard, StoreError,
    gauges::{by_shard, met_since},
};

const BACKLOG: &str = "
    SELECT s.shard, sum(c.n)::bigint
    FROM (SELECT d.subscription, count(*) AS n
          FROM (SELECT subscription FROM delivery LIMIT $1) d
          GROUP BY d.subscription) c
    JOIN subscription s ON s.seq = c.subscription
    GROUP BY s.shard";

/// What was told last of each receiver that was met since (`$2`).
const CERTIFICATES: &str = "
    SELECT max(a.since)
    FROM subscription s
    JOIN alert a ON a.subscription = s.seq AND a.cause = 'certificate.expiring'
    WHERE s.removed_at IS NULL AND a.since > $1 AND a.raised_at > $2
    GROUP BY s.seq";

/// Whoever asked has gone by then, and the server would go on.
const PATIENCE: &str = "SET LOCAL statement_timeout = '5s'";

pub(super) async fn gauges(store: &PostgresStore) -> Result<Gauges, StoreError> {
    let workers = owner::workers(store).await?;
    let mut read = look(store).await?;
    sqlx::query(PATIENCE).execute(&mut *read).await?;
    let unfinished = unfinished::counted(store, read, None, None, MOST_COUNTED).await?;
    let most = i64::try_from(MOST_COUNTED).map_err(corrupt)?;
    // Not on a connection of the engine, which has few.
    let mut read = look_by_keys(store).await?;
    sqlx::query(PATIENCE).execute(&mut *read).await?;
    let due: Vec<(i16, Instant)> = sqlx::query_as(FIRST_DUE_OF_SHARDS)
        .fetch_all(&mut *read)
        .await?;
    read.roll_back().await?;
    let mut read = store.0.lists.begin().await?;
    sqlx::query(PATIENCE).execute(&mut *read).await?;
    let (Instant(clock), unrouted, _, commands): (Instant, i64, i64, i64) = sqlx::query_as(COUNTS)
        .bind(most)
        .fetch_one(&mut *read)
        .await?;
    let counted: Vec<(i16, i64)> = sqlx::query_as(BACKLOG)
        .bind(most)
        .fetch_all(&mut *read)
        .await?;
    let certificates: Vec<Instant> = sqlx::query_scalar(CERTIFICATES)
        .bind(Instant(clock))
        .bind(Instant(met_since(clock)))
        .fetch_all(&mut *read)
        .await?;
    read.roll_back().await?;
    let counted: Vec<_> = (counted.into_iter())
        .map(|(shard, n)| Ok((self::shard(shard)?, n.unsigned_abs())))
        .collect::<Result<_, StoreError>>()?;
    let due: Vec<_> = (due.into_iter())
        .map(|(shard, Instant(due_at))| Ok((self::shard(shard)?, due_at)))
        .collect::<Result<_, StoreError>>()?;
    Ok(Gauges {
        clock,
        shards: by_shard(counted, due, clock),
        unrouted: unrouted.unsigned_abs(),
        held: unfinished.held,
        commands: commands.unsigned_abs(),
        workers: u64::try_from(workers.len()).map_err(corrupt)?,
        certificates: certificates.into_iter().map(|Instant(at)| at).collect(),
    })
}

fn shard(number: i16) -> Result<Shard, StoreError> {
    u8::try_from(number).map(Shard).map_err(corrupt)
}

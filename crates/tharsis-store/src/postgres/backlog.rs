//! Clients whose backlog is full: what they publish is refused.

use sqlx::PgConnection;
use tharsis_core::{ClientId, Timestamp};
use uuid::Uuid;

use super::{PostgresStore, owner, value::Instant};
use crate::{FullBacklog, Lease, StoreError, backlog, failpoint};

/// What of each client of these shards waits, at most one more than `$2` of a kind, and until when it counts as full. Of
/// what is not routed the oldest of each shard is looked at.
pub(super) const WEIGH: &str = "
    WITH unrouted AS MATERIALIZED (
        SELECT o.client, count(*) AS events
        FROM unnest($1) s (shard)
        CROSS JOIN LATERAL (
            SELECT client FROM outbox WHERE shard = s.shard ORDER BY seq LIMIT $2 + 1) o
        GROUP BY o.client)
    SELECT c.client,
           coalesce((SELECT u.events FROM unrouted u WHERE u.client = c.client), 0)
           + (SELECT count(*) FROM (
                SELECT
                FROM (SELECT seq FROM subscription WHERE client = c.client OFFSET 0) s
                CROSS JOIN LATERAL (SELECT FROM delivery WHERE subscription = s.seq OFFSET 0) d
                LIMIT $2 + 1) d),
           c.until
    FROM (SELECT client, max(until) AS until
          FROM (SELECT client, NULL::timestamptz AS until FROM subscription WHERE removed_at IS NULL
                UNION ALL
                SELECT client, until FROM full_backlog) k
          WHERE shard_of(client) = ANY ($1)
          GROUP BY client) c";

pub(super) async fn weigh(
    store: &PostgresStore,
    lease: &Lease,
    limit: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    owner::check(store, lease)?;
    let mut read = store.0.engine.get().await?;
    let weighed: Vec<(Uuid, i64, Option<Instant>)> = match limit {
        Some(limit) => {
            sqlx::query_as(WEIGH)
                .bind(owner::array(lease.shards))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX - 1))
                .fetch_all(&mut *read)
                .await?
        }
        None => sqlx::query_as(
            "SELECT client, 0::bigint, until FROM full_backlog WHERE shard_of(client) = ANY ($1)",
        )
        .bind(owner::array(lease.shards))
        .fetch_all(&mut *read)
        .await?,
    };
    drop(read);
    let weighed = weighed.into_iter().map(|(client, waiting, until)| {
        let until = until.map(|Instant(until)| until);
        (ClientId::from_uuid(client), waiting.unsigned_abs(), until)
    });
    let turns = backlog::turns(weighed, limit, now);
    if turns.is_empty() {
        return Ok(());
    }
    let mut write = store.0.engine.begin().await?;
    owner::fence(&mut write, lease).await?;
    for (client, is_full) in turns {
        note(&mut write, client, is_full, now).await?;
    }
    write.commit(failpoint::BACKLOG).await
}

async fn note(
    conn: &mut PgConnection,
    client: ClientId,
    is_full: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statement = if is_full {
        sqlx::query(
            "INSERT INTO full_backlog AS f (client, since, until) VALUES ($1, $2, $3)
             ON CONFLICT (client) DO UPDATE
             SET since = CASE WHEN f.until < $2 THEN $2 ELSE f.since END, until = $3",
        )
        .bind(client.as_uuid())
        .bind(Instant(now))
        .bind(Instant(now + backlog::COUNTS))
    } else {
        sqlx::query("DELETE FROM full_backlog WHERE client = $1").bind(client.as_uuid())
    };
    statement.execute(conn).await?;
    Ok(())
}

pub(super) async fn full(conn: &mut PgConnection) -> Result<Vec<FullBacklog>, StoreError> {
    let rows: Vec<(Uuid, Instant)> = sqlx::query_as(
        "SELECT client, since FROM full_backlog WHERE until > clock_timestamp() ORDER BY client",
    )
    .fetch_all(conn)
    .await?;
    let full = |(client, Instant(since))| FullBacklog {
        client: ClientId::from_uuid(client),
        since,
    };
    Ok(rows.into_iter().map(full).collect())
}

//! Clients whose backlog is full: what they publish is refused.

use sqlx::SqliteConnection;
use tharsis_core::{ClientId, Timestamp};

use super::{
    SqliteStore, owner,
    value::{Id, Millis, blob},
};
use crate::{FullBacklog, Lease, StoreError, backlog, failpoint};

/// What of each client waits, at most one more than `?1` of a kind, and whether it counts as full already. Of what is not
/// routed the oldest is looked at, of all clients together.
pub(super) const WEIGH: &str = "
    WITH unrouted AS MATERIALIZED (
        SELECT e.client, count(*) AS events
        FROM (SELECT event FROM tharsis_outbox ORDER BY event LIMIT ?1 + 1) o
        CROSS JOIN tharsis_event e ON e.seq = o.event
        GROUP BY e.client)
    SELECT c.client,
           coalesce((SELECT u.events FROM unrouted u WHERE u.client = c.client), 0)
           + (SELECT count(*) FROM (
                SELECT 1
                FROM tharsis_subscription s
                CROSS JOIN tharsis_delivery d ON d.subscription = s.seq
                WHERE s.client = c.client
                LIMIT ?1 + 1)),
           c.is_full
    FROM (SELECT client, max(is_full) AS is_full
          FROM (SELECT client, false AS is_full FROM tharsis_subscription WHERE removed_at IS NULL
                UNION ALL
                SELECT client, true FROM tharsis_full_backlog)
          GROUP BY client) c";

pub(super) async fn weigh(
    store: &SqliteStore,
    lease: &Lease,
    limit: Option<u64>,
    now: Timestamp,
) -> Result<(), StoreError> {
    store.0.owner.check(lease)?;
    if lease.shards.is_empty() {
        return Ok(());
    }
    let mut read = store.0.reads.acquire().await?;
    let weighed: Vec<(Id, u64, bool)> = match limit {
        Some(limit) => {
            sqlx::query_as(WEIGH)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX - 1))
                .fetch_all(&mut *read)
                .await?
        }
        None => {
            sqlx::query_as("SELECT client, 0, true FROM tharsis_full_backlog")
                .fetch_all(&mut *read)
                .await?
        }
    };
    drop(read);
    let weighed = weighed
        .into_iter()
        .map(|(Id(client), waiting, is_full)| (ClientId::from_uuid(client), waiting, is_full));
    let turns = backlog::turns(weighed, limit);
    if turns.is_empty() {
        return Ok(());
    }
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    for (client, becomes_full) in turns {
        note(&mut write, client, becomes_full, now).await?;
    }
    write.commit(failpoint::BACKLOG).await
}

async fn note(
    conn: &mut SqliteConnection,
    client: ClientId,
    becomes_full: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statement = if becomes_full {
        "INSERT OR IGNORE INTO tharsis_full_backlog (client, since) VALUES (?1, ?2)"
    } else {
        "DELETE FROM tharsis_full_backlog WHERE client = ?1 AND ?2 IS NOT NULL"
    };
    sqlx::query(statement)
        .bind(blob(client.as_uuid()))
        .bind(now.as_millis())
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn full(conn: &mut SqliteConnection) -> Result<Vec<FullBacklog>, StoreError> {
    let rows: Vec<(Id, Millis)> =
        sqlx::query_as("SELECT client, since FROM tharsis_full_backlog ORDER BY client")
            .fetch_all(conn)
            .await?;
    let full = |(Id(client), Millis(since))| FullBacklog {
        client: ClientId::from_uuid(client),
        since,
    };
    Ok(rows.into_iter().map(full).collect())
}

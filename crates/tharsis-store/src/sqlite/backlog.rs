//! Clients whose backlog is full: what they publish is refused.

use sqlx::SqliteConnection;
use tharsis_core::{ClientId, Timestamp};

use super::{
    SqliteStore, owner,
    value::{Id, Millis, blob},
};
use crate::{FullBacklog, Lease, StoreError, backlog, failpoint};

/// What of each client waits, at most one more than `?1` of a kind, and until when it counts as full. Of what is not
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
           c.until
    FROM (SELECT client, max(until) AS until
          FROM (SELECT client, NULL AS until FROM tharsis_subscription WHERE removed_at IS NULL
                UNION ALL
                SELECT client, until FROM tharsis_full_backlog)
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
    let weighed: Vec<(Id, u64, Option<Millis>)> = match limit {
        Some(limit) => {
            sqlx::query_as(WEIGH)
                .bind(i64::try_from(limit).unwrap_or(i64::MAX - 1))
                .fetch_all(&mut *read)
                .await?
        }
        None => {
            sqlx::query_as("SELECT client, 0, until FROM tharsis_full_backlog")
                .fetch_all(&mut *read)
                .await?
        }
    };
    drop(read);
    let weighed = weighed.into_iter().map(|(Id(client), waiting, until)| {
        let until = until.map(|Millis(until)| until);
        (ClientId::from_uuid(client), waiting, until)
    });
    let turns = backlog::turns(weighed, limit, now);
    if turns.is_empty() {
        return Ok(());
    }
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    for (client, is_full) in turns {
        note(&mut write, client, is_full, now).await?;
    }
    write.commit(failpoint::BACKLOG).await
}

async fn note(
    conn: &mut SqliteConnection,
    client: ClientId,
    is_full: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let statement = if is_full {
        sqlx::query(
            "INSERT INTO tharsis_full_backlog AS f (client, since, until) VALUES (?1, ?2, ?3)
             ON CONFLICT (client) DO UPDATE
             SET since = CASE WHEN f.until < ?2 THEN ?2 ELSE f.since END, until = ?3",
        )
        .bind(blob(client.as_uuid()))
        .bind(now.as_millis())
        .bind((now + backlog::COUNTS).as_millis())
    } else {
        sqlx::query("DELETE FROM tharsis_full_backlog WHERE client = ?1")
            .bind(blob(client.as_uuid()))
    };
    statement.execute(conn).await?;
    Ok(())
}

pub(super) async fn full(conn: &mut SqliteConnection) -> Result<Vec<FullBacklog>, StoreError> {
    let rows: Vec<(Id, Millis)> = sqlx::query_as(
        "SELECT client, since
             FROM tharsis_full_backlog
             WHERE until > CAST(round(unixepoch('subsec') * 1000) AS INTEGER)
             ORDER BY client",
    )
    .fetch_all(conn)
    .await?;
    let full = |(Id(client), Millis(since))| FullBacklog {
        client: ClientId::from_uuid(client),
        since,
    };
    Ok(rows.into_iter().map(full).collect())
}

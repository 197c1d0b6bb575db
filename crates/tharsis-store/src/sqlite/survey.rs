//! A look at the whole database.

use super::{
    SqliteStore, backlog, beside, migrate, owner,
    value::{Millis, corrupt},
};
use crate::{Engine, MOST_COUNTED, Shards, SqliteEngine, StoreError, Survey};

pub(super) const COUNTS: &str = "
    SELECT (SELECT count(*) FROM (SELECT 1 FROM tharsis_outbox LIMIT ?1)),
           (SELECT count(*) FROM (SELECT 1 FROM tharsis_delivery LIMIT ?1)),
           (SELECT count(*) FROM tharsis_command) + (SELECT count(*) FROM tharsis_release)
               + (SELECT count(*) FROM tharsis_replay WHERE finished_at IS NULL AND NOT paused)";

/// The first pointer.
pub(super) const FIRST_UNROUTED: &str = "
    SELECT e.published_at
    FROM tharsis_outbox o
    CROSS JOIN tharsis_event e ON e.seq = o.event
    ORDER BY o.event
    LIMIT 1";

/// The first of each lane that nothing holds.
macro_rules! first_due {
    () => {
        "min((SELECT d.due_at
              FROM tharsis_delivery d
              WHERE d.subscription = s.seq AND d.lane = 0
              ORDER BY d.due_at, d.event
              LIMIT 1))
         FROM tharsis_subscription s
         WHERE s.removed_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM tharsis_subscription_state st WHERE st.subscription = s.seq)
           AND NOT EXISTS (SELECT 1 FROM tharsis_subscription_health h
                           WHERE h.subscription = s.seq AND h.condition = 'open')
           AND NOT EXISTS (SELECT 1 FROM tharsis_delivery k
                           WHERE k.subscription = s.seq AND k.order_key = 0 AND k.lane = 2
                             AND s.order_by = 'strict')"
    };
}

pub(super) const FIRST_DUE: &str = concat!("SELECT ", first_due!());

/// By the last byte of the subscription's id, which its shard is made of.
pub(super) const FIRST_DUE_OF_SHARDS: &str =
    concat!("SELECT substr(s.id, 16, 1), ", first_due!(), " GROUP BY 1");

pub(super) async fn survey(store: &SqliteStore) -> Result<Survey, StoreError> {
    let workers = store.workers().await?;
    let mut read = store.0.lists.begin().await?;
    let clock = owner::clock(&mut read).await?;
    let version = sqlx::query_scalar("SELECT sqlite_version()")
        .fetch_one(&mut *read)
        .await?;
    let journal_mode = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut *read)
        .await?;
    let synchronous = sqlx::query_scalar("PRAGMA synchronous")
        .fetch_one(&mut *read)
        .await?;
    let (unrouted, unfinished, commands): (u64, u64, u64) = sqlx::query_as(COUNTS)
        .bind(i64::try_from(MOST_COUNTED).map_err(corrupt)?)
        .fetch_one(&mut *read)
        .await?;
    let unrouted_since: Option<Millis> = sqlx::query_scalar(FIRST_UNROUTED)
        .fetch_optional(&mut *read)
        .await?;
    let due_since: Option<Millis> = sqlx::query_scalar(FIRST_DUE).fetch_one(&mut *read).await?;
    let due_since = due_since.map(|Millis(at)| at);
    let wal = std::fs::metadata(beside(&store.0.path, "-wal"));
    Ok(Survey {
        clock,
        schema: migrate::applied(&mut read).await?,
        engine: Engine::Sqlite(SqliteEngine {
            version,
            journal_mode,
            synchronous,
            wal_bytes: wal.map_or(0, |wal| wal.len()),
        }),
        unrouted,
        unrouted_since: unrouted_since.map(|Millis(at)| at),
        unfinished,
        due_since: due_since.filter(|due| *due <= clock),
        commands,
        full: backlog::full(&mut read).await?,
        owned: if workers.is_empty() {
            Shards::default()
        } else {
            Shards::ALL
        },
        workers,
    })
}

//! A look at the whole database.

use super::{
    PostgresStore, backlog, migrate, owner, partition,
    value::{Instant, corrupt},
};
use crate::{Engine, MOST_COUNTED, PostgresEngine, StoreError, Survey};

/// Where the planner knows the tables as empty, a count of some is a walk all the same: it ends soon.
pub(super) const COUNTS: &str = "
    SELECT clock_timestamp(),
           (SELECT count(*) FROM (SELECT FROM outbox LIMIT $1) o),
           (SELECT count(*) FROM (SELECT FROM delivery LIMIT $1) d),
           (SELECT count(*) FROM command) + (SELECT count(*) FROM release)
               + (SELECT count(*) FROM replay WHERE finished_at IS NULL AND NOT paused)";

/// The first pointer of each shard.
pub(super) const FIRST_UNROUTED: &str = "
    SELECT min(f.published_at)
    FROM shard s
    CROSS JOIN LATERAL (
        SELECT o.published_at FROM outbox o WHERE o.shard = s.shard ORDER BY o.seq LIMIT 1) f";

/// The first of each lane that nothing holds.
macro_rules! first_due {
    () => {
        "min(f.due_at)
         FROM subscription s
         CROSS JOIN LATERAL (
             SELECT d.due_at
             FROM delivery d
             WHERE d.subscription = s.seq AND d.lane = 0
             ORDER BY d.due_at, d.seq
             LIMIT 1) f
         WHERE s.removed_at IS NULL
           AND NOT EXISTS (SELECT FROM subscription_state st WHERE st.subscription = s.seq)
           AND NOT EXISTS (SELECT FROM subscription_health h
                           WHERE h.subscription = s.seq AND h.condition = 'open')
           AND NOT EXISTS (SELECT FROM delivery k
                           WHERE k.subscription = s.seq AND k.order_key = 0 AND k.lane = 2
                             AND s.order_by = 'strict')"
    };
}

pub(super) const FIRST_DUE: &str = concat!("SELECT ", first_due!());

pub(super) const FIRST_DUE_OF_SHARDS: &str =
    concat!("SELECT s.shard, ", first_due!(), " GROUP BY s.shard");

/// `version, fsync, full_page_writes, synchronous_commit`.
type SettingsRow = (i32, bool, bool, String);

pub(super) async fn survey(store: &PostgresStore) -> Result<Survey, StoreError> {
    let workers = owner::workers(store).await?;
    let (days_until, in_default) = partition::ahead(store).await?;
    let mut engine = store.0.engine.get().await?;
    let unrouted_since: Option<Instant> = sqlx::query_scalar(FIRST_UNROUTED)
        .fetch_one(&mut *engine)
        .await?;
    let due_since: Option<Instant> = sqlx::query_scalar(FIRST_DUE)
        .fetch_one(&mut *engine)
        .await?;
    drop(engine);
    let mut read = store.0.lists.get().await?;
    let (version, fsync, full_page_writes, synchronous_commit): SettingsRow = sqlx::query_as(
        "SELECT current_setting('server_version_num')::integer, current_setting('fsync')::boolean,
                current_setting('full_page_writes')::boolean, current_setting('synchronous_commit')",
    )
    .fetch_one(&mut *read)
    .await?;
    let (Instant(clock), unrouted, unfinished, commands): (_, i64, i64, i64) =
        sqlx::query_as(COUNTS)
            .bind(i64::try_from(MOST_COUNTED).map_err(corrupt)?)
            .fetch_one(&mut *read)
            .await?;
    let due_since = due_since.map(|Instant(at)| at);
    Ok(Survey {
        clock,
        schema: migrate::applied(&mut read).await?.unwrap_or(0),
        engine: Engine::Postgres(PostgresEngine {
            version,
            fsync,
            full_page_writes,
            synchronous_commit,
            days_until,
            in_default,
        }),
        unrouted: unrouted.unsigned_abs(),
        unrouted_since: unrouted_since.map(|Instant(at)| at),
        unfinished: unfinished.unsigned_abs(),
        due_since: due_since.filter(|due| *due <= clock),
        commands: commands.unsigned_abs(),
        workers,
        full: backlog::full(&mut read).await?,
        owned: owner::owned_shards(&mut read).await?,
    })
}

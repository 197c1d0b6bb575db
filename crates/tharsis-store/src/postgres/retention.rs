//! What is kept no longer: whole days of events and attempts, and some rows at a time of the rest.

use std::{collections::BTreeSet, time::Duration};

use sqlx::PgConnection;
use tharsis_core::{EventId, Timestamp};
use uuid::Uuid;

use super::{
    PostgresStore, alert,
    command::{CHUNK, record_end},
    erasure,
    filter::first_at,
    forget, minute, owner,
    partition::{begin, end},
    value::Instant,
};
use crate::{
    Forgotten, Lease, Outlived, Pending, Retention, Shards, StoreError, WorkedOff,
    erasure::SWEPT_AFTER,
    failpoint,
    retention::{expiring, warned_since},
};

/// What is held, by subscriptions of the shards `$2`, of events before `$1`. Only time ends it.
macro_rules! held {
    () => {
        "d.event < $1
         AND EXISTS (
             SELECT FROM subscription s WHERE s.seq = d.subscription AND s.shard = ANY ($2) OFFSET 0)
         AND (d.lane IN (1, 2)
              OR EXISTS (SELECT FROM subscription_state st WHERE st.subscription = d.subscription OFFSET 0)
              OR EXISTS (SELECT FROM subscription_health h
                         WHERE h.subscription = d.subscription AND h.condition = 'open' OFFSET 0))"
    };
}

pub(super) const IS_ANY_HELD: &str =
    concat!("SELECT EXISTS (SELECT FROM delivery d WHERE ", held!(), ")");

/// Those of subscriptions of which it was told from `$5` to `$6` that they will end.
pub(super) const EXPIRE: &str = concat!(
    "WITH taken AS (
         DELETE FROM delivery WHERE ctid = ANY (ARRAY(
             SELECT d.ctid FROM delivery d WHERE ",
    held!(),
    "          AND EXISTS (
                   SELECT
                   FROM alert a
                   WHERE a.subscription = d.subscription AND a.cause = 'delivery.expiring'
                     AND a.outcome IN ('told', 'nobody') AND a.ended_at BETWEEN $5 AND $6
                   OFFSET 0)
             ORDER BY d.event, d.subscription LIMIT $4 FOR UPDATE SKIP LOCKED)) ",
    record_end!("retention", "expired"),
    " RETURNING subscription"
);

/// Those of subscriptions of which it was not told since `$3`.
pub(super) const EXPIRING: &str = concat!(
    "SELECT d.subscription, count(*), min(d.event::text)::uuid
     FROM delivery d
     WHERE ",
    held!(),
    " AND NOT EXISTS (
          SELECT
          FROM alert a
          WHERE a.subscription = d.subscription AND a.cause = 'delivery.expiring'
            AND (a.ended_at IS NULL OR a.raised_at > $3)
          OFFSET 0)
      GROUP BY d.subscription"
);

/// Ends a chunk of what was held for too long; where there is none, raises that there will be.
pub(super) async fn expire(
    store: &PostgresStore,
    lease: &Lease,
    retention: &Retention,
    now: Timestamp,
) -> Result<WorkedOff, StoreError> {
    owner::check(store, lease)?;
    let Some(bounds) = retention.bounds(now).held else {
        return Ok(WorkedOff::default());
    };
    let is_any: bool = sqlx::query_scalar(IS_ANY_HELD)
        .bind(first_at(bounds.warned.as_millis()))
        .bind(owner::array(lease.shards))
        .fetch_one(&mut *store.0.engine.get().await?)
        .await?;
    if !is_any {
        return Ok(WorkedOff::default());
    }
    let mut write = store.0.engine.begin().await?;
    let shards = owner::fence(&mut write, lease).await?;
    let ended: Vec<i64> = sqlx::query_scalar(EXPIRE)
        .bind(first_at(bounds.ends.as_millis()))
        .bind(owner::array(shards))
        .bind(Instant(now))
        .bind(i64::from(CHUNK))
        .bind(Instant(bounds.told.0))
        .bind(Instant(bounds.told.1))
        .fetch_all(&mut *write)
        .await?;
    if ended.is_empty() {
        warn(&mut write, shards, bounds.warned, now).await?;
    }
    write.commit(failpoint::RETENTION).await?;
    let more = !ended.is_empty();
    let lanes: BTreeSet<i64> = ended.into_iter().collect();
    let lane = |subscription| Pending {
        subscription,
        due_at: now,
    };
    Ok(WorkedOff {
        lanes: lanes.into_iter().map(lane).collect(),
        more,
        next: None,
    })
}

async fn warn(
    conn: &mut PgConnection,
    shards: Shards,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let soon: Vec<(i64, i64, Uuid)> = sqlx::query_as(EXPIRING)
        .bind(first_at(before.as_millis()))
        .bind(owner::array(shards))
        .bind(Instant(warned_since(now)))
        .fetch_all(&mut *conn)
        .await?;
    for (subscription, count, first) in soon {
        let first = EventId::from_uuid(first).at();
        let raised = expiring(subscription, count.unsigned_abs(), first, now);
        alert::raise(conn, &[raised]).await?;
    }
    Ok(())
}

/// One round of what is kept no longer.
pub(super) async fn forget(
    store: &PostgresStore,
    retention: &Retention,
    now: Timestamp,
) -> Result<Forgotten, StoreError> {
    let bounds = retention.bounds(now);
    let mut forgotten = Forgotten {
        more: erasure::sweep(store, now - SWEPT_AFTER, now).await?,
        ..Forgotten::default()
    };
    forgotten.more |= minute::forget(store, now).await?;
    if let Some(before) = bounds.history {
        forgotten.events = forget::events_before(store, before).await?;
        forgotten.more |= forget_replays(store, before).await?;
    }
    if let Some(before) = bounds.excerpts {
        let more;
        (forgotten.excerpts, more) = forget_excerpts(store, before).await?;
        forgotten.more |= more;
    }
    if let Some(before) = bounds.audit {
        forgotten.audit = forget_audit(store, before).await?;
        forgotten.more |= forgotten.audit == u64::from(CHUNK);
    }
    Ok(forgotten)
}

/// The oldest replays. Returns whether there may be more.
async fn forget_replays(store: &PostgresStore, before: Timestamp) -> Result<bool, StoreError> {
    const SOME: i64 = 20;
    let Some(mut write) = begin(store).await? else {
        return Ok(false);
    };
    let old: Vec<i64> =
        sqlx::query_scalar("SELECT seq FROM replay WHERE finished_at < $1 ORDER BY seq LIMIT $2")
            .bind(Instant(before))
            .bind(SOME)
            .fetch_all(&mut *write)
            .await?;
    let mut done = Ok(());
    for statement in [
        "DELETE FROM replay_delivery WHERE replay = ANY ($1)",
        "DELETE FROM replay_part WHERE replay = ANY ($1)",
        "DELETE FROM replay WHERE seq = ANY ($1)",
    ] {
        if done.is_ok() && !old.is_empty() {
            done = (sqlx::query(statement).bind(&old).execute(&mut *write).await).map(drop);
        }
    }
    let is_done = end(
        write,
        done,
        failpoint::RETENTION,
        "Replays are forgotten later",
    )
    .await?;
    Ok(is_done && old.len() as i64 == SOME)
}

/// From where it has come to, to an instant, and on the way the place that it has come to.
pub(super) const FORGET_EXCERPTS: &str = "
    WITH gone AS (
        UPDATE attempt SET excerpt = NULL WHERE at >= $1 AND at < $2 AND excerpt IS NOT NULL RETURNING event
    ), moved AS (
        INSERT INTO retention (id, excerpts_to) VALUES (1, $2)
        ON CONFLICT (id) DO UPDATE SET excerpts_to = excluded.excerpts_to
    )
    SELECT count(*) FROM gone";

/// Goes on in spans of time that are longer where there is little. Returns how many, and whether there is more.
async fn forget_excerpts(
    store: &PostgresStore,
    before: Timestamp,
) -> Result<(u64, bool), StoreError> {
    const SPANS: usize = 32;
    const FEW: u64 = 1_000;
    const MANY: u64 = 20_000;
    let mut span = Duration::from_secs(10);
    let mut gone = 0;
    for _ in 0..SPANS {
        let Some(mut write) = begin(store).await? else {
            return Ok((gone, false));
        };
        let from: Option<Instant> = sqlx::query_scalar("SELECT excerpts_to FROM retention")
            .fetch_optional(&mut *write)
            .await?;
        let Some(Instant(from)) = from else {
            // It goes through all attempts, once.
            let began = sqlx::query(
                "INSERT INTO retention (id, excerpts_to)
                 SELECT 1, coalesce((SELECT min(at) FROM attempt), $1)",
            )
            .bind(Instant(before))
            .execute(&mut *write)
            .await;
            let later = "Answers are forgotten later";
            let is_begun = end(write, began.map(drop), failpoint::RETENTION, later).await?;
            return Ok((gone, is_begun));
        };
        if from >= before {
            write.roll_back().await?;
            return Ok((gone, false));
        }
        let forgot: Result<i64, sqlx::Error> = sqlx::query_scalar(FORGET_EXCERPTS)
            .bind(Instant(from))
            .bind(Instant((from + span).min(before)))
            .fetch_one(&mut *write)
            .await;
        let count = forgot.as_ref().map_or(0, |count| count.unsigned_abs());
        let later = "Answers are forgotten later";
        if !end(write, forgot.map(drop), failpoint::RETENTION, later).await? {
            return Ok((gone, true));
        }
        gone += count;
        if gone >= MANY {
            break;
        }
        if count < FEW {
            span = span.saturating_mul(2);
        }
    }
    Ok((gone, true))
}

async fn forget_audit(store: &PostgresStore, before: Timestamp) -> Result<u64, StoreError> {
    Ok(sqlx::query(
        "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE at < $1 ORDER BY seq LIMIT $2)",
    )
    .bind(Instant(before))
    .bind(i64::from(CHUNK))
    .execute(&mut *store.0.lists.get().await?)
    .await?
    .rows_affected())
}

/// What would be forgotten now.
pub(super) async fn outlived(
    store: &PostgresStore,
    retention: &Retention,
    now: Timestamp,
) -> Result<Outlived, StoreError> {
    let bounds = retention.bounds(now);
    let mut outlived = Outlived::default();
    if let Some(before) = bounds.history {
        (outlived.events, outlived.needed) = forget::count_before(store, before).await?;
        let count = concat!("SELECT count(*) FROM delivery d WHERE ", held!());
        outlived.held = count_of(
            sqlx::query_scalar(count)
                .bind(first_at(before.as_millis()))
                .bind(owner::array(Shards::ALL))
                .fetch_one(&mut *store.0.lists.get().await?)
                .await?,
        );
    }
    if let Some(before) = bounds.excerpts {
        // Of events that go the answers go with them.
        let kept = bounds
            .history
            .map_or(Uuid::nil(), |history| first_at(history.as_millis()));
        outlived.excerpts = count_of(
            sqlx::query_scalar(
                "SELECT count(*) FROM attempt WHERE at < $1 AND excerpt IS NOT NULL AND event >= $2",
            )
            .bind(Instant(before))
            .bind(kept)
            .fetch_one(&mut *store.0.lists.get().await?)
            .await?,
        );
    }
    if let Some(before) = bounds.audit {
        outlived.audit = count_of(
            sqlx::query_scalar("SELECT count(*) FROM audit WHERE at < $1")
                .bind(Instant(before))
                .fetch_one(&mut *store.0.lists.get().await?)
                .await?,
        );
    }
    Ok(outlived)
}

fn count_of(count: i64) -> u64 {
    count.unsigned_abs()
}

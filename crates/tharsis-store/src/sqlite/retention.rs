//! What is kept no longer, some hundred rows at a time: in a file of any size nobody waits for it.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use sqlx::SqliteConnection;
use tharsis_core::{
    Timestamp,
    delivery::{End, codes},
};

use super::{
    SqliteStore, alert,
    command::{CHUNK, end},
    erasure,
    filter::Pair,
    minute, owner,
    value::{Millis, json},
};
use crate::{
    Forgotten, Lease, Outlived, Pending, Retention, StoreError, WorkedOff,
    erasure::SWEPT_AFTER,
    failpoint,
    retention::{Held, expiring, warned_since},
};

/// Attempts that are looked at in one go.
const LOOKED: u32 = 2_000;

/// Answers are looked for this often: nothing leads to them but all attempts.
const PASS: Duration = Duration::from_secs(24 * 60 * 60);

/// How far this process has come.
#[derive(Default)]
pub(super) struct Walks(Mutex<Walked>);

#[derive(Clone, Copy, Default)]
struct Walked {
    /// The last event that was looked at.
    event: i64,
    /// The last attempt whose answer was looked at, and when the next pass begins.
    attempt: (i64, i64, i64),
    next_pass: Option<Timestamp>,
}

impl Walks {
    fn get(&self) -> Walked {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, walked: Walked) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = walked;
    }
}

/// The newest event of before an instant: later ones may be as old where the clock was set back, and are found one day.
const NEWEST_BEFORE: &str = "
    SELECT seq FROM tharsis_event INDEXED BY tharsis_event_published
    WHERE published_at < ?1
    ORDER BY published_at DESC
    LIMIT 1";

async fn newest_before(
    conn: &mut SqliteConnection,
    instant: Timestamp,
) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar(NEWEST_BEFORE)
        .bind(instant.as_millis())
        .fetch_optional(conn)
        .await?)
}

/// Whether something that is for nobody but time to end holds a delivery `d`.
macro_rules! is_held {
    () => {
        "(d.lane IN (1, 2)
          OR d.subscription IN (SELECT subscription FROM tharsis_subscription_state)
          OR EXISTS (SELECT 1 FROM tharsis_subscription_health h
                     WHERE h.subscription = d.subscription AND h.condition = 'open'))"
    };
}

/// What is held of events up to `?1` that were published before `?2`.
macro_rules! held {
    () => {
        concat!(
            " FROM tharsis_delivery d INDEXED BY tharsis_delivery_pair
              CROSS JOIN tharsis_event e ON e.seq = d.event
              WHERE d.event <= ?1 AND e.published_at < ?2 AND ",
            is_held!()
        )
    };
}

/// Those of subscriptions of which it was told from `?4` to `?5` that they will end.
pub(super) const HELD: &str = concat!(
    "SELECT d.event, d.subscription",
    held!(),
    " AND EXISTS (
          SELECT 1
          FROM tharsis_alert a
          WHERE a.subscription = d.subscription AND a.cause = 'delivery.expiring'
            AND a.outcome IN ('told', 'nobody') AND a.ended_at BETWEEN ?4 AND ?5)
      ORDER BY d.event, d.subscription LIMIT ?3"
);

/// Those of subscriptions of which it was not told since `?3`.
pub(super) const EXPIRING: &str = concat!(
    "SELECT d.subscription, count(*), min(e.published_at)",
    held!(),
    " AND NOT EXISTS (
          SELECT 1
          FROM tharsis_alert a
          WHERE a.subscription = d.subscription AND a.cause = 'delivery.expiring'
            AND (a.ended_at IS NULL OR a.raised_at > ?3))
      GROUP BY d.subscription"
);

/// Ends a chunk of what was held for too long; where there is none, raises that there will be.
pub(super) async fn expire(
    store: &SqliteStore,
    lease: &Lease,
    retention: &Retention,
    now: Timestamp,
) -> Result<WorkedOff, StoreError> {
    store.0.owner.check(lease)?;
    let Some(bounds) = retention.bounds(now).held else {
        return Ok(WorkedOff::default());
    };
    if lease.shards.is_empty() {
        return Ok(WorkedOff::default());
    }
    // Without the lock first, since there is rarely something.
    let mut read = store.0.reads.acquire().await?;
    let is_any = !held(&mut read, bounds).await?.is_empty();
    let soon = match is_any {
        true => Vec::new(),
        false => will_end(&mut read, bounds, now).await?,
    };
    drop(read);
    if !is_any && soon.is_empty() {
        return Ok(WorkedOff::default());
    }
    let mut write = store.0.writer.begin().await?;
    owner::fence(&mut write, lease).await?;
    let old = match is_any {
        true => held(&mut write, bounds).await?,
        false => BTreeSet::new(),
    };
    end(&mut write, &old, End::Expired, codes::RETENTION, now).await?;
    // Nobody but the owner raises it.
    for (subscription, count, Millis(first)) in soon {
        let raised = expiring(subscription, count, first, now);
        alert::raise(&mut write, &[raised]).await?;
    }
    write.commit(failpoint::RETENTION).await?;
    let lanes: BTreeSet<i64> = old.iter().map(|pair| pair.1).collect();
    let lane = |subscription| Pending {
        subscription,
        due_at: now,
    };
    Ok(WorkedOff {
        lanes: lanes.into_iter().map(lane).collect(),
        more: !old.is_empty(),
        next: None,
    })
}

async fn held(conn: &mut SqliteConnection, bounds: Held) -> Result<BTreeSet<Pair>, StoreError> {
    let Some(last) = newest_before(conn, bounds.ends).await? else {
        return Ok(BTreeSet::new());
    };
    let pairs: Vec<Pair> = sqlx::query_as(HELD)
        .bind(last)
        .bind(bounds.ends.as_millis())
        .bind(CHUNK)
        .bind(bounds.told.0.as_millis())
        .bind(bounds.told.1.as_millis())
        .fetch_all(conn)
        .await?;
    Ok(pairs.into_iter().collect())
}

async fn will_end(
    conn: &mut SqliteConnection,
    bounds: Held,
    now: Timestamp,
) -> Result<Vec<(i64, u64, Millis)>, StoreError> {
    let Some(last) = newest_before(conn, bounds.warned).await? else {
        return Ok(Vec::new());
    };
    Ok(sqlx::query_as(EXPIRING)
        .bind(last)
        .bind(bounds.warned.as_millis())
        .bind(warned_since(now).as_millis())
        .fetch_all(conn)
        .await?)
}

/// One chunk of what is kept no longer.
pub(super) async fn forget(
    store: &SqliteStore,
    retention: &Retention,
    now: Timestamp,
) -> Result<Forgotten, StoreError> {
    let bounds = retention.bounds(now);
    let mut forgotten = Forgotten {
        more: erasure::sweep(store, now - SWEPT_AFTER).await?,
        ..Forgotten::default()
    };
    forgotten.more |= minute::forget(store, now).await?;
    if let Some(before) = bounds.history {
        let more;
        (forgotten.events, more) = forget_events(store, before).await?;
        forgotten.more |= more;
        forgotten.more |= forget_replay(store, before).await?;
    }
    if let Some(before) = bounds.excerpts {
        let more;
        (forgotten.excerpts, more) = forget_excerpts(store, before, now).await?;
        forgotten.more |= more;
    }
    if let Some(before) = bounds.audit {
        forgotten.audit = forget_audit(store, before).await?;
        forgotten.more |= forgotten.audit == u64::from(CHUNK);
    }
    Ok(forgotten)
}

/// Whether nobody needs an event `e` any more. The newest one stays: its number would be given again.
macro_rules! is_over {
    () => {
        "e.published_at < ?1
         AND NOT EXISTS (SELECT 1 FROM tharsis_outbox o WHERE o.event = e.seq)
         AND NOT EXISTS (SELECT 1 FROM tharsis_delivery d WHERE d.event = e.seq)
         AND NOT EXISTS (
             SELECT 1
             FROM tharsis_replay r INDEXED BY tharsis_replay_unfinished
             CROSS JOIN tharsis_replay_part p ON p.replay = r.seq
             WHERE r.finished_at IS NULL AND NOT p.done AND e.seq >= p.cursor_event AND e.seq <= r.last_event)
         AND e.seq < (SELECT max(seq) FROM tharsis_event)"
    };
}

/// The next events, and whether they go.
pub(super) const NEXT_EVENTS: &str = concat!(
    "SELECT e.seq, ",
    is_over!(),
    " FROM tharsis_event e WHERE e.seq > ?2 AND e.seq <= ?3 ORDER BY e.seq LIMIT ?4"
);

/// Returns how many, and whether there are more to be looked at.
async fn forget_events(store: &SqliteStore, before: Timestamp) -> Result<(u64, bool), StoreError> {
    let mut walked = store.0.walks.get();
    let last = newest_before(&mut *store.0.reads.acquire().await?, before).await?;
    let Some(last) = last.filter(|last| *last > walked.event) else {
        walked.event = 0;
        store.0.walks.set(walked);
        return Ok((0, false));
    };
    let mut write = store.0.writer.begin().await?;
    let events: Vec<(i64, bool)> = sqlx::query_as(NEXT_EVENTS)
        .bind(before.as_millis())
        .bind(walked.event)
        .bind(last)
        .bind(CHUNK)
        .fetch_all(&mut *write)
        .await?;
    let over: Vec<i64> = (events.iter())
        .filter(|(_, is_over)| *is_over)
        .map(|(seq, _)| *seq)
        .collect();
    delete(&mut write, &over).await?;
    write.commit(failpoint::RETENTION).await?;
    walked.event = events.last().map_or(last, |(seq, _)| *seq);
    store.0.walks.set(walked);
    Ok((over.len() as u64, true))
}

/// These events but the newest of all, and all that is known of them.
pub(super) async fn delete(conn: &mut SqliteConnection, events: &[i64]) -> Result<(), StoreError> {
    if events.is_empty() {
        return Ok(());
    }
    let events = json(&events)?;
    for statement in DELETE {
        sqlx::query(statement)
            .bind(&events)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

pub(super) const DELETE: [&str; 3] = [
    "DELETE FROM tharsis_attempt WHERE event IN (SELECT value FROM json_each(?1))",
    "DELETE FROM tharsis_idempotency WHERE key IN (
         SELECT i.key FROM json_each(?1) g CROSS JOIN tharsis_idempotency i ON i.event = g.value)",
    "DELETE FROM tharsis_event
     WHERE seq IN (SELECT value FROM json_each(?1)) AND seq < (SELECT max(seq) FROM tharsis_event)",
];

/// Some of what the oldest replay left, or the replay itself. Returns whether there was one.
async fn forget_replay(store: &SqliteStore, before: Timestamp) -> Result<bool, StoreError> {
    let oldest = "SELECT seq FROM tharsis_replay WHERE finished_at < ?1 ORDER BY seq LIMIT 1";
    let oldest: Option<i64> = sqlx::query_scalar(oldest)
        .bind(before.as_millis())
        .fetch_optional(&store.0.reads)
        .await?;
    let Some(replay) = oldest else {
        return Ok(false);
    };
    let mut write = store.0.writer.begin().await?;
    let gone = sqlx::query(
        "DELETE FROM tharsis_replay_delivery
         WHERE replay = ?1 AND (event, subscription) IN (
             SELECT event, subscription FROM tharsis_replay_delivery WHERE replay = ?1 LIMIT ?2)",
    )
    .bind(replay)
    .bind(CHUNK)
    .execute(&mut *write)
    .await?
    .rows_affected();
    if gone == 0 {
        for statement in [
            "DELETE FROM tharsis_replay_part WHERE replay = ?1",
            "DELETE FROM tharsis_replay WHERE seq = ?1",
        ] {
            sqlx::query(statement)
                .bind(replay)
                .execute(&mut *write)
                .await?;
        }
    }
    write.commit(failpoint::RETENTION).await?;
    Ok(true)
}

pub(super) const NEXT_EXCERPTS: &str = "
    SELECT event, subscription, number, at < ?1 AND excerpt IS NOT NULL
    FROM tharsis_attempt
    WHERE (event, subscription, number) > (?2, ?3, ?4) AND event <= ?5
    ORDER BY event, subscription, number
    LIMIT ?6";

/// Returns how many, and whether there are more attempts to be looked at.
async fn forget_excerpts(
    store: &SqliteStore,
    before: Timestamp,
    now: Timestamp,
) -> Result<(u64, bool), StoreError> {
    let mut walked = store.0.walks.get();
    if walked.next_pass.is_some_and(|then| now < then) {
        return Ok((0, false));
    }
    let mut read = store.0.reads.acquire().await?;
    let last = newest_before(&mut read, before).await?.unwrap_or(0);
    let (event, subscription, number) = walked.attempt;
    let attempts: Vec<(i64, i64, i64, bool)> = sqlx::query_as(NEXT_EXCERPTS)
        .bind(before.as_millis())
        .bind(event)
        .bind(subscription)
        .bind(number)
        .bind(last)
        .bind(LOOKED)
        .fetch_all(&mut *read)
        .await?;
    drop(read);
    let old: Vec<(i64, i64, i64)> = (attempts.iter())
        .filter(|(.., is_old)| *is_old)
        .map(|(event, subscription, number, _)| (*event, *subscription, *number))
        .collect();
    let mut gone = 0;
    for old in old.chunks(CHUNK as usize) {
        let mut write = store.0.writer.begin().await?;
        // Another attempt may have the number by now: of an end without a request there is one.
        gone += sqlx::query(
            "UPDATE tharsis_attempt AS a
             SET excerpt = NULL
             FROM json_each(?1) g
             WHERE a.event = g.value ->> 0 AND a.subscription = g.value ->> 1 AND a.number = g.value ->> 2
               AND a.at < ?2 AND a.excerpt IS NOT NULL",
        )
        .bind(json(&old)?)
        .bind(before.as_millis())
        .execute(&mut *write)
        .await?
        .rows_affected();
        write.commit(failpoint::RETENTION).await?;
    }
    let is_through = u32::try_from(attempts.len()).is_ok_and(|count| count < LOOKED);
    walked.attempt = match attempts.last() {
        Some((event, subscription, number, _)) if !is_through => (*event, *subscription, *number),
        _ => (0, 0, 0),
    };
    walked.next_pass = is_through.then_some(now + PASS);
    store.0.walks.set(walked);
    Ok((gone, !is_through))
}

async fn forget_audit(store: &SqliteStore, before: Timestamp) -> Result<u64, StoreError> {
    let oldest: Option<Millis> =
        sqlx::query_scalar("SELECT at FROM tharsis_audit ORDER BY seq LIMIT 1")
            .fetch_optional(&store.0.reads)
            .await?;
    if oldest.is_none_or(|Millis(at)| at >= before) {
        return Ok(0);
    }
    let mut write = store.0.writer.begin().await?;
    let gone = sqlx::query(
        "DELETE FROM tharsis_audit WHERE seq IN (
             SELECT seq FROM tharsis_audit WHERE at < ?1 ORDER BY seq LIMIT ?2)",
    )
    .bind(before.as_millis())
    .bind(CHUNK)
    .execute(&mut *write)
    .await?
    .rows_affected();
    write.commit(failpoint::RETENTION).await?;
    Ok(gone)
}

/// What would be forgotten now.
pub(super) async fn outlived(
    store: &SqliteStore,
    retention: &Retention,
    now: Timestamp,
) -> Result<Outlived, StoreError> {
    let bounds = retention.bounds(now);
    let mut outlived = Outlived::default();
    let mut read = store.0.lists.begin().await?;
    if let Some(before) = bounds.history {
        let count = concat!(
            "SELECT count(*), count(*) FILTER (WHERE ",
            is_over!(),
            ") FROM tharsis_event e WHERE e.published_at < ?1"
        );
        let (old, over): (u64, u64) = sqlx::query_as(count)
            .bind(before.as_millis())
            .fetch_one(&mut *read)
            .await?;
        outlived.events = over;
        outlived.needed = old - over;
        let last = newest_before(&mut read, before).await?.unwrap_or(0);
        outlived.held = sqlx::query_scalar(concat!("SELECT count(*)", held!()))
            .bind(last)
            .bind(before.as_millis())
            .fetch_one(&mut *read)
            .await?;
    }
    if let Some(before) = bounds.excerpts {
        // Of events that go the answers go with them.
        outlived.excerpts = sqlx::query_scalar(
            "SELECT count(*)
             FROM tharsis_attempt a
             CROSS JOIN tharsis_event e ON e.seq = a.event
             WHERE a.at < ?1 AND a.excerpt IS NOT NULL AND (?2 IS NULL OR e.published_at >= ?2)",
        )
        .bind(before.as_millis())
        .bind(bounds.history.map(Timestamp::as_millis))
        .fetch_one(&mut *read)
        .await?;
    }
    if let Some(before) = bounds.audit {
        outlived.audit = sqlx::query_scalar("SELECT count(*) FROM tharsis_audit WHERE at < ?1")
            .bind(before.as_millis())
            .fetch_one(&mut *read)
            .await?;
    }
    Ok(outlived)
}

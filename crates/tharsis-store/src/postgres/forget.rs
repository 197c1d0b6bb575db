//! Forgetting whole days: the tables of a day are emptied and marked at once, then its keys go, then the tables.
//!
//! The mark is a comment on the table of its events. Whatever was cut short after it is done by the next maintenance.

use std::ops::Range;

use sqlx::{AssertSqlSafe, PgConnection};
use tharsis_core::Timestamp;
use tracing::info;
use uuid::Uuid;

use super::{
    PostgresStore,
    filter::APART,
    partition::{Day, TABLES, begin, days, end},
    value::Instant,
};
use crate::{StoreError, failpoint};

/// What a table of events is marked with whose rows were forgotten.
const FORGOTTEN: &str = "forgotten";

/// Pages of keys to a statement: some 10,000 keys.
const PAGES: i64 = 100;

/// Forgets whole days before this instant, but for those of which something is needed. Returns how many events went.
pub(super) async fn events_before(
    store: &PostgresStore,
    instant: Timestamp,
) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for day in over(store, instant).await? {
        forgotten += forget(store, day).await?;
    }
    // What this leaves is seen to when the tables are dropped.
    if forgotten > 0 {
        let marked = marked(&mut *store.0.lists.get().await?).await?;
        delete_keys(store, &marked).await?;
    }
    Ok(forgotten)
}

/// How many events there are in days before this instant: those of which nothing is needed, and the others.
pub(super) async fn count_before(
    store: &PostgresStore,
    instant: Timestamp,
) -> Result<(u64, u64), StoreError> {
    let (mut over_and_done, mut needed) = (0, 0);
    for day in over(store, instant).await? {
        let mut read = store.0.lists.get().await?;
        let events = count(&mut read, day).await?;
        if is_needed(&mut read, day).await? {
            needed += events;
        } else {
            over_and_done += events;
        }
    }
    Ok((over_and_done, needed))
}

/// The days that have both their tables and are over by this instant, the oldest first.
async fn over(store: &PostgresStore, instant: Timestamp) -> Result<Vec<Day>, StoreError> {
    let [events, attempts] = TABLES;
    let mut present = days(store, events).await?;
    present.extend(days(store, attempts).await?);
    Ok((present.iter())
        .filter_map(|name| day_of(name))
        .filter(|day| day.next().begins() <= instant)
        .filter(|day| day.tables().iter().all(|table| present.contains(table)))
        .collect())
}

/// The day of a table of events by its name.
fn day_of(events: &str) -> Option<Day> {
    let digits = events.strip_prefix("event_")?;
    let (year, rest) = digits.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    let at = Timestamp::parse(&format!("{year}-{month}-{day}T00:00:00Z")).ok()?;
    Some(Day::of(at))
}

/// Returns how many events went: none where something of the day is needed, or in use just now.
async fn forget(store: &PostgresStore, day: Day) -> Result<u64, StoreError> {
    const LATER: &str = "A day is forgotten later";
    let Some(mut write) = begin(store).await? else {
        return Ok(0);
    };
    // First without locks that others wait for.
    if is_marked(&mut write, day).await? || is_needed(&mut write, day).await? {
        write.roll_back().await?;
        return Ok(0);
    }
    // Nobody but time adds to a day that is over; those few that do are not counted.
    let forgotten = count(&mut write, day).await?;
    let [events, attempts] = day.tables();
    let lock = format!("LOCK TABLE {events}, {attempts} IN ACCESS EXCLUSIVE MODE");
    let locked = sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut *write)
        .await;
    if let Err(error) = locked {
        end(write, Err(error), failpoint::PARTITION, LATER).await?;
        return Ok(0);
    }
    // From here on nobody makes a delivery of that day due again, for its event cannot be read.
    if is_marked(&mut write, day).await? || is_needed(&mut write, day).await? {
        write.roll_back().await?;
        return Ok(0);
    }
    let forget = format!(
        "TRUNCATE {events}, {attempts};
         COMMENT ON TABLE {events} IS '{FORGOTTEN}';"
    );
    let done = sqlx::raw_sql(AssertSqlSafe(forget))
        .execute(&mut *write)
        .await;
    if !end(write, done.map(drop), failpoint::PARTITION, LATER).await? {
        return Ok(0);
    }
    info!(table.name = events, "Forgot a day's events");
    Ok(forgotten)
}

async fn is_marked(conn: &mut PgConnection, day: Day) -> Result<bool, StoreError> {
    let [events, _] = day.tables();
    Ok(sqlx::query_scalar(
        "SELECT obj_description(to_regclass($1), 'pg_class') IS NOT DISTINCT FROM $2",
    )
    .bind(events)
    .bind(FORGOTTEN)
    .fetch_one(conn)
    .await?)
}

async fn count(conn: &mut PgConnection, day: Day) -> Result<u64, StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM event WHERE id >= $1 AND id < $2")
        .bind(day.first_id())
        .bind(day.next().first_id())
        .fetch_one(conn)
        .await?;
    Ok(count.unsigned_abs())
}

/// Whether something of the day is not routed, not delivered, or to be looked at by a replay. A replay goes by the
/// database's clock, ids by that of their publishers.
async fn is_needed(conn: &mut PgConnection, day: Day) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM delivery WHERE event >= $1 AND event < $2)
                OR EXISTS (SELECT FROM outbox WHERE event >= $1 AND event < $2)
                OR EXISTS (
                    SELECT
                    FROM replay r
                    JOIN replay_part p ON p.replay = r.seq
                    WHERE r.finished_at IS NULL AND NOT p.done AND p.cursor_event < $2 AND r.until >= $3)",
    )
    .bind(day.first_id())
    .bind(day.next().first_id())
    .bind(Instant(day.begins() - APART))
    .fetch_one(conn)
    .await?)
}

/// The days that are marked, in their order.
async fn marked(conn: &mut PgConnection) -> Result<Vec<Day>, sqlx::Error> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text
         FROM pg_inherits i
         JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = to_regclass('event') AND obj_description(c.oid, 'pg_class') = $1
         ORDER BY c.relname",
    )
    .bind(FORGOTTEN)
    .fetch_all(conn)
    .await?;
    Ok(tables.iter().filter_map(|name| day_of(name)).collect())
}

/// What is not remembered can be published again. Returns whether all keys of these days are gone, but for those of
/// events that came in after their day was forgotten.
///
/// An index on the events of keys would cost every publish. So all pages are gone through, in short statements: whoever
/// publishes under a key that is being deleted waits for its statement to end.
async fn delete_keys(store: &PostgresStore, days: &[Day]) -> Result<bool, StoreError> {
    let (file, pages) = file_of_keys(store).await?;
    for range in ranges(days) {
        for chunk in 0..=pages / PAGES {
            sqlx::query(
                "DELETE FROM idempotency i
                 WHERE i.ctid >= format('(%s,0)', $1)::tid AND i.ctid < format('(%s,0)', $2)::tid
                   AND i.event >= $3 AND i.event < $4
                   AND NOT EXISTS (
                       SELECT 1 FROM event e WHERE e.id = i.event AND e.id >= $3 AND e.id < $4)",
            )
            .bind(chunk * PAGES)
            .bind((chunk + 1) * PAGES)
            .bind(range.start)
            .bind(range.end)
            .execute(&mut *store.0.lists.get().await?)
            .await?;
        }
    }
    // In another file keys lie elsewhere: somebody has rewritten the table meanwhile.
    Ok(file_of_keys(store).await?.0 == file)
}

/// The keys of events that were erased, as far as they are noted by now. Goes through all keys.
pub(super) async fn delete_keys_of_erased(store: &PostgresStore) -> Result<(), StoreError> {
    let erased: Vec<Uuid> = sqlx::query_scalar("SELECT event FROM erased WHERE has_key")
        .fetch_all(&mut *store.0.lists.get().await?)
        .await?;
    if erased.is_empty() {
        return Ok(());
    }
    let (file, pages) = file_of_keys(store).await?;
    for chunk in 0..=pages / PAGES {
        sqlx::query(
            "DELETE FROM idempotency i
             WHERE i.ctid >= format('(%s,0)', $1)::tid AND i.ctid < format('(%s,0)', $2)::tid
               AND EXISTS (SELECT FROM erased e WHERE e.event = i.event)",
        )
        .bind(chunk * PAGES)
        .bind((chunk + 1) * PAGES)
        .execute(&mut *store.0.lists.get().await?)
        .await?;
    }
    // In another file keys lie elsewhere: somebody has rewritten the table meanwhile.
    if file_of_keys(store).await?.0 != file {
        return Ok(());
    }
    // Not what was noted since.
    for some in erased.chunks(10_000) {
        sqlx::query("UPDATE erased SET has_key = false WHERE event = ANY ($1)")
            .bind(some)
            .execute(&mut *store.0.lists.get().await?)
            .await?;
    }
    Ok(())
}

/// All events in parts: a day each, and what lies beside those that have tables.
pub(super) async fn parts(store: &PostgresStore) -> Result<Vec<Range<Uuid>>, StoreError> {
    let [events, _] = TABLES;
    let mut from = Uuid::nil();
    let mut parts = Vec::new();
    for name in days(store, events).await? {
        let Some(day) = day_of(&name) else { continue };
        for to in [day.first_id(), day.next().first_id()] {
            parts.push(from..to);
            from = to;
        }
    }
    parts.push(from..Uuid::max());
    Ok(parts)
}

/// The file that the keys lie in, and its pages.
async fn file_of_keys(store: &PostgresStore) -> Result<(i64, i64), StoreError> {
    Ok(sqlx::query_as(
        "SELECT pg_relation_filenode('idempotency')::bigint,
                pg_relation_size('idempotency') / current_setting('block_size')::bigint",
    )
    .fetch_one(&mut *store.0.lists.get().await?)
    .await?)
}

/// Their ids, days that follow each other in one range.
fn ranges(days: &[Day]) -> Vec<Range<Uuid>> {
    let mut ranges: Vec<Range<Uuid>> = Vec::new();
    for day in days {
        let (first, after) = (day.first_id(), day.next().first_id());
        match ranges.last_mut() {
            Some(range) if range.end == first => range.end = after,
            _ => ranges.push(first..after),
        }
    }
    ranges
}

/// Drops the tables of days that were forgotten, once their keys are gone.
pub(super) async fn drop_forgotten(store: &PostgresStore) -> Result<(), StoreError> {
    let marked = marked(&mut *store.0.lists.get().await?).await?;
    if !delete_keys(store, &marked).await? {
        return Ok(());
    }
    for day in marked {
        let Some(mut write) = begin(store).await? else {
            return Ok(());
        };
        let done = drop_empty(&mut write, day).await;
        let later = "A forgotten day's tables are dropped later";
        end(write, done, failpoint::PARTITION, later).await?;
    }
    Ok(())
}

/// Waits for every transaction that uses the whole tables, and so it comes after the rows have long gone. What publishers
/// need is locked last. A day that has got an event meanwhile is kept, as a day like any other.
async fn drop_empty(conn: &mut PgConnection, day: Day) -> Result<(), sqlx::Error> {
    // Another worker may have been here.
    if !marked(conn).await?.contains(&day) {
        return Ok(());
    }
    let [events, attempts] = day.tables();
    let lock = format!(
        "LOCK TABLE ONLY attempt, {attempts}, ONLY event, {events} IN ACCESS EXCLUSIVE MODE"
    );
    sqlx::raw_sql(AssertSqlSafe(lock))
        .execute(&mut *conn)
        .await?;
    let late = format!("SELECT EXISTS (SELECT 1 FROM {events})");
    let has_late: bool = sqlx::query_scalar(AssertSqlSafe(late))
        .fetch_one(&mut *conn)
        .await?;
    let end = if has_late {
        format!("COMMENT ON TABLE {events} IS NULL")
    } else {
        format!("DROP TABLE {attempts}, {events}")
    };
    sqlx::raw_sql(AssertSqlSafe(end)).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_events_has_its_day() {
        let at = Timestamp::parse("2026-01-31T12:00:00Z").expect("a time");
        assert_eq!(day_of("event_20260131"), Some(Day::of(at)));
        assert_eq!(day_of("event_default"), None);
        assert_eq!(day_of("attempt_20260131"), None);
    }

    #[test]
    fn days_that_follow_each_other_are_one_range() {
        let days: Vec<Day> = ["event_20260130", "event_20260131", "event_20260202"]
            .iter()
            .filter_map(|name| day_of(name))
            .collect();
        assert_eq!(
            ranges(&days),
            [
                days[0].first_id()..days[1].next().first_id(),
                days[2].first_id()..days[2].next().first_id(),
            ]
        );
        assert!(ranges(&[]).is_empty());
    }
}

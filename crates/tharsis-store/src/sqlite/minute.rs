//! Figures over time, as rows.

use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{ClientId, SubscriptionId, Timestamp};
use tokio::time::timeout;

use super::{
    SqliteStore, owner,
    survey::{COUNTS, FIRST_DUE},
    value::{Millis, blob, corrupt, hex, json},
};
use crate::{
    Depth, Figures, MOST_COUNTED, StoreError, Traffic, failpoint,
    minute::{COLUMNS, FORGOTTEN_AT_ONCE, FREE_AT_ONCE, ROUNDS, each_count, not_kept},
};

impl FromRow<'_, SqliteRow> for Traffic {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Millis(at) = row.try_get(0)?;
        let mut counts = [0; COLUMNS];
        for (column, count) in (1..).zip(&mut counts) {
            *count = row.try_get::<i64, usize>(column)?;
        }
        Ok(Self::counted(at, counts))
    }
}

impl FromRow<'_, SqliteRow> for Depth {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Millis(at) = row.try_get(0)?;
        let overdue_ms: Option<u64> = row.try_get(2)?;
        Ok(Self {
            at,
            waiting: row.try_get(1)?,
            overdue: overdue_ms.map(Duration::from_millis),
        })
    }
}

macro_rules! name {
    ($column:literal) => {
        concat!($column)
    };
}

macro_rules! added {
    ($column:literal) => {
        concat!($column, " = m.", $column, " + excluded.", $column)
    };
}

macro_rules! sum {
    ($column:literal) => {
        concat!("sum(", $column, ")")
    };
}

/// A client that was erased has no subscription left, and gets no figures any more.
const ADD_MINUTES: &str = concat!(
    "INSERT INTO tharsis_minute AS m (at, client, ",
    each_count!(name),
    ")
     SELECT r.value ->> 0, unhex(r.value ->> 1), r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 5,
            r.value ->> 6, r.value ->> 7, r.value ->> 8, r.value ->> 9, r.value ->> 10, r.value ->> 11,
            r.value ->> 12, r.value ->> 13, r.value ->> 14, r.value ->> 15, r.value ->> 16, r.value ->> 17,
            r.value ->> 18, r.value ->> 19, r.value ->> 20, r.value ->> 21, r.value ->> 22
     FROM json_each(?1) r
     WHERE unhex(r.value ->> 1) IN (SELECT client FROM tharsis_subscription)
     ON CONFLICT (at, client) DO UPDATE SET ",
    each_count!(added)
);

/// One that was removed gets no figures any more.
const ADD_QUARTERS: &str = concat!(
    "INSERT INTO tharsis_quarter AS m (at, subscription, ",
    each_count!(name),
    ")
     SELECT r.value ->> 0, r.value ->> 1, r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 5,
            r.value ->> 6, r.value ->> 7, r.value ->> 8, r.value ->> 9, r.value ->> 10, r.value ->> 11,
            r.value ->> 12, r.value ->> 13, r.value ->> 14, r.value ->> 15, r.value ->> 16, r.value ->> 17,
            r.value ->> 18, r.value ->> 19, r.value ->> 20, r.value ->> 21, r.value ->> 22
     FROM json_each(?1) r
     WHERE EXISTS (SELECT 1 FROM tharsis_subscription s WHERE s.seq = r.value ->> 1 AND s.removed_at IS NULL)
     ON CONFLICT (subscription, at) DO UPDATE SET ",
    each_count!(added)
);

pub(super) async fn add(store: &SqliteStore, figures: &Figures) -> Result<(), StoreError> {
    let minutes = (figures.minutes.iter())
        .map(|(client, traffic)| row(hex(client.as_uuid().as_bytes()).into(), traffic));
    let quarters = (figures.quarters.iter())
        .map(|(subscription, traffic)| row((*subscription).into(), traffic));
    let minutes = json(&minutes.collect::<Vec<_>>())?;
    let quarters = json(&quarters.collect::<Vec<_>>())?;
    let mut write = store.0.writer.begin().await?;
    for (statement, rows) in [(ADD_MINUTES, minutes), (ADD_QUARTERS, quarters)] {
        sqlx::query(statement)
            .bind(rows)
            .execute(&mut *write)
            .await?;
    }
    write.commit(failpoint::FIGURES).await
}

fn row(whose: Value, traffic: &Traffic) -> Vec<Value> {
    let mut row = vec![traffic.at.as_millis().into(), whose];
    row.extend(traffic.counts().map(Value::from));
    row
}

pub(super) const OF_ALL: &str = concat!(
    "SELECT at, ",
    each_count!(sum),
    " FROM tharsis_minute WHERE at >= ?1 GROUP BY at ORDER BY at"
);

pub(super) const OF_CLIENT: &str = concat!(
    "SELECT at, ",
    each_count!(sum),
    " FROM tharsis_minute WHERE at >= ?1 AND client = ?2 GROUP BY at ORDER BY at"
);

pub(super) async fn since(
    store: &SqliteStore,
    client: Option<ClientId>,
    since: Timestamp,
) -> Result<Vec<Traffic>, StoreError> {
    let minutes = match client {
        None => sqlx::query_as(OF_ALL).bind(since.as_millis()),
        Some(client) => sqlx::query_as(OF_CLIENT)
            .bind(since.as_millis())
            .bind(blob(client.as_uuid())),
    };
    Ok(minutes.fetch_all(&store.0.lists).await?)
}

pub(super) const OF_SUBSCRIPTION: &str = concat!(
    "SELECT at, ",
    each_count!(name),
    " FROM tharsis_quarter
     WHERE subscription = (SELECT seq FROM tharsis_subscription WHERE id = ?1) AND at >= ?2
     ORDER BY at"
);

pub(super) async fn quarters(
    store: &SqliteStore,
    id: SubscriptionId,
    since: Timestamp,
) -> Result<Vec<Traffic>, StoreError> {
    Ok(sqlx::query_as(OF_SUBSCRIPTION)
        .bind(blob(id.as_uuid()))
        .bind(since.as_millis())
        .fetch_all(&store.0.lists)
        .await?)
}

/// How long is looked how much waits: then it is not noted this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where others have the connections, or it takes long, it is not noted this time.
pub(super) async fn note_depth(store: &SqliteStore, at: Timestamp) -> Result<(), StoreError> {
    let Ok(read) = timeout(FREE_AT_ONCE, store.0.lists.begin()).await else {
        return Ok(());
    };
    let mut read = read?;
    let Ok(seen) = timeout(PATIENCE, look(&mut read, at)).await else {
        return Ok(());
    };
    drop(read);
    let Some((waiting, overdue_ms)) = seen? else {
        return Ok(());
    };
    let mut turn = store.0.writer.turn().await;
    turn.execute(|| {
        sqlx::query(
            "INSERT INTO tharsis_depth (at, waiting, overdue_ms) VALUES (?1, ?2, ?3)
             ON CONFLICT (at) DO NOTHING",
        )
        .bind(at.as_millis())
        .bind(waiting)
        .bind(overdue_ms)
    })
    .await
}

/// How much waits, and for how long it has been overdue. Asks first whether somebody has noted it, for to count goes through
/// much.
async fn look(
    conn: &mut SqliteConnection,
    at: Timestamp,
) -> Result<Option<(i64, Option<i64>)>, StoreError> {
    let is_noted: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tharsis_depth WHERE at = ?1)")
            .bind(at.as_millis())
            .fetch_one(&mut *conn)
            .await?;
    if is_noted {
        return Ok(None);
    }
    let clock = owner::clock(conn).await?;
    let (unrouted, unfinished, _): (u64, u64, u64) = sqlx::query_as(COUNTS)
        .bind(i64::try_from(MOST_COUNTED).map_err(corrupt)?)
        .fetch_one(&mut *conn)
        .await?;
    let due_since: Option<Millis> = sqlx::query_scalar(FIRST_DUE).fetch_one(conn).await?;
    let waiting = i64::try_from(unrouted + unfinished).map_err(corrupt)?;
    let overdue_ms = due_since
        .filter(|Millis(due)| *due <= clock)
        .map(|Millis(due)| clock.as_millis() - due.as_millis());
    Ok(Some((waiting, overdue_ms)))
}

pub(super) async fn depths(
    store: &SqliteStore,
    since: Timestamp,
) -> Result<Vec<Depth>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT at, waiting, overdue_ms FROM tharsis_depth WHERE at >= ?1 ORDER BY at",
    )
    .bind(since.as_millis())
    .fetch_all(&store.0.lists)
    .await?)
}

/// What is not kept. Returns whether there may be more.
pub(super) async fn forget(store: &SqliteStore, now: Timestamp) -> Result<bool, StoreError> {
    let mut more = false;
    for range in not_kept(now) {
        more |= forget_in(store, range.start.as_millis(), range.end.as_millis()).await?;
    }
    Ok(more)
}

/// Looked for without the lock first.
async fn forget_in(store: &SqliteStore, from: i64, to: i64) -> Result<bool, StoreError> {
    let depths = "SELECT EXISTS (SELECT 1 FROM tharsis_depth WHERE at >= ?1 AND at < ?2)";
    if is_any(store, depths, from, to).await? {
        // There is one row a minute.
        let mut turn = store.0.writer.turn().await;
        turn.execute(|| {
            sqlx::query("DELETE FROM tharsis_depth WHERE at >= ?1 AND at < ?2")
                .bind(from)
                .bind(to)
        })
        .await?;
    }
    let mut more = false;
    for statements in [MINUTES, QUARTERS] {
        more |= forget_counted(store, statements, from, to).await?;
    }
    Ok(more)
}

/// Whether there are any, and some of them gone.
const MINUTES: [&str; 2] = [
    "SELECT EXISTS (SELECT 1 FROM tharsis_minute WHERE at >= ?1 AND at < ?2)",
    "DELETE FROM tharsis_minute WHERE (at, client) IN (
         SELECT at, client FROM tharsis_minute
         WHERE at >= ?1 AND at < ?2
         ORDER BY at, client
         LIMIT ?3)",
];

const QUARTERS: [&str; 2] = [
    "SELECT EXISTS (SELECT 1 FROM tharsis_quarter WHERE at >= ?1 AND at < ?2)",
    "DELETE FROM tharsis_quarter WHERE (subscription, at) IN (
         SELECT subscription, at FROM tharsis_quarter
         WHERE at >= ?1 AND at < ?2
         ORDER BY at
         LIMIT ?3)",
];

async fn forget_counted(
    store: &SqliteStore,
    [any, some]: [&'static str; 2],
    from: i64,
    to: i64,
) -> Result<bool, StoreError> {
    for _ in 0..ROUNDS {
        if !is_any(store, any, from, to).await? {
            return Ok(false);
        }
        let mut turn = store.0.writer.turn().await;
        turn.execute(|| {
            sqlx::query(some)
                .bind(from)
                .bind(to)
                .bind(FORGOTTEN_AT_ONCE)
        })
        .await?;
    }
    Ok(true)
}

async fn is_any(
    store: &SqliteStore,
    statement: &'static str,
    from: i64,
    to: i64,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar(statement)
        .bind(from)
        .bind(to)
        .fetch_one(&store.0.reads)
        .await?)
}

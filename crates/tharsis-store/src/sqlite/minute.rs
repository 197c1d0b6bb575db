//! Figures of each minute, as rows.

use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{ClientId, Timestamp};
use tokio::time::timeout;

use super::{
    SqliteStore, owner,
    survey::{COUNTS, FIRST_DUE},
    value::{Millis, blob, corrupt, hex, json},
};
use crate::{
    Depth, MOST_COUNTED, Minute, StoreError,
    minute::{COLUMNS, FORGOTTEN_AT_ONCE, FREE_AT_ONCE, ROUNDS, each_count, not_kept},
};

impl FromRow<'_, SqliteRow> for Minute {
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
const ADD: &str = concat!(
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

/// One statement, which is a transaction of its own.
pub(super) async fn add(
    store: &SqliteStore,
    minutes: &[(ClientId, Minute)],
) -> Result<(), StoreError> {
    let row = |(client, minute): &(ClientId, Minute)| {
        let mut row: Vec<Value> = vec![
            minute.at.as_millis().into(),
            hex(client.as_uuid().as_bytes()).into(),
        ];
        row.extend(minute.counts().map(Value::from));
        row
    };
    let rows: Vec<Vec<Value>> = minutes.iter().map(row).collect();
    let rows = json(&rows)?;
    let mut turn = store.0.writer.turn().await;
    turn.execute(|| sqlx::query(ADD).bind(rows.clone())).await
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
) -> Result<Vec<Minute>, StoreError> {
    let minutes = match client {
        None => sqlx::query_as(OF_ALL).bind(since.as_millis()),
        Some(client) => sqlx::query_as(OF_CLIENT)
            .bind(since.as_millis())
            .bind(blob(client.as_uuid())),
    };
    Ok(minutes.fetch_all(&store.0.lists).await?)
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
    for _ in 0..ROUNDS {
        let minutes = "SELECT EXISTS (SELECT 1 FROM tharsis_minute WHERE at >= ?1 AND at < ?2)";
        if !is_any(store, minutes, from, to).await? {
            return Ok(false);
        }
        let mut turn = store.0.writer.turn().await;
        turn.execute(|| {
            sqlx::query(
                "DELETE FROM tharsis_minute WHERE (at, client) IN (
                     SELECT at, client FROM tharsis_minute
                     WHERE at >= ?1 AND at < ?2
                     ORDER BY at, client
                     LIMIT ?3)",
            )
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

//! Figures of each minute, as rows.

use std::time::Duration;

use serde_json::Value;
use sqlx::{FromRow, Row as _, sqlite::SqliteRow};
use tharsis_core::{ClientId, Timestamp};

use super::{
    SqliteStore,
    command::CHUNK,
    owner,
    survey::{COUNTS, FIRSTS},
    value::{Millis, blob, corrupt, hex, json},
};
use crate::{
    Depth, MOST_COUNTED, Minute, StoreError,
    minute::{self, each_count},
};

impl FromRow<'_, SqliteRow> for Minute {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Millis(at) = row.try_get(0)?;
        let mut counts = [0; minute::COUNTS];
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

const ADD: &str = concat!(
    "INSERT INTO tharsis_minute AS m (at, client, ",
    each_count!(name),
    ")
     SELECT r.value ->> 0, unhex(r.value ->> 1), r.value ->> 2, r.value ->> 3, r.value ->> 4, r.value ->> 5,
            r.value ->> 6, r.value ->> 7, r.value ->> 8, r.value ->> 9, r.value ->> 10, r.value ->> 11,
            r.value ->> 12, r.value ->> 13, r.value ->> 14, r.value ->> 15, r.value ->> 16, r.value ->> 17,
            r.value ->> 18, r.value ->> 19, r.value ->> 20, r.value ->> 21, r.value ->> 22
     FROM json_each(?1) r
     WHERE true
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

pub(super) const SINCE: &str = concat!(
    "SELECT at, ",
    each_count!(sum),
    " FROM tharsis_minute
      WHERE at >= ?1 AND (?2 IS NULL OR client = ?2)
      GROUP BY at
      ORDER BY at"
);

pub(super) async fn since(
    store: &SqliteStore,
    client: Option<ClientId>,
    since: Timestamp,
) -> Result<Vec<Minute>, StoreError> {
    Ok(sqlx::query_as(SINCE)
        .bind(since.as_millis())
        .bind(client.map(|client| blob(client.as_uuid())))
        .fetch_all(&store.0.lists)
        .await?)
}

/// Looks first whether somebody has noted it, for to count goes through much.
pub(super) async fn note_depth(store: &SqliteStore, at: Timestamp) -> Result<(), StoreError> {
    let mut read = store.0.lists.begin().await?;
    let is_noted: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tharsis_depth WHERE at = ?1)")
            .bind(at.as_millis())
            .fetch_one(&mut *read)
            .await?;
    if is_noted {
        return Ok(());
    }
    let clock = owner::clock(&mut read).await?;
    let (unrouted, unfinished, _): (u64, u64, u64) = sqlx::query_as(COUNTS)
        .bind(i64::try_from(MOST_COUNTED).map_err(corrupt)?)
        .fetch_one(&mut *read)
        .await?;
    let (_, due_since): (Option<Millis>, Option<Millis>) =
        sqlx::query_as(FIRSTS).fetch_one(&mut *read).await?;
    drop(read);
    let waiting = i64::try_from(unrouted + unfinished).map_err(corrupt)?;
    let overdue_ms = due_since
        .filter(|Millis(due)| *due <= clock)
        .map(|Millis(due)| clock.as_millis() - due.as_millis());
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

/// Some of what is older. Looked for without the lock first. Returns whether there was something.
pub(super) async fn forget(store: &SqliteStore, before: Timestamp) -> Result<bool, StoreError> {
    let before = before.as_millis();
    let is_any: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tharsis_minute WHERE at < ?1)
             OR EXISTS (SELECT 1 FROM tharsis_depth WHERE at < ?1)",
    )
    .bind(before)
    .fetch_one(&store.0.reads)
    .await?;
    if !is_any {
        return Ok(false);
    }
    let mut turn = store.0.writer.turn().await;
    turn.execute(|| {
        sqlx::query(
            "DELETE FROM tharsis_minute WHERE (at, client) IN (
                 SELECT at, client FROM tharsis_minute WHERE at < ?1 ORDER BY at, client LIMIT ?2)",
        )
        .bind(before)
        .bind(CHUNK)
    })
    .await?;
    // There is one row a minute.
    turn.execute(|| sqlx::query("DELETE FROM tharsis_depth WHERE at < ?1").bind(before))
        .await?;
    Ok(true)
}

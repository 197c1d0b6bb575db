//! Subscriptions that are let go again without all that was held.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{FromRow, Row as _, SqliteConnection, sqlite::SqliteRow};
use tharsis_core::{Timestamp, delivery::codes, health::RESUMED, subscription::Held};

use super::{
    command::{CHUNK, cancel},
    filter::Pair,
    health, registry, subscription,
    value::json,
};
use crate::{StoreError, health::is_in_doubt};

/// Asks the owner to end what is not to go out. Until then the subscription is held.
pub(super) async fn ask(
    conn: &mut SqliteConnection,
    subscription: i64,
    held: Held,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_subscription_state (subscription, state, since) VALUES (?1, 'paused', ?2)
         ON CONFLICT (subscription) DO NOTHING",
    )
    .bind(subscription)
    .bind(now.as_millis())
    .execute(&mut *conn)
    .await?;
    sqlx::query(
        "INSERT INTO tharsis_release (subscription, keeps, last_event, phase, asked_at)
         SELECT ?1, ?2, coalesce(max(seq), 0), CASE ?2 WHEN 'latest' THEN 'gather' ELSE 'sift' END, ?3
         FROM tharsis_event",
    )
    .bind(subscription)
    .bind(held.as_str())
    .bind(now.as_millis())
    .execute(conn)
    .await?;
    Ok(())
}

/// What was asked for before is not so any more.
pub(super) async fn withdraw(
    conn: &mut SqliteConnection,
    subscription: i64,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM tharsis_release WHERE subscription = ?1",
        "DELETE FROM tharsis_latest WHERE subscription = ?1",
    ] {
        sqlx::query(statement)
            .bind(subscription)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// A campaign was let go or cancelled meanwhile: what it looked at is not what is there now.
pub(super) async fn begin_again(
    conn: &mut SqliteConnection,
    subscription: i64,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM tharsis_latest WHERE subscription = ?1",
        "UPDATE tharsis_release
         SET phase = CASE keeps WHEN 'latest' THEN 'gather' ELSE 'sift' END,
             cursor_lane = -1, cursor_due_at = 0, cursor_event = 0
         WHERE subscription = ?1",
    ] {
        sqlx::query(statement)
            .bind(subscription)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// One that is asked for, and how far it is.
struct Next {
    subscription: i64,
    keeps: String,
    phase: String,
    last_event: i64,
    cursor_lane: i64,
    cursor_due_at: i64,
    cursor_event: i64,
}

/// A row of its lane.
struct Row {
    lane: i64,
    due_at: i64,
    event: i64,
    recipient: Option<String>,
    /// The latest for the same recipient, as far as it is gathered.
    latest: Option<i64>,
    /// It is to go out now: neither has it expired, nor is it for later, nor is its campaign stopped.
    is_for_now: bool,
}

impl<'r> FromRow<'r, SqliteRow> for Next {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            subscription: row.try_get(0)?,
            keeps: row.try_get(1)?,
            phase: row.try_get(2)?,
            last_event: row.try_get(3)?,
            cursor_lane: row.try_get(4)?,
            cursor_due_at: row.try_get(5)?,
            cursor_event: row.try_get(6)?,
        })
    }
}

impl<'r> FromRow<'r, SqliteRow> for Row {
    fn from_row(row: &'r SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            lane: row.try_get(0)?,
            due_at: row.try_get(1)?,
            event: row.try_get(2)?,
            recipient: row.try_get(3)?,
            latest: row.try_get(4)?,
            is_for_now: row.try_get(5)?,
        })
    }
}

const NEXT: &str = "
    SELECT subscription, keeps, phase, last_event, cursor_lane, cursor_due_at, cursor_event
    FROM tharsis_release
    ORDER BY subscription
    LIMIT 1";

/// One chunk of the first one, if there is one. Returns the lanes that it touched.
pub(super) async fn step(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<BTreeSet<i64>>, StoreError> {
    let next: Option<Next> = sqlx::query_as(NEXT).fetch_optional(&mut *conn).await?;
    let Some(next) = next else {
        return Ok(None);
    };
    let of = next.subscription;
    match &*next.phase {
        "gather" => {
            let rows = rows(conn, &next, now).await?;
            gather(conn, &next, &rows).await?;
            advance(conn, of, &rows, "sift").await?;
            return Ok(Some(BTreeSet::new()));
        }
        "sift" => {
            let rows = rows(conn, &next, now).await?;
            let code = match &*next.keeps {
                "latest" => codes::SUPERSEDED,
                _ => codes::DROPPED,
            };
            let ends = rows.iter().filter(|row| next.ends(row));
            let pairs: BTreeSet<Pair> = ends.map(|row| (row.event, of)).collect();
            cancel(conn, &pairs, code, now).await?;
            advance(conn, of, &rows, "forget").await?;
        }
        "forget" => {
            forget(conn, of).await?;
            return Ok(Some(BTreeSet::new()));
        }
        _ => go_on(conn, of, now).await?,
    }
    Ok(Some(BTreeSet::from([of])))
}

impl Next {
    /// Whether this is not to go out.
    fn ends(&self, row: &Row) -> bool {
        let is_superseded =
            || row.is_for_now && row.latest.is_some_and(|latest| latest > row.event);
        row.event <= self.last_event && (self.keeps != "latest" || is_superseded())
    }
}

/// The next rows of its lane. The cursor is bound: as columns of another table it would not be searched for.
pub(super) const ROWS: &str = "
    SELECT d.lane, d.due_at, d.event, e.recipient, l.event AS latest,
           (e.expires_at IS NULL OR e.expires_at > ?5) AND (e.not_before IS NULL OR e.not_before <= ?5)
           AND NOT EXISTS (SELECT 1 FROM tharsis_campaign_stop p
                           WHERE p.client = e.client AND p.campaign = e.campaign AND p.recipient IN ('', e.recipient))
           AS is_for_now
    FROM tharsis_delivery d
    CROSS JOIN tharsis_event e ON e.seq = d.event
    LEFT JOIN tharsis_latest l ON l.subscription = d.subscription AND l.recipient = e.recipient
    WHERE d.subscription = ?1 AND (d.lane, d.due_at, d.event) > (?2, ?3, ?4)
    ORDER BY d.lane, d.due_at, d.event
    LIMIT ?6";

async fn rows(
    conn: &mut SqliteConnection,
    next: &Next,
    now: Timestamp,
) -> Result<Vec<Row>, StoreError> {
    Ok(sqlx::query_as(ROWS)
        .bind(next.subscription)
        .bind(next.cursor_lane)
        .bind(next.cursor_due_at)
        .bind(next.cursor_event)
        .bind(now.as_millis())
        .bind(CHUNK)
        .fetch_all(conn)
        .await?)
}

/// Notes the latest for each recipient.
async fn gather(conn: &mut SqliteConnection, next: &Next, rows: &[Row]) -> Result<(), StoreError> {
    let mut latest: BTreeMap<&str, i64> = BTreeMap::new();
    for row in rows
        .iter()
        .filter(|row| row.is_for_now && row.event <= next.last_event)
    {
        if let Some(recipient) = &row.recipient {
            let event = latest.entry(recipient).or_default();
            *event = row.event.max(*event);
        }
    }
    sqlx::query(
        "INSERT INTO tharsis_latest (subscription, recipient, event)
         SELECT ?1, r.value ->> 0, r.value ->> 1 FROM jsonb_each(?2) r WHERE true
         ON CONFLICT (subscription, recipient) DO UPDATE SET event = max(event, excluded.event)",
    )
    .bind(next.subscription)
    .bind(json(&latest.into_iter().collect::<Vec<_>>())?)
    .execute(conn)
    .await?;
    Ok(())
}

/// Past these rows, or on to the next phase where there were fewer than a chunk.
async fn advance(
    conn: &mut SqliteConnection,
    subscription: i64,
    rows: &[Row],
    then: &str,
) -> Result<(), StoreError> {
    let is_full = u32::try_from(rows.len()) == Ok(CHUNK);
    let last = rows.last().filter(|_| is_full);
    let (lane, due_at, event) = last.map_or((-1, 0, 0), |row| (row.lane, row.due_at, row.event));
    sqlx::query(
        "UPDATE tharsis_release
         SET phase = CASE WHEN ?2 THEN phase ELSE ?3 END, cursor_lane = ?4, cursor_due_at = ?5, cursor_event = ?6
         WHERE subscription = ?1",
    )
    .bind(subscription)
    .bind(is_full)
    .bind(then)
    .bind(lane)
    .bind(due_at)
    .bind(event)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets a chunk of what was gathered.
async fn forget(conn: &mut SqliteConnection, subscription: i64) -> Result<(), StoreError> {
    let gone = sqlx::query(
        "DELETE FROM tharsis_latest
         WHERE subscription = ?1 AND recipient IN (
             SELECT recipient FROM tharsis_latest WHERE subscription = ?1 LIMIT ?2)",
    )
    .bind(subscription)
    .bind(CHUNK)
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if gone == 0 {
        sqlx::query("UPDATE tharsis_release SET phase = 'open' WHERE subscription = ?1")
            .bind(subscription)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// The rest goes out, one delivery first where its receiver did not answer well.
async fn go_on(
    conn: &mut SqliteConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    registry::bump(conn).await?;
    let health = subscription::health(conn, subscription).await?;
    let was_suspended = sqlx::query(
        "DELETE FROM tharsis_subscription_state WHERE subscription = ?1 AND state = 'suspended'",
    )
    .bind(subscription)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    if was_suspended || is_in_doubt(&health) {
        health::half_open(conn, subscription, RESUMED, now).await?;
    }
    sqlx::query("DELETE FROM tharsis_subscription_state WHERE subscription = ?1")
        .bind(subscription)
        .execute(&mut *conn)
        .await?;
    registry::count_change(conn, subscription).await?;
    withdraw(conn, subscription).await
}

//! Subscriptions that are let go again without all that was held.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;
use tharsis_core::{Timestamp, delivery::codes, health::RESUMED, subscription::Held};

use super::{
    command::{CHUNK, cancel},
    filter::Pair,
    health, registry, subscription,
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
         SELECT ?1, ?2, coalesce(max(event), 0), CASE ?2 WHEN 'latest' THEN 'gather' ELSE 'sift' END, ?3
         FROM tharsis_delivery
         WHERE subscription = ?1",
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

/// One that is asked for, and how far it is: `subscription, phase, keeps`.
type Next = (i64, String, String);

/// One chunk of the first one, if there is one. Returns the lanes that it touched.
pub(super) async fn step(
    conn: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Option<BTreeSet<i64>>, StoreError> {
    let next: Option<Next> = sqlx::query_as(
        "SELECT subscription, phase, keeps FROM tharsis_release ORDER BY subscription LIMIT 1",
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some((subscription, phase, keeps)) = next else {
        return Ok(None);
    };
    let mut touched = BTreeSet::new();
    match &*phase {
        "gather" => {
            sqlx::query(GATHER)
                .bind(subscription)
                .bind(CHUNK)
                .execute(&mut *conn)
                .await?;
            advance(conn, subscription, "sift").await?;
        }
        "sift" => {
            let (statement, code) = match &*keeps {
                "latest" => (SUPERSEDED, codes::SUPERSEDED),
                _ => (DROPPED, codes::DROPPED),
            };
            let pairs: Vec<Pair> = sqlx::query_as(statement)
                .bind(subscription)
                .bind(CHUNK)
                .fetch_all(&mut *conn)
                .await?;
            let pairs: BTreeSet<Pair> = pairs.into_iter().collect();
            advance(conn, subscription, "forget").await?;
            cancel(conn, &pairs, code, now).await?;
            touched.insert(subscription);
        }
        "forget" => forget(conn, subscription).await?,
        _ => {
            go_on(conn, subscription, now).await?;
            touched.insert(subscription);
        }
    }
    Ok(Some(touched))
}

/// The next rows of the lane, by the cursor.
macro_rules! next_rows {
    () => {
        "SELECT d.lane, d.due_at, d.event
         FROM tharsis_release r
         CROSS JOIN tharsis_delivery d ON d.subscription = r.subscription
              AND (d.lane, d.due_at, d.event) > (r.cursor_lane, r.cursor_due_at, r.cursor_event)
         WHERE r.subscription = ?1
         ORDER BY d.lane, d.due_at, d.event
         LIMIT ?2"
    };
}

const GATHER: &str = concat!(
    "INSERT INTO tharsis_latest (subscription, recipient, event)
     SELECT ?1, e.recipient, max(e.seq)
     FROM (",
    next_rows!(),
    ") n
     CROSS JOIN tharsis_event e ON e.seq = n.event
     WHERE e.recipient IS NOT NULL
       AND e.seq <= (SELECT last_event FROM tharsis_release WHERE subscription = ?1)
     GROUP BY e.recipient
     ON CONFLICT (subscription, recipient) DO UPDATE SET event = max(event, excluded.event)"
);

const SUPERSEDED: &str = concat!(
    "SELECT n.event, ?1
     FROM (",
    next_rows!(),
    ") n
     CROSS JOIN tharsis_event e ON e.seq = n.event
     CROSS JOIN tharsis_latest l ON l.subscription = ?1 AND l.recipient = e.recipient
     WHERE l.event > e.seq"
);

const DROPPED: &str = concat!(
    "SELECT n.event, ?1
     FROM (",
    next_rows!(),
    ") n
     WHERE n.event <= (SELECT last_event FROM tharsis_release WHERE subscription = ?1)"
);

/// Past the rows that were just looked at, or on to the next phase where there were fewer than a chunk.
async fn advance(
    conn: &mut SqliteConnection,
    subscription: i64,
    then: &str,
) -> Result<(), StoreError> {
    let rows: Vec<(i64, i64, i64)> = sqlx::query_as(next_rows!())
        .bind(subscription)
        .bind(CHUNK)
        .fetch_all(&mut *conn)
        .await?;
    let is_full = u32::try_from(rows.len()) == Ok(CHUNK);
    let (lane, due_at, event) = rows
        .last()
        .filter(|_| is_full)
        .copied()
        .unwrap_or((-1, 0, 0));
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
    withdraw(conn, subscription).await
}

//! Subscriptions that are let go again without all that was held.

use sqlx::PgConnection;
use tharsis_core::{Timestamp, health::RESUMED, subscription::Held};

use super::{
    command::CHUNK,
    health, registry, subscription,
    value::{Instant, expect_changed},
};
use crate::{StoreError, health::is_in_doubt};

/// Asks the owner to end what is not to go out. Until then the subscription is held.
pub(super) async fn ask(
    conn: &mut PgConnection,
    subscription: i64,
    held: Held,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO subscription_state (subscription, state, since) VALUES ($1, 'paused', $2)
         ON CONFLICT (subscription) DO NOTHING",
    )
    .bind(subscription)
    .bind(Instant(now))
    .execute(&mut *conn)
    .await?;
    let asked = sqlx::query(
        "INSERT INTO release (subscription, shard, keeps, last_seq, phase, asked_at)
         SELECT s.seq, s.shard, $2,
                (SELECT last_value FROM seq),
                CASE $2 WHEN 'latest' THEN 'gather' ELSE 'sift' END, $3
         FROM subscription s
         WHERE s.seq = $1",
    )
    .bind(subscription)
    .bind(held.as_str())
    .bind(Instant(now))
    .execute(conn)
    .await?
    .rows_affected();
    expect_changed("a release", 1, asked)
}

/// What was asked for before is not so any more.
pub(super) async fn withdraw(conn: &mut PgConnection, subscription: i64) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM release WHERE subscription = $1",
        "DELETE FROM latest WHERE subscription = $1",
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
    conn: &mut PgConnection,
    subscription: i64,
) -> Result<(), StoreError> {
    for statement in [
        "DELETE FROM latest WHERE subscription = $1",
        "UPDATE release
         SET phase = CASE keeps WHEN 'latest' THEN 'gather' ELSE 'sift' END,
             cursor_lane = DEFAULT, cursor_due_at = DEFAULT, cursor_seq = DEFAULT
         WHERE subscription = $1",
    ] {
        sqlx::query(statement)
            .bind(subscription)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// One chunk of it. Says whether its lane was touched.
pub(super) async fn step(
    conn: &mut PgConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_last: Option<bool> =
        sqlx::query_scalar("SELECT phase = 'open' FROM release WHERE subscription = $1")
            .bind(subscription)
            .fetch_optional(&mut *conn)
            .await?;
    if is_last == Some(true) {
        // Before any row, as the registry does.
        registry::bump(conn).await?;
    }
    let next: Option<(String, String)> =
        sqlx::query_as("SELECT phase, keeps FROM release WHERE subscription = $1 FOR UPDATE")
            .bind(subscription)
            .fetch_optional(&mut *conn)
            .await?;
    // An admin may have thought better of it.
    let Some((phase, keeps)) = next else {
        return Ok(false);
    };
    let (statement, then) = match (&*phase, &*keeps) {
        ("gather", _) => (GATHER, "sift"),
        ("sift", "latest") => (SUPERSEDE, "forget"),
        ("sift", _) => (DROP, "forget"),
        ("forget", _) => {
            forget(conn, subscription).await?;
            return Ok(false);
        }
        _ => {
            go_on(conn, subscription, now).await?;
            return Ok(true);
        }
    };
    let looked_at: i64 = sqlx::query_scalar(statement)
        .bind(subscription)
        .bind(i64::from(CHUNK))
        .bind(Instant(now))
        .fetch_one(&mut *conn)
        .await?;
    if looked_at < i64::from(CHUNK) {
        sqlx::query(
            "UPDATE release
             SET phase = $2, cursor_lane = DEFAULT, cursor_due_at = DEFAULT, cursor_seq = DEFAULT
             WHERE subscription = $1",
        )
        .bind(subscription)
        .bind(then)
        .execute(conn)
        .await?;
    }
    Ok(phase != "gather")
}

/// The next rows of the lane by the cursor, which moves past them.
macro_rules! next_rows {
    ($lock:literal) => {
        concat!(
            "WITH next AS MATERIALIZED (
                 SELECT d.*
                 FROM release r
                 CROSS JOIN LATERAL (
                     SELECT ctid AS place, lane, due_at, seq, event
                     FROM delivery
                     WHERE subscription = r.subscription
                       AND (lane, due_at, seq) > (r.cursor_lane, r.cursor_due_at, r.cursor_seq)
                     ORDER BY lane, due_at, seq
                     LIMIT $2 ",
            $lock,
            ") d
                 WHERE r.subscription = $1
             ), moved AS (
                 UPDATE release
                 SET (cursor_lane, cursor_due_at, cursor_seq) = (
                     SELECT lane, due_at, seq FROM next ORDER BY lane DESC, due_at DESC, seq DESC LIMIT 1)
                 WHERE subscription = $1 AND EXISTS (SELECT FROM next)
             )"
        )
    };
}

pub(super) const GATHER: &str = concat!(
    next_rows!(""),
    ", gathered AS (
         INSERT INTO latest (subscription, recipient, event)
         SELECT DISTINCT ON (e.recipient) $1, e.recipient, n.event
         FROM next n
         CROSS JOIN LATERAL (
             SELECT recipient FROM event v
             WHERE id = n.event AND recipient IS NOT NULL AND (expires_at IS NULL OR expires_at > $3)
               AND (not_before IS NULL OR not_before <= $3)
               AND NOT EXISTS (SELECT FROM campaign_stop p
                               WHERE p.client = v.client AND p.campaign = v.campaign AND p.recipient IN ('', v.recipient))
             OFFSET 0) e
         WHERE n.seq <= (SELECT last_seq FROM release WHERE subscription = $1)
         ORDER BY e.recipient, n.event DESC
         ON CONFLICT (subscription, recipient) DO UPDATE SET event = greatest(latest.event, excluded.event)
     )
     SELECT count(*) FROM next"
);

/// Ends the rows that are chosen, after the attempts that were made; an end from before an earlier replay is overwritten.
macro_rules! end_rows {
    ($chosen:literal, $code:literal) => {
        concat!(
            next_rows!("FOR UPDATE SKIP LOCKED"),
            ", taken AS (
                 DELETE FROM delivery WHERE ctid = ANY (ARRAY(",
            $chosen,
            "))
                 RETURNING event, subscription, attempts
             ), recorded AS (
                 INSERT INTO attempt (event, subscription, number, at, duration_us, code, ended, after)
                 SELECT event, subscription, 0, $3, 0, '",
            $code,
            "', 'cancelled', attempts
                 FROM taken
                 ON CONFLICT (event, subscription, number) DO UPDATE
                 SET at = excluded.at, duration_us = 0, code = excluded.code, status = NULL, ended = excluded.ended,
                     after = excluded.after, due_at = NULL, detail = NULL, excerpt = NULL, replay = NULL
             )
             SELECT count(*) FROM next"
        )
    };
}

pub(super) const SUPERSEDE: &str = end_rows!(
    "SELECT n.place
     FROM next n
     CROSS JOIN LATERAL (
         SELECT recipient FROM event v
         WHERE id = n.event AND (expires_at IS NULL OR expires_at > $3) AND (not_before IS NULL OR not_before <= $3)
               AND NOT EXISTS (SELECT FROM campaign_stop p
                               WHERE p.client = v.client AND p.campaign = v.campaign AND p.recipient IN ('', v.recipient))
         OFFSET 0) e
     CROSS JOIN LATERAL (
         SELECT event FROM latest WHERE subscription = $1 AND recipient = e.recipient OFFSET 0) l
     WHERE l.event > n.event AND n.seq <= (SELECT last_seq FROM release WHERE subscription = $1)",
    "superseded"
);

pub(super) const DROP: &str = end_rows!(
    "SELECT n.place FROM next n WHERE n.seq <= (SELECT last_seq FROM release WHERE subscription = $1)",
    "dropped"
);

/// Forgets a chunk of what was gathered.
async fn forget(conn: &mut PgConnection, subscription: i64) -> Result<(), StoreError> {
    let gone = sqlx::query(
        "DELETE FROM latest
         WHERE subscription = $1 AND recipient IN (
             SELECT recipient FROM latest WHERE subscription = $1 LIMIT $2)",
    )
    .bind(subscription)
    .bind(i64::from(CHUNK))
    .execute(&mut *conn)
    .await?
    .rows_affected();
    if gone == 0 {
        sqlx::query("UPDATE release SET phase = 'open' WHERE subscription = $1")
            .bind(subscription)
            .execute(conn)
            .await?;
    }
    Ok(())
}

/// The rest goes out, one delivery first where its receiver did not answer well.
async fn go_on(
    conn: &mut PgConnection,
    subscription: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let health = subscription::health(conn, subscription).await?;
    let was_suspended = sqlx::query(
        "DELETE FROM subscription_state WHERE subscription = $1 AND state = 'suspended'",
    )
    .bind(subscription)
    .execute(&mut *conn)
    .await?
    .rows_affected()
        > 0;
    if was_suspended || is_in_doubt(&health) {
        health::half_open(conn, subscription, RESUMED, now).await?;
    }
    sqlx::query("DELETE FROM subscription_state WHERE subscription = $1")
        .bind(subscription)
        .execute(&mut *conn)
        .await?;
    registry::count_change(conn, subscription).await?;
    withdraw(conn, subscription).await
}

//! Data that somebody wants erased: chunk by chunk, and overwritten in the file.

use std::{collections::BTreeSet, time::Duration};

use sqlx::SqliteConnection;
use tharsis_core::{ClientId, Timestamp, erasure::Erasure};
use tracing::warn;

use super::{
    SqliteStore, audit, registry,
    retention::delete,
    value::{blob, json},
};
use crate::{By, Erased, Registry as _, StoreError, erasure::CHUNK, failpoint};

/// Erases it, and tells how far it has come.
pub(super) async fn erase(
    store: &SqliteStore,
    whose: &Erasure,
    by: By<'_>,
    tell: &(dyn Fn(&Erased) + Sync),
) -> Result<Erased, StoreError> {
    let now = by.at;
    let mut erased = Erased::default();
    if let Erasure::Client(client) = whose {
        // So that nobody publishes for it from now on, nor looks at what is left of it.
        erase_tokens(store, *client).await?;
        // So that nobody routes to them from now on.
        for subscription in store.list(Some(*client)).await? {
            registry::remove(store, subscription.id, by).await?;
        }
    }
    erase_events(store, whose, now, &mut erased, tell).await?;
    close(store, whose, by, &mut erased).await?;
    empty_log(store).await?;
    Ok(erased)
}

async fn erase_tokens(store: &SqliteStore, client: ClientId) -> Result<(), StoreError> {
    let mut write = store.0.writer.begin().await?;
    overwriting(&mut write, true).await?;
    sqlx::query(TOKENS)
        .bind(blob(client.as_uuid()))
        .execute(&mut *write)
        .await?;
    overwriting(&mut write, false).await?;
    write.commit(failpoint::RETENTION).await
}

/// What was there before is in the log of writes still, until all of that is in the file. For that nobody may be reading at
/// that moment, which there is no way to be told of: it is looked again and again, with an end.
async fn empty_log(store: &SqliteStore) -> Result<(), StoreError> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 0..TRIES {
        let (is_busy, _, _): (bool, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(store.0.writer.turn().await.conn())
            .await?;
        if !is_busy {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    warn!(
        "what was erased may be read in the file that ends in -wal for a while: somebody reads the database without end"
    );
    Ok(())
}

/// Whether what this transaction deletes is overwritten.
async fn overwriting(conn: &mut SqliteConnection, is_on: bool) -> Result<(), StoreError> {
    sqlx::query(match is_on {
        true => "PRAGMA secure_delete = ON",
        false => "PRAGMA secure_delete = OFF",
    })
    .execute(conn)
    .await?;
    Ok(())
}

pub(super) const NEXT: &str = "
    SELECT seq
    FROM tharsis_event
    WHERE seq > ?1 AND (?2 IS NULL OR recipient = ?2) AND (?3 IS NULL OR client = ?3)
    ORDER BY seq
    LIMIT ?4";

async fn erase_events(
    store: &SqliteStore,
    whose: &Erasure,
    now: Timestamp,
    erased: &mut Erased,
    tell: &(dyn Fn(&Erased) + Sync),
) -> Result<(), StoreError> {
    let mut last = 0;
    loop {
        let events: Vec<i64> = sqlx::query_scalar(NEXT)
            .bind(last)
            .bind(whose.recipient())
            .bind(whose.client().map(|client| blob(client.as_uuid())))
            .bind(CHUNK)
            .fetch_all(&store.0.lists)
            .await?;
        let Some(newest) = events.last() else {
            return Ok(());
        };
        last = *newest;
        let mut write = store.0.writer.begin().await?;
        overwriting(&mut write, true).await?;
        erased.add(erase_chunk(&mut write, &events, now).await?);
        overwriting(&mut write, false).await?;
        write.commit(failpoint::RETENTION).await?;
        store.wrote();
        tell(erased);
    }
}

async fn erase_chunk(
    conn: &mut SqliteConnection,
    events: &[i64],
    now: Timestamp,
) -> Result<Erased, StoreError> {
    let these = json(&events)?;
    let attempts: u64 = sqlx::query_scalar(
        "SELECT count(*) FROM json_each(?1) g CROSS JOIN tharsis_attempt a ON a.event = g.value",
    )
    .bind(&these)
    .fetch_one(&mut *conn)
    .await?;
    sqlx::query("DELETE FROM tharsis_outbox WHERE event IN (SELECT value FROM json_each(?1))")
        .bind(&these)
        .execute(&mut *conn)
        .await?;
    let unfinished: Vec<(i64, i64)> = sqlx::query_as(
        "DELETE FROM tharsis_delivery WHERE event IN (SELECT value FROM json_each(?1))
         RETURNING event, subscription",
    )
    .bind(&these)
    .fetch_all(&mut *conn)
    .await?;
    give_up(conn, &unfinished, now).await?;
    // What is under way meanwhile is recorded all the same, if it succeeds: its trace goes later.
    sqlx::query(
        "INSERT OR REPLACE INTO tharsis_erased (event, at)
         SELECT value, CAST(round(unixepoch('subsec') * 1000) AS INTEGER) FROM json_each(?1)",
    )
    .bind(&these)
    .execute(&mut *conn)
    .await?;
    delete(conn, events).await?;
    sqlx::query(EMPTY).bind(&these).execute(conn).await?;
    Ok(Erased {
        events: events.len() as u64,
        unfinished: unfinished.len() as u64,
        attempts,
        ..Erased::default()
    })
}

/// The newest event is never deleted, for its number would be given again.
const EMPTY: &str = "
    UPDATE tharsis_event
    SET client = zeroblob(16), campaign = NULL, recipient = NULL, payload = '{}', refused_code = NULL,
        refused_field = NULL, refused_message = NULL
    WHERE seq IN (SELECT value FROM json_each(?1))";

/// Has the owner read the lanes of these anew: it may hold some of them in memory.
async fn give_up(
    conn: &mut SqliteConnection,
    unfinished: &[(i64, i64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let lanes: BTreeSet<i64> = unfinished.iter().map(|pair| pair.1).collect();
    if lanes.is_empty() {
        return Ok(());
    }
    // They are gone already, so that is all that comes of it.
    sqlx::query(
        "INSERT INTO tharsis_command (kind, subscription, event, asked_at)
         SELECT 'cancel', value, ?2, ?3 FROM json_each(?1)",
    )
    .bind(json(&lanes)?)
    .bind(unfinished[0].0)
    .bind(now.as_millis())
    .execute(&mut *conn)
    .await?;
    registry::bump(conn).await
}

/// What is left beside events, and the proof.
async fn close(
    store: &SqliteStore,
    whose: &Erasure,
    by: By<'_>,
    erased: &mut Erased,
) -> Result<(), StoreError> {
    let mut write = store.0.writer.begin().await?;
    overwriting(&mut write, true).await?;
    match whose {
        Erasure::Recipient { recipient, client } => {
            sqlx::query(
                "DELETE FROM tharsis_latest
                 WHERE recipient = ?1
                   AND (?2 IS NULL OR subscription IN (SELECT seq FROM tharsis_subscription WHERE client = ?2))",
            )
            .bind(recipient)
            .bind(client.map(|client| blob(client.as_uuid())))
            .execute(&mut *write)
            .await?;
            erased.stops = sqlx::query_scalar(
                "SELECT count(*) FROM tharsis_campaign_stop
                 WHERE recipient = ?1 AND (?2 IS NULL OR client = ?2)",
            )
            .bind(recipient)
            .bind(client.map(|client| blob(client.as_uuid())))
            .fetch_one(&mut *write)
            .await?;
        }
        Erasure::Client(client) => {
            for statement in OF_CLIENT {
                let gone = sqlx::query(statement)
                    .bind(blob(client.as_uuid()))
                    .execute(&mut *write)
                    .await?;
                // The last of them are the subscriptions.
                erased.subscriptions = gone.rows_affected();
            }
            registry::bump(&mut write).await?;
        }
    }
    audit::write(&mut write, by, &erased.deed(whose)).await?;
    overwriting(&mut write, false).await?;
    write.commit(failpoint::RETENTION).await?;
    store.wrote();
    Ok(())
}

const TOKENS: &str = "DELETE FROM tharsis_token WHERE client = ?1";

const OF_CLIENT: [&str; 9] = [
    "DELETE FROM tharsis_transition WHERE subscription IN (SELECT seq FROM tharsis_subscription WHERE client = ?1)",
    "DELETE FROM tharsis_alert WHERE subscription IN (SELECT seq FROM tharsis_subscription WHERE client = ?1)",
    // Who did what to them, and when, stays.
    "UPDATE tharsis_audit SET detail = '{}' WHERE client = ?1 AND action <> 'client.erased'",
    "DELETE FROM tharsis_full_backlog WHERE client = ?1",
    "DELETE FROM tharsis_minute WHERE client = ?1",
    "DELETE FROM tharsis_quarter WHERE subscription IN (SELECT seq FROM tharsis_subscription WHERE client = ?1)",
    "DELETE FROM tharsis_campaign_stop WHERE client = ?1",
    // Those that were made meanwhile.
    TOKENS,
    "DELETE FROM tharsis_subscription WHERE client = ?1 AND removed_at IS NOT NULL",
];

/// What came in for events that were erased an hour ago.
pub(super) async fn sweep(store: &SqliteStore, before: Timestamp) -> Result<bool, StoreError> {
    let events: Vec<i64> =
        sqlx::query_scalar("SELECT event FROM tharsis_erased WHERE at < ?1 LIMIT ?2")
            .bind(before.as_millis())
            .bind(CHUNK)
            .fetch_all(&store.0.reads)
            .await?;
    if events.is_empty() {
        return Ok(false);
    }
    let these = json(&events)?;
    let mut write = store.0.writer.begin().await?;
    overwriting(&mut write, true).await?;
    for statement in [
        "DELETE FROM tharsis_attempt WHERE event IN (SELECT value FROM json_each(?1))",
        "DELETE FROM tharsis_erased WHERE event IN (SELECT value FROM json_each(?1))",
    ] {
        sqlx::query(statement)
            .bind(&these)
            .execute(&mut *write)
            .await?;
    }
    overwriting(&mut write, false).await?;
    write.commit(failpoint::RETENTION).await?;
    Ok(true)
}

//! Publishing on a connection that is the caller's.

use sqlx::{Connection as _, SqliteConnection};
use tharsis_core::{
    EventId, Timestamp,
    event::{Event, Idempotency},
};

use super::{
    value::{Id, blob},
    write::is_busy,
};
use crate::{
    Published, StoreError,
    failpoint::{Failpoint, reached},
    publishing::{Found, check},
};

pub(super) async fn publish_in(
    conn: &mut SqliteConnection,
    event: &Event,
    id: EventId,
) -> Result<Published, StoreError> {
    check(event)?;
    refuse_attached(conn).await?;
    let idempotency = event.idempotency();
    reached(Failpoint::PublishInBegun);
    if let Err(error) = insert(conn, event, &idempotency, id).await {
        return Err(explain(conn, error).await);
    }
    reached(Failpoint::PublishInWritten);
    let found = find(conn, &idempotency, id).await?;
    Ok(found.judge(&idempotency)?)
}

/// Publishes an event of our own in a transaction of this store that does more. Returns the id that it has.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    event: &Event,
    id: EventId,
) -> Result<EventId, StoreError> {
    let idempotency = event.idempotency();
    insert(conn, event, &idempotency, id).await?;
    Ok(find(conn, &idempotency, id).await?.id)
}

/// Reads nothing of the file: a transaction of the caller's that has not read yet must not become a reader here.
async fn refuse_attached(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let databases: Vec<(i64, String, String)> = sqlx::query_as("PRAGMA database_list")
        .fetch_all(conn)
        .await?;
    let attached = databases
        .into_iter()
        .find(|(_, name, file)| name != "main" && !file.is_empty());
    match attached {
        None => Ok(()),
        Some((_, name, _)) => Err(StoreError::unusable(
            "attached_database",
            format!("the connection has the database {name} attached"),
            "publish on a connection that has only the outbox's own file open: under write-ahead logging a transaction over several files is not atomic",
        )),
    }
}

/// One statement: all of it or nothing, in whatever transaction it stands.
async fn insert(
    conn: &mut SqliteConnection,
    event: &Event,
    idempotency: &Idempotency,
    id: EventId,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO main.tharsis_publish
             (key, digest, id, type, client, campaign, recipient, not_before, expires_at, payload)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, CAST(?10 AS TEXT))",
    )
    .bind(idempotency.key.as_slice())
    .bind(
        idempotency
            .explicit
            .then_some(idempotency.payload.as_slice()),
    )
    .bind(blob(id.as_uuid()))
    .bind(event.event_type().as_str())
    .bind(blob(event.client().as_uuid()))
    .bind(event.campaign())
    .bind(event.recipient())
    .bind(event.not_before().map(Timestamp::as_millis))
    .bind(event.expires_at().map(Timestamp::as_millis))
    .bind(&event.payload()[..])
    .execute(conn)
    .await?;
    Ok(())
}

/// The event under this key: the one just inserted, or one from before.
async fn find(
    conn: &mut SqliteConnection,
    idempotency: &Idempotency,
    id: EventId,
) -> Result<Found, StoreError> {
    let (Id(first), payload) = sqlx::query_as(
        "SELECT e.id, i.payload
         FROM main.tharsis_idempotency i
         CROSS JOIN main.tharsis_event e ON e.seq = i.event
         WHERE i.key = ?1",
    )
    .bind(idempotency.key.as_slice())
    .fetch_one(conn)
    .await?;
    let first = EventId::from_uuid(first);
    Ok(Found {
        id: first,
        payload,
        duplicate: first != id,
    })
}

async fn explain(conn: &mut SqliteConnection, error: sqlx::Error) -> StoreError {
    let is_missing = error
        .as_database_error()
        .is_some_and(|e| e.message().contains("no such table: main.tharsis_publish"));
    if is_missing {
        return StoreError::unusable(
            "tables_missing",
            "the connection's database has no tables of the outbox",
            "open the file once with SqliteStore::open, or with any command of tharsis, and publish on a connection to that file",
        );
    }
    if is_busy(&error) && is_in_transaction(conn).await {
        return StoreError::unusable(
            "begin_immediate",
            "the transaction cannot write: it began as a reader, and another connection writes or has written since",
            "roll it back and begin it with BEGIN IMMEDIATE",
        );
    }
    error.into()
}

/// Also in one that the caller began by a statement of its own, which sqlx does not count.
async fn is_in_transaction(conn: &mut SqliteConnection) -> bool {
    if conn.is_in_transaction() {
        return true;
    }
    if sqlx::query("BEGIN").execute(&mut *conn).await.is_err() {
        return true;
    }
    let _ = sqlx::query("ROLLBACK").execute(conn).await;
    false
}

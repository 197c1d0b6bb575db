//! Publishing on a connection that is the caller's.

use sqlx::{Connection as _, SqliteConnection};
use tharsis_core::{
    EventId, Timestamp,
    event::{Event, Idempotency},
};

use super::{
    publish::Found,
    value::{Id, blob},
    write::{is_busy, result_code},
};
use crate::{Published, StoreError};

/// SQLite's general error, as for `BEGIN` within a transaction and for a table that is not there.
const SQLITE_ERROR: u32 = 1;

pub(super) async fn publish_in(
    conn: &mut SqliteConnection,
    event: &Event,
    id: EventId,
) -> Result<Published, StoreError> {
    refuse_attached(conn).await?;
    let idempotency = event.idempotency();
    let found = if conn.is_in_transaction() {
        let mut savepoint = conn.begin().await?;
        let found = insert(&mut savepoint, event, &idempotency, id)
            .await
            .map_err(advise)?;
        savepoint.commit().await?;
        found
    } else if let Some(found) = publish_alone(conn, event, &idempotency, id).await? {
        found
    } else {
        insert_in_savepoint(conn, event, &idempotency, id)
            .await
            .map_err(advise)?
    };
    Ok(found.judge(&idempotency)?)
}

/// In a transaction of its own; `None` when the caller has begun one by a statement that sqlx does not count.
async fn publish_alone(
    conn: &mut SqliteConnection,
    event: &Event,
    idempotency: &Idempotency,
    id: EventId,
) -> Result<Option<Found>, StoreError> {
    let mut transaction = match conn.begin_with("BEGIN IMMEDIATE").await {
        Ok(transaction) => transaction,
        Err(error) if result_code(&error) == Some(SQLITE_ERROR) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let found = insert(&mut transaction, event, idempotency, id)
        .await
        .map_err(missing_tables)?;
    transaction.commit().await?;
    Ok(Some(found))
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

/// The first statement writes, so it takes the file's lock, and nothing is published between it and the others.
async fn insert(
    conn: &mut SqliteConnection,
    event: &Event,
    idempotency: &Idempotency,
    id: EventId,
) -> Result<Found, sqlx::Error> {
    let seq: Option<i64> = sqlx::query_scalar(
        "INSERT INTO main.tharsis_event
             (id, type, client, campaign, recipient, not_before, expires_at, frozen, payload)
         SELECT ?2, ?3, ?4, ?5, ?6, ?7, ?8, 1, ?9
         WHERE NOT EXISTS (SELECT 1 FROM main.tharsis_idempotency WHERE key = ?1)
         RETURNING seq",
    )
    .bind(idempotency.key.as_slice())
    .bind(blob(id.as_uuid()))
    .bind(event.event_type().as_str())
    .bind(blob(event.client().as_uuid()))
    .bind(event.campaign())
    .bind(event.recipient())
    .bind(event.not_before().map(Timestamp::as_millis))
    .bind(event.expires_at().map(Timestamp::as_millis))
    .bind(String::from_utf8_lossy(event.payload()).into_owned())
    .fetch_optional(&mut *conn)
    .await?;
    let Some(seq) = seq else {
        return earlier(conn, idempotency).await;
    };
    sqlx::query("INSERT INTO main.tharsis_outbox (event) VALUES (?1)")
        .bind(seq)
        .execute(&mut *conn)
        .await?;
    sqlx::query("INSERT INTO main.tharsis_idempotency (key, payload, event) VALUES (?1, ?2, ?3)")
        .bind(idempotency.key.as_slice())
        .bind(
            idempotency
                .explicit
                .then_some(idempotency.payload.as_slice()),
        )
        .bind(seq)
        .execute(conn)
        .await?;
    Ok(Found {
        id,
        payload: None,
        duplicate: false,
    })
}

/// The event that was published before under this key.
async fn earlier(
    conn: &mut SqliteConnection,
    idempotency: &Idempotency,
) -> Result<Found, sqlx::Error> {
    let (Id(id), payload) = sqlx::query_as(
        "SELECT e.id, i.payload
         FROM main.tharsis_idempotency i
         JOIN main.tharsis_event e ON e.seq = i.event
         WHERE i.key = ?1",
    )
    .bind(idempotency.key.as_slice())
    .fetch_one(conn)
    .await?;
    Ok(Found {
        id: EventId::from_uuid(id),
        payload,
        duplicate: true,
    })
}

async fn insert_in_savepoint(
    conn: &mut SqliteConnection,
    event: &Event,
    idempotency: &Idempotency,
    id: EventId,
) -> Result<Found, sqlx::Error> {
    sqlx::query("SAVEPOINT tharsis_publish")
        .execute(&mut *conn)
        .await?;
    let found = insert(conn, event, idempotency, id).await;
    if found.is_err() {
        sqlx::query("ROLLBACK TO tharsis_publish")
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("RELEASE tharsis_publish").execute(conn).await?;
    found
}

/// What an error means in a transaction that is the caller's.
fn advise(error: sqlx::Error) -> StoreError {
    if is_busy(&error) {
        return StoreError::unusable(
            "begin_immediate",
            "the transaction cannot write: it began as a reader, and another connection writes or has written since",
            "roll it back and begin it with BEGIN IMMEDIATE",
        );
    }
    missing_tables(error)
}

fn missing_tables(error: sqlx::Error) -> StoreError {
    let is_missing = error
        .as_database_error()
        .is_some_and(|e| e.message().contains("no such table: main.tharsis_"));
    if !is_missing {
        return error.into();
    }
    StoreError::unusable(
        "tables_missing",
        "the connection's database has no tables of the outbox",
        "open the file once with SqliteStore::open, or with any command of tharsis, and publish on a connection to that file",
    )
}

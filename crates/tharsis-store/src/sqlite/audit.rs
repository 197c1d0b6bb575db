//! Who asked for what, as rows.

use sqlx::SqliteConnection;
use tharsis_core::ClientId;

use super::{
    SqliteStore,
    value::{Id, Millis, blob},
};
use crate::{
    AuditRecord, By, Page, StoreError,
    audit::{Deed, MOST_TOLD},
    failpoint,
    filter::bad_cursor,
};

/// In the transaction in which it is done.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    by: By<'_>,
    deed: &Deed,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_audit (at, actor, address, client, action, subject, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )
    .bind(by.at.as_millis())
    .bind(by.actor)
    .bind(by.address.map(|address| address.to_string()))
    .bind(deed.client.map(|client| blob(client.as_uuid())))
    .bind(deed.action)
    .bind(&deed.subject)
    .bind(deed.detail.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// In a transaction of its own: nothing else was done.
pub(super) async fn record(store: &SqliteStore, by: By<'_>, deed: &Deed) -> Result<(), StoreError> {
    let mut write = store.0.writer.begin().await?;
    self::write(&mut write, by, deed).await?;
    write.commit(failpoint::REGISTRY).await
}

type Row = (
    i64,
    Millis,
    String,
    Option<String>,
    Option<Id>,
    String,
    String,
    String,
);

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
    after: Option<&str>,
    limit: u32,
) -> Result<Page<AuditRecord>, StoreError> {
    let before: i64 = match after {
        Some(after) => after.parse().map_err(|_| bad_cursor())?,
        None => i64::MAX,
    };
    let limit = limit.clamp(1, MOST_TOLD);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT seq, at, actor, address, client, action, subject, detail
         FROM tharsis_audit
         WHERE seq < ?2 AND (?1 IS NULL OR client = ?1)
         ORDER BY seq DESC
         LIMIT ?3",
    )
    .bind(client.map(|client| blob(client.as_uuid())))
    .bind(before)
    .bind(limit)
    .fetch_all(&store.0.lists)
    .await?;
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| is_full).map(|row| row.0.to_string());
    let record =
        |(_, Millis(at), actor, address, client, action, subject, detail): Row| AuditRecord {
            at,
            actor,
            address,
            client: client.map(|Id(client)| ClientId::from_uuid(client)),
            action,
            subject,
            detail,
        };
    Ok(Page {
        items: rows.into_iter().map(record).collect(),
        next,
        searched_until: None,
    })
}

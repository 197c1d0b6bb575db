//! Who asked for what, as rows.

use sqlx::PgConnection;
use tharsis_core::ClientId;
use uuid::Uuid;

use super::{PostgresStore, value::Instant};
use crate::{
    AuditRecord, By, Page, StoreError,
    audit::{Deed, MOST_TOLD},
    failpoint,
    filter::bad_cursor,
};

/// In the transaction in which it is done.
pub(super) async fn write(
    conn: &mut PgConnection,
    by: By<'_>,
    deed: &Deed,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (at, actor, address, client, action, subject, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(Instant(by.at))
    .bind(by.actor)
    .bind(by.address.map(|address| address.to_string()))
    .bind(deed.client.map(|client| *client.as_uuid()))
    .bind(deed.action)
    .bind(&deed.subject)
    .bind(deed.detail.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// In a transaction of its own: nothing else was done.
pub(super) async fn record(
    store: &PostgresStore,
    by: By<'_>,
    deed: &Deed,
) -> Result<(), StoreError> {
    let mut write = store.turn().await?;
    self::write(&mut write, by, deed).await?;
    write.commit(failpoint::REGISTRY).await
}

type Row = (
    i64,
    Instant,
    String,
    Option<String>,
    Option<Uuid>,
    String,
    String,
    String,
);

pub(super) async fn list(
    store: &PostgresStore,
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
         FROM audit
         WHERE seq < $2 AND ($1::uuid IS NULL OR client = $1)
         ORDER BY seq DESC
         LIMIT $3",
    )
    .bind(client.map(|client| *client.as_uuid()))
    .bind(before)
    .bind(i64::from(limit))
    .fetch_all(&mut *store.0.lists.get().await?)
    .await?;
    let is_full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.last().filter(|_| is_full).map(|row| row.0.to_string());
    let record =
        |(_, Instant(at), actor, address, client, action, subject, detail): Row| AuditRecord {
            at,
            actor,
            address,
            client: client.map(ClientId::from_uuid),
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

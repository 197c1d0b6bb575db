//! Who asked for what, as rows.

use sqlx::SqliteConnection;
use tharsis_core::Timestamp;

use super::{SqliteStore, value::Millis};
use crate::{AuditRecord, StoreError, audit::MOST_TOLD, failpoint};

/// In the transaction in which it is done.
pub(super) async fn write(
    conn: &mut SqliteConnection,
    actor: &str,
    action: &str,
    subject: &str,
    detail: &serde_json::Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tharsis_audit (at, actor, action, subject, detail) VALUES (?1, ?2, ?3, ?4, ?5)",
    )
    .bind(now.as_millis())
    .bind(actor)
    .bind(action)
    .bind(subject)
    .bind(detail.to_string())
    .execute(conn)
    .await?;
    Ok(())
}

/// In a transaction of its own: nothing else was done.
pub(super) async fn record(store: &SqliteStore, entry: &AuditRecord) -> Result<(), StoreError> {
    let AuditRecord {
        at,
        actor,
        action,
        subject,
        detail,
    } = entry;
    let detail = serde_json::from_str(detail).unwrap_or(serde_json::Value::Null);
    let mut write = store.0.writer.begin().await?;
    self::write(&mut write, actor, action, subject, &detail, *at).await?;
    write.commit(failpoint::REGISTRY).await
}

pub(super) async fn list(store: &SqliteStore) -> Result<Vec<AuditRecord>, StoreError> {
    let rows: Vec<(Millis, String, String, String, String)> = sqlx::query_as(
        "SELECT at, actor, action, subject, detail FROM tharsis_audit ORDER BY seq DESC LIMIT ?1",
    )
    .bind(MOST_TOLD)
    .fetch_all(&store.0.lists)
    .await?;
    Ok(rows
        .into_iter()
        .map(|(Millis(at), actor, action, subject, detail)| AuditRecord {
            at,
            actor,
            action,
            subject,
            detail,
        })
        .collect())
}

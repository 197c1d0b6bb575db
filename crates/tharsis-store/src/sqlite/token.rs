//! Access tokens, as rows.

use sqlx::{FromRow, Row as _, sqlite::SqliteRow};
use tharsis_core::{ClientId, Timestamp, TokenId, token::Token};

use super::{
    SqliteStore, audit,
    value::{Id, Millis, blob},
};
use crate::{
    By, StoreError, TokenDraft, TokenRecord, failpoint,
    token::{MADE, NOTED_EVERY, REVOKED, grant, is_known, not_found},
};

impl FromRow<'_, SqliteRow> for TokenRecord {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Id(id) = row.try_get(0)?;
        let client: Option<Id> = row.try_get(4)?;
        let Millis(created_at) = row.try_get(5)?;
        let instant = |column| -> Result<Option<Timestamp>, sqlx::Error> {
            let at: Option<Millis> = row.try_get(column)?;
            Ok(at.map(|Millis(at)| at))
        };
        Ok(Self {
            id: TokenId::from_uuid(id),
            prefix: row.try_get(1)?,
            name: row.try_get(2)?,
            grant: grant(row.try_get(3)?, client.map(|Id(client)| client))?,
            created_at,
            expires_at: instant(6)?,
            used_at: instant(7)?,
            revoked_at: instant(8)?,
        })
    }
}

macro_rules! tokens {
    ($which:literal) => {
        concat!(
            "SELECT id, prefix, name, role, client, created_at, expires_at, used_at, revoked_at
             FROM tharsis_token ",
            $which
        )
    };
}

pub(super) async fn add(
    store: &SqliteStore,
    token: &Token,
    draft: &TokenDraft,
    by: By<'_>,
) -> Result<TokenRecord, StoreError> {
    let now = by.at;
    draft.check(now)?;
    let id = TokenId::new(now, store.random_id_bytes()?);
    let made = TokenRecord::made(id, token.prefix(), draft, now);
    let mut write = store.0.writer.begin().await?;
    let added = sqlx::query(
        "INSERT INTO tharsis_token (id, hash, prefix, name, role, client, created_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(blob(id.as_uuid()))
    .bind(token.hash().to_vec())
    .bind(&made.prefix)
    .bind(&made.name)
    .bind(made.grant.role.as_str())
    .bind(made.grant.client.map(|client| blob(client.as_uuid())))
    .bind(now.as_millis())
    .bind(made.expires_at.map(Timestamp::as_millis))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if added == 0 {
        return Err(is_known().into());
    }
    audit::write(&mut write, by, &made.deed(MADE)).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(made)
}

pub(super) async fn list(
    store: &SqliteStore,
    client: Option<ClientId>,
) -> Result<Vec<TokenRecord>, StoreError> {
    let tokens = sqlx::query_as(tokens!("WHERE ?1 IS NULL OR client = ?1 ORDER BY seq DESC"));
    Ok(tokens
        .bind(client.map(|client| blob(client.as_uuid())))
        .fetch_all(&store.0.lists)
        .await?)
}

pub(super) async fn revoke(
    store: &SqliteStore,
    client: Option<ClientId>,
    id: TokenId,
    by: By<'_>,
) -> Result<TokenRecord, StoreError> {
    let now = by.at;
    let client = client.map(|client| blob(client.as_uuid()));
    let mut write = store.0.writer.begin().await?;
    let revoked = sqlx::query(
        "UPDATE tharsis_token SET revoked_at = ?3
         WHERE id = ?1 AND (?2 IS NULL OR client = ?2) AND revoked_at IS NULL",
    )
    .bind(blob(id.as_uuid()))
    .bind(&client)
    .bind(now.as_millis())
    .execute(&mut *write)
    .await?
    .rows_affected();
    let token: Option<TokenRecord> =
        sqlx::query_as(tokens!("WHERE id = ?1 AND (?2 IS NULL OR client = ?2)"))
            .bind(blob(id.as_uuid()))
            .bind(&client)
            .fetch_optional(&mut *write)
            .await?;
    let Some(token) = token else {
        return Err(not_found(id));
    };
    if revoked == 0 {
        return Ok(token);
    }
    audit::write(&mut write, by, &token.deed(REVOKED)).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(token)
}

pub(super) const FIND: &str = tokens!("WHERE hash = ?1");

/// The one of this hash, if it lets somebody in.
pub(super) async fn usable(
    store: &SqliteStore,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<TokenRecord>, StoreError> {
    let found: Option<TokenRecord> = sqlx::query_as(FIND)
        .bind(hash.as_slice())
        .fetch_optional(&store.0.doors)
        .await?;
    Ok(found.and_then(|token| token.if_usable(now)))
}

/// Looks first, for of many requests one writes: the others need not wait until they may.
pub(super) async fn used(
    store: &SqliteStore,
    id: TokenId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let before = (now - NOTED_EVERY).as_millis();
    let id = blob(id.as_uuid());
    let is_due: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tharsis_token WHERE id = ?1 AND (used_at IS NULL OR used_at < ?2))",
    )
    .bind(&id)
    .bind(before)
    .fetch_one(&store.0.doors)
    .await?;
    if !is_due {
        return Ok(());
    }
    let mut turn = store.0.writer.turn().await;
    turn.execute(|| {
        sqlx::query(
            "UPDATE tharsis_token SET used_at = ?3 WHERE id = ?1 AND (used_at IS NULL OR used_at < ?2)",
        )
        .bind(id.clone())
        .bind(before)
        .bind(now.as_millis())
    })
    .await
}

pub(super) async fn is_any_usable(store: &SqliteStore, now: Timestamp) -> Result<bool, StoreError> {
    let is_any = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM tharsis_token
                        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1))",
    );
    Ok(is_any
        .bind(now.as_millis())
        .fetch_one(&store.0.doors)
        .await?)
}

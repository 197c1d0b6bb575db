//! Access tokens, as rows.

use sqlx::{FromRow, Row as _, postgres::PgRow};
use tharsis_core::{ClientId, Timestamp, TokenId, token::Token};

use super::{PostgresStore, audit, value::Instant};
use crate::{
    By, StoreError, TokenDraft, TokenRecord, failpoint,
    token::{MADE, NOTED_EVERY, REVOKED, grant, is_known, not_found},
};

impl FromRow<'_, PgRow> for TokenRecord {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let Instant(created_at) = row.try_get(5)?;
        let instant = |column| -> Result<Option<Timestamp>, sqlx::Error> {
            let at: Option<Instant> = row.try_get(column)?;
            Ok(at.map(|Instant(at)| at))
        };
        Ok(Self {
            id: TokenId::from_uuid(row.try_get(0)?),
            prefix: row.try_get(1)?,
            name: row.try_get(2)?,
            grant: grant(row.try_get(3)?, row.try_get(4)?)?,
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
             FROM token ",
            $which
        )
    };
}

pub(super) async fn add(
    store: &PostgresStore,
    token: &Token,
    draft: &TokenDraft,
    by: By<'_>,
) -> Result<TokenRecord, StoreError> {
    let now = by.at;
    draft.check(now)?;
    let id = TokenId::new(now, store.random_id_bytes()?);
    let made = TokenRecord::made(id, token.prefix(), draft, now);
    let mut write = store.0.lists.begin().await?;
    let added = sqlx::query(
        "INSERT INTO token (id, hash, prefix, name, role, client, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (hash) DO NOTHING",
    )
    .bind(id.as_uuid())
    .bind(token.hash().to_vec())
    .bind(&made.prefix)
    .bind(&made.name)
    .bind(made.grant.role.as_str())
    .bind(made.grant.client.map(|client| *client.as_uuid()))
    .bind(Instant(now))
    .bind(made.expires_at.map(Instant))
    .execute(&mut *write)
    .await?
    .rows_affected();
    if added == 0 {
        write.roll_back().await?;
        return Err(is_known().into());
    }
    audit::write(&mut write, by, &made.deed(MADE)).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(made)
}

pub(super) async fn list(
    store: &PostgresStore,
    client: Option<ClientId>,
) -> Result<Vec<TokenRecord>, StoreError> {
    let tokens = sqlx::query_as(tokens!(
        "WHERE $1::uuid IS NULL OR client = $1 ORDER BY seq DESC"
    ));
    Ok(tokens
        .bind(client.map(|client| *client.as_uuid()))
        .fetch_all(&mut *store.0.lists.get().await?)
        .await?)
}

pub(super) async fn revoke(
    store: &PostgresStore,
    client: Option<ClientId>,
    id: TokenId,
    by: By<'_>,
) -> Result<TokenRecord, StoreError> {
    let now = by.at;
    let client = client.map(|client| *client.as_uuid());
    let mut write = store.0.lists.begin().await?;
    let revoked = sqlx::query(
        "UPDATE token SET revoked_at = $3
         WHERE id = $1 AND ($2::uuid IS NULL OR client = $2) AND revoked_at IS NULL",
    )
    .bind(id.as_uuid())
    .bind(client)
    .bind(Instant(now))
    .execute(&mut *write)
    .await?
    .rows_affected();
    let token: Option<TokenRecord> = sqlx::query_as(tokens!(
        "WHERE id = $1 AND ($2::uuid IS NULL OR client = $2)"
    ))
    .bind(id.as_uuid())
    .bind(client)
    .fetch_optional(&mut *write)
    .await?;
    let Some(token) = token else {
        write.roll_back().await?;
        return Err(not_found(id));
    };
    if revoked == 0 {
        write.roll_back().await?;
        return Ok(token);
    }
    audit::write(&mut write, by, &token.deed(REVOKED)).await?;
    write.commit(failpoint::REGISTRY).await?;
    Ok(token)
}

pub(super) const FIND: &str = tokens!("WHERE hash = $1");

/// The one of this hash, if it lets somebody in.
pub(super) async fn usable(
    store: &PostgresStore,
    hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<TokenRecord>, StoreError> {
    let found: Option<TokenRecord> = sqlx::query_as(FIND)
        .bind(hash.as_slice())
        .fetch_optional(&mut *store.0.doors.get().await?)
        .await?;
    Ok(found.and_then(|token| token.if_usable(now)))
}

/// One statement, which is a transaction of its own; of many requests one writes.
pub(super) async fn used(
    store: &PostgresStore,
    id: TokenId,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE token SET used_at = $3 WHERE id = $1 AND (used_at IS NULL OR used_at < $2)",
    )
    .bind(id.as_uuid())
    .bind(Instant(now - NOTED_EVERY))
    .bind(Instant(now))
    .execute(&mut *store.0.doors.get().await?)
    .await?;
    Ok(())
}

pub(super) async fn is_any_usable(
    store: &PostgresStore,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let is_any = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM token
                        WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1))",
    );
    Ok(is_any
        .bind(Instant(now))
        .fetch_one(&mut *store.0.doors.get().await?)
        .await?)
}

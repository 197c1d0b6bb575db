//! The sealing key, as the database knows it.

use std::path::Path;

use sqlx::PgConnection;
use tharsis_core::secret::SealingKey;

use crate::{
    Random, StoreError,
    key::{KeyFile, Known},
};

/// Loads the key that the database knows.
pub(super) async fn load(conn: &mut PgConnection, file: &Path) -> Result<SealingKey, StoreError> {
    let known = known(conn).await?.ok_or_else(|| {
        StoreError::unusable(
            "key_missing",
            "the database knows no key that secrets are sealed with",
            "make it with `tharsis migrate`, naming the key file",
        )
    })?;
    KeyFile::at(file.to_owned()).load(&known)
}

/// Makes the first key of a database, unless its file was put there before; later ones must be that key. The caller's
/// transaction keeps two from making two.
pub(super) async fn load_or_create(
    conn: &mut PgConnection,
    file: &Path,
    random: Random,
) -> Result<SealingKey, StoreError> {
    let file = KeyFile::at(file.to_owned());
    if let Some(known) = known(conn).await? {
        return file.load(&known);
    }
    let key = file.read_or_create(random)?;
    let known = Known::of(&key, random)?;
    sqlx::query("INSERT INTO key (id, sealed) VALUES ($1, $2)")
        .bind(known.id)
        .bind(known.sealed)
        .execute(conn)
        .await?;
    Ok(key)
}

pub(super) fn not_given() -> StoreError {
    StoreError::unusable(
        "key_missing",
        "the outbox was opened without the key that secrets are sealed with",
        "open it with its key file; without one it only publishes",
    )
}

async fn known(conn: &mut PgConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM key")
        .fetch_optional(conn)
        .await?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}

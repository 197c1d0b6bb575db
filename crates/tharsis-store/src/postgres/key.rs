//! The sealing key, as the database knows it.

use std::path::Path;

use sqlx::PgConnection;
use tharsis_core::secret::SealingKey;

use super::error::explain;
use crate::{
    Random, StoreError,
    failpoint::{Failpoint, reached},
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

/// Makes the first key of a database, unless its file was put there before. Of a database that knows its key the file may
/// be elsewhere; one that is here must hold that key. The caller's transaction keeps two from making two.
pub(super) async fn make(
    conn: &mut PgConnection,
    file: &Path,
    random: Random,
) -> Result<(), StoreError> {
    let file = KeyFile::at(file.to_owned());
    if let Some(known) = known(conn).await? {
        return file.find(&known).map(drop);
    }
    let key = file.read_or_create(random)?;
    let known = Known::of(&key, random)?;
    sqlx::query("INSERT INTO key (id, sealed) VALUES ($1, $2)")
        .bind(known.id)
        .bind(known.sealed)
        .execute(conn)
        .await?;
    reached(Failpoint::KeyNoted);
    Ok(())
}

pub(super) fn not_given() -> StoreError {
    StoreError::unusable(
        "key_missing",
        "the outbox was opened without the key that secrets are sealed with",
        "open it with its key file; publishing does without, and what looks at no subscription",
    )
}

async fn known(conn: &mut PgConnection) -> Result<Option<Known>, StoreError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as("SELECT id, sealed FROM key")
        .fetch_optional(conn)
        .await
        .map_err(explain)?;
    Ok(row.map(|(id, sealed)| Known { id, sealed }))
}
